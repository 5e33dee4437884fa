// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "uplink_devices.hpp"

#include <algorithm>
#include <utility>

namespace svclb::datapath {

Result<UplinkDevices> UplinkDevices::open(const MapSet& maps) {
    auto map = MapRef<std::uint32_t, std::uint32_t>::open(maps, "uplink_devices");
    if (!map) return fail(map.error());
    return UplinkDevices(*map);
}

Status UplinkDevices::set(int ifindex, bool uplink) const {
    const auto device = static_cast<std::uint32_t>(ifindex);
    if (uplink) return map_.put(device, 1);
    if (const auto removed = map_.remove(device); !removed) return fail(removed.error());
    return {};
}

Status UplinkDevices::keep(const std::vector<AttachedLink>& attached) const {
    const auto is_uplink = [&](std::uint32_t device) {
        return std::ranges::any_of(attached, [&](const AttachedLink& link) {
            return link.kind == LinkKind::uplink && std::cmp_equal(link.ifindex, device);
        });
    };
    std::vector<std::uint32_t> gone;
    const auto look = [&](std::uint32_t device, std::uint32_t) {
        if (!is_uplink(device)) gone.push_back(device);
    };
    if (auto read = map_.each(look); !read) return read;
    for (const auto device : gone)
        if (const auto removed = map_.remove(device); !removed) return fail(removed.error());
    return {};
}

}  // namespace svclb::datapath
