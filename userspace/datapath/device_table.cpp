// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "device_table.hpp"

#include <utility>

namespace svclb::datapath {

int DeviceTable::set(const DeviceFacts& device) {
    const auto [at, added] = devices_.insert_or_assign(device.ifindex, device);
    return added && devices_.contains(at->second.peer) ? at->second.peer : 0;
}

int DeviceTable::remove(int ifindex) {
    const auto found = devices_.find(ifindex);
    if (found == devices_.end()) return 0;
    const int peer = found->second.peer;
    devices_.erase(found);
    removed_.insert(ifindex);
    return devices_.contains(peer) ? peer : 0;
}

std::vector<Device> DeviceTable::present() const {
    std::vector<Device> present;
    for (const auto& [ifindex, device] : devices_) {
        if (const auto kind = kind_of(device, exits_.contains(ifindex), patterns_)) {
            present.push_back({.ifindex = ifindex,
                               .name = device.name,
                               .kind = *kind,
                               .hardware = device.type.empty() || device.type == "bond"});
        }
    }
    return present;
}

std::vector<DeviceChange> DeviceTable::take_changes() {
    std::map<int, Device> now;
    for (auto& device : present()) now.emplace(device.ifindex, std::move(device));
    std::vector<DeviceChange> changes;
    for (const auto& [ifindex, device] : reported_) {
        if (!now.contains(ifindex) || removed_.contains(ifindex)) changes.push_back({.device = device, .gone = true});
    }
    for (const auto& [ifindex, device] : now) {
        const auto before = reported_.find(ifindex);
        if (before != reported_.end() && before->second == device && !removed_.contains(ifindex)) continue;
        changes.push_back({.device = device, .gone = false});
    }
    reported_ = std::move(now);
    removed_.clear();
    return changes;
}

}  // namespace svclb::datapath
