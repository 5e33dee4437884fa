// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which network devices of this namespace are pod links, found by rtnetlink and followed: a veth or netkit whose peer
// lives in another network namespace is a pod link, a device that carries the default route or a route to other nodes
// is an uplink even where it is a veth itself. Names are never needed; patterns may override.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "svclb/base/result.hpp"
#include "svclb/datapath/datapath.hpp"

namespace svclb::datapath {

struct Device {
    int ifindex = 0;
    std::string name;
    LinkKind kind = LinkKind::pod;
    bool hardware = false;  // or a bond of such; with a gateway
    bool operator==(const Device&) const = default;
};

struct DevicePatterns {  // shell patterns (fnmatch); a leading '!' excludes; empty = by discovery
    std::vector<std::string> pod_links;
    std::vector<std::string> uplinks;
};

struct DeviceChange {
    Device device;
    bool gone = false;
};

class Devices {
public:
    // Subscribes first and lists afterwards, so that nothing is missed between the two.
    static Result<Devices> open(DevicePatterns patterns);
    Devices(Devices&&) noexcept;
    Devices& operator=(Devices&&) noexcept;
    ~Devices();

    // Readable when the kernel has told something.
    [[nodiscard]] int fd() const;
    // All that matter now; what changed is told as if nobody had asked.
    Result<std::vector<Device>> present();
    // What changed since the last call; the first call returns every device that matters. Lost messages (ENOBUFS) are
    // made good by listing again.
    Result<std::vector<DeviceChange>> changes();

private:
    struct State;
    explicit Devices(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace svclb::datapath
