// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "device_kind.hpp"

#include <fnmatch.h>

#include "catch_all.hpp"

namespace svclb::datapath {

Match match(const std::vector<std::string>& patterns, const std::string& name) {
    bool listed = false;
    bool any_positive = false;
    for (const auto& pattern : patterns) {
        const bool excludes = pattern.starts_with('!');
        const bool matches = ::fnmatch(pattern.c_str() + (excludes ? 1 : 0), name.c_str(), 0) == 0;
        if (excludes && matches) return Match::no;
        if (excludes) continue;
        any_positive = true;
        listed |= matches;
    }
    if (!any_positive) return Match::by_discovery;
    return listed ? Match::yes : Match::no;
}

namespace {

bool is_wire(const std::string& type) {
    return type.empty() || type == "bond" || type == "team" || type == "vlan" || type == "macvlan";
}

}  // namespace

bool is_pair_with_peer_elsewhere(const DeviceFacts& device) {
    return (device.type == "veth" || device.type == "netkit") && device.peer_elsewhere;
}

std::optional<LinkKind> kind_of(const DeviceFacts& device, Reach reach, const DevicePatterns& patterns) {
    if (device.name == kRouteSide || device.name == kProgramSide) return std::nullopt;
    const Match uplink = match(patterns.uplinks, device.name);
    const Match pod = match(patterns.pod_links, device.name);
    const bool bare = device.framing == Framing::bare;
    const LinkKind out = bare ? LinkKind::tunnel : LinkKind::uplink;
    if (device.framing == Framing::other) return std::nullopt;
    if (uplink == Match::yes) return out;
    if (pod == Match::yes && !bare) return LinkKind::pod;
    const bool pod_end = is_pair_with_peer_elsewhere(device);
    const bool leads_out = reach == Reach::out || (reach == Reach::other_table && !pod_end) ||
                           (reach == Reach::network && is_wire(device.type));
    if (uplink == Match::by_discovery && (leads_out || bare)) return out;
    if (pod == Match::by_discovery && pod_end) return LinkKind::pod;
    return std::nullopt;
}

}  // namespace svclb::datapath
