// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "device_table.hpp"

#include <algorithm>
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
        const auto before = reported_.find(ifindex);
        const bool known = before != reported_.end() && !removed_.contains(ifindex);
        const auto leads = reach_.find(ifindex);
        const auto reach = leads == reach_.end() ? Reach::nowhere : leads->second;
        const bool was_uplink = known && before->second.kind == LinkKind::uplink;
        const bool stays =
            was_uplink && (!is_pair_with_peer_elsewhere(device) || !device.up || reach >= Reach::network);
        const auto kind = kind_of(device, stays ? Reach::out : reach, patterns_);
        if (!kind) continue;
        const bool hardware = device.type.empty() || device.type == "bond";
        present.push_back(
            {.ifindex = ifindex,
             .name = device.name,
             .kind = *kind,
             .hardware = hardware && (reach >= Reach::other_table || (known && before->second.hardware))});
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
