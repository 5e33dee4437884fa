// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The devices of a namespace as the kernel last told, and what of it has not been reported yet. Pure: devices.cpp feeds
// it from rtnetlink.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "device_kind.hpp"
#include "svclb/datapath/devices.hpp"

namespace svclb::datapath {

class DeviceTable {
public:
    explicit DeviceTable(DevicePatterns patterns) : patterns_(std::move(patterns)) {}

    // Returns the device whose own entry may be out of date now, because its peer came or went; the kernel sends no
    // message about that one. 0 = none.
    int set(const DeviceFacts& device);
    int remove(int ifindex);
    // Before a complete list. What was reported is remembered.
    void forget_devices() { devices_.clear(); }
    [[nodiscard]] bool is_up(int ifindex) const {
        const auto found = devices_.find(ifindex);
        return found != devices_.end() && found->second.up;
    }
    void set_reach(std::map<int, Reach> reach) { reach_ = std::move(reach); }

    // An uplink whose routes are gone stays one: they may come back with its next packet, of a connection that the node
    // would reset if it were not translated. A veth, which may be a pod's link as well, does so while it is down or
    // leads to a network.
    [[nodiscard]] std::vector<Device> present() const;
    std::vector<DeviceChange> take_changes();

private:
    DevicePatterns patterns_;
    std::map<int, DeviceFacts> devices_;
    std::map<int, Reach> reach_;
    std::map<int, Device> reported_;
    std::set<int> removed_;  // since the last report: a device that came back under its number is another one
};

}  // namespace svclb::datapath
