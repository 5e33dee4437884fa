// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// clsact filters: how the programs are attached where the kernel has no tcx (before 6.6), or where the operator wants
// it. Ours are known by their fixed priority and handle and by their program's name; no other filter, and never the
// qdisc, is changed or removed.
#pragma once

#include <cstdint>
#include <string_view>

#include "svclb/base/result.hpp"
#include "svclb/datapath/datapath.hpp"

namespace svclb::datapath {

// Early, because a filter before us that says "ok" would hide packets from us; not the very first numbers, which are
// what others take.
inline constexpr std::uint32_t kFilterPriority = 7;
inline constexpr std::uint32_t kFilterHandle = 0x53564c42;  // "SVLB" on pod links; the next ones by kind of device

enum class Side : std::uint8_t { ingress, egress };

// Where a program of ours stands.
struct Place {
    LinkKind kind = LinkKind::pod;
    Side side = Side::ingress;
};

// The program of a place, which is also how a filter of ours is recognised.
constexpr const char* program_of(Place place) {
    const bool out = place.side == Side::egress;
    switch (place.kind) {
        case LinkKind::uplink:
            return out ? "to_uplink" : "from_uplink";
        case LinkKind::tunnel:
            return out ? "to_tunnel" : "from_tunnel";
        case LinkKind::host:
            return out ? "to_pod" : "from_host";
        default:
            return out ? "to_pod" : "from_pod";
    }
}

// Makes the clsact qdisc where there is none; replaces a filter of ours in place.
Status add_filter(int ifindex, Place place, int program);
// Nothing of ours there is no error.
Status remove_filter(int ifindex, Place place);
[[nodiscard]] bool has_filter(int ifindex, Place place);

}  // namespace svclb::datapath
