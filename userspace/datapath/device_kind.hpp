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
    bool up = true;
    bool operator==(const DeviceFacts&) const = default;
};

// How far the routes through a device lead; each goes before those above it.
enum class Reach : unsigned char {
    nowhere,      // or to single hosts: pods
    network,      // to a network, without a gateway
    other_table,  // by a default route or a gateway, where a rule says so: a second uplink, a VRF
    out,          // by a default route or a gateway, in the main table
};

// What leads out is an uplink, even a veth whose peer is elsewhere; such a veth is none for a rule's sake, for some
// service meshes lead traffic into pods by rules. Clients may sit on a network without any gateway, and hardware and
// what is built on it leads to no pods; a bridge may. A bare device needs no route: it leads to other nodes or clients
// and never to a pod. An operator's pattern comes before what is discovered, and among patterns the one for uplinks:
// nothing is attached to an uplink by mistake. Nothing = not ours.
std::optional<LinkKind> kind_of(const DeviceFacts& device, Reach reach, const DevicePatterns& patterns);

// May be the node's end of a pod's link.
bool is_pair_with_peer_elsewhere(const DeviceFacts& device);

// A positive pattern list replaces discovery of its kind, a list of exclusions alone restricts it.
enum class Match : unsigned char { by_discovery, yes, no };
Match match(const std::vector<std::string>& patterns, const std::string& name);

}  // namespace svclb::datapath
