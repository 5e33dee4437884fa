// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What a device is to us, from what the kernel says about it. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "svclb/datapath/devices.hpp"

namespace svclb::datapath {

// What packets begin with: an Ethernet header, the IP header, or what our programs do not read.
enum class Framing : unsigned char { ethernet, bare, other };

struct DeviceFacts {
    int ifindex = 0;
    std::string name;
    std::string type;             // "veth", "netkit", "bridge", ...; empty for hardware
    bool peer_elsewhere = false;  // the other end lives in another network namespace
    Framing framing = Framing::ethernet;
    int peer = 0;  // its number, when it lives in ours; 0 = unknown
    bool operator==(const DeviceFacts&) const = default;
};

// `leads_out`: a default route or a route with a gateway goes through it. A bare device needs none: it leads to other
// nodes or clients and never to a pod, and WireGuard's routes have no gateway and a table of their own. An operator's
// pattern comes before what is discovered, and among patterns the one for uplinks: nothing is attached to an uplink by
// mistake. Nothing = not ours.
std::optional<LinkKind> kind_of(const DeviceFacts& device, bool leads_out, const DevicePatterns& patterns);

// A positive pattern list replaces discovery of its kind, a list of exclusions alone restricts it.
enum class Match : unsigned char { by_discovery, yes, no };
Match match(const std::vector<std::string>& patterns, const std::string& name);

}  // namespace svclb::datapath
