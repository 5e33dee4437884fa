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
    void set_exits(std::set<int> exits) { exits_ = std::move(exits); }

    [[nodiscard]] std::vector<Device> present() const;
    std::vector<DeviceChange> take_changes();

private:
    DevicePatterns patterns_;
    std::map<int, DeviceFacts> devices_;
    std::set<int> exits_;  // devices that lead out
    std::map<int, Device> reported_;
    std::set<int> removed_;  // since the last report: a device that came back under its number is another one
};

}  // namespace svclb::datapath
