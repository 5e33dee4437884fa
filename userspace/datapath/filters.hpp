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
inline constexpr std::uint32_t kFilterHandle = 0x53564c42;        // "SVLB"
inline constexpr std::uint32_t kUplinkFilterHandle = 0x53564c55;  // "SVLU"

enum class Side : std::uint8_t { ingress, egress };

struct FilterPlace {
    int ifindex = 0;
    LinkKind kind = LinkKind::pod;
    Side side = Side::ingress;
};

// The program of a place, which is also how a filter of ours is recognised.
constexpr const char* program_of(LinkKind kind, Side side) {
    if (kind == LinkKind::uplink) return side == Side::ingress ? "from_uplink" : "to_uplink";
    return side == Side::ingress ? "from_pod" : "to_pod";
}

// Makes the clsact qdisc where there is none; replaces a filter of ours in place.
Status add_filter(const FilterPlace& place, int program);
// Nothing of ours there is no error.
Status remove_filter(const FilterPlace& place);
[[nodiscard]] bool has_filter(const FilterPlace& place);

}  // namespace svclb::datapath
