// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A table that leads each flow's hash to the same backend on every node: a function of the set of backends alone, not
// of their order nor of what was before. Pure.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "svclb/model/address.hpp"

namespace svclb::model {

struct MaglevMember {
    Address address;
    std::uint16_t port = 0;
    std::uint32_t weight = 1;  // 1 to 100; others count as the nearest
};

inline constexpr std::uint32_t kLargestMaglevTable = 1U << 19U;
// Beyond that a backend's share is too coarse.
inline constexpr std::size_t kMostMaglevMembers = kLargestMaglevTable / 16;

// Slots of the table: 1,024 to 2,048 for each member, up to the largest table, which is that of 257 members and more.
[[nodiscard]] std::uint32_t maglev_size(std::size_t members) noexcept;

// For each slot the position of its member in `members`. A member that comes or goes moves its own share, and of the
// others' no more than a fifth of that (where weights are far apart, a quarter of the average share). One whose weight
// changes moves what it gains or loses. Shares follow the weights as chance does, with 4% of standard deviation.
[[nodiscard]] std::vector<std::uint32_t> maglev_table(std::span<const MaglevMember> members);

}  // namespace svclb::model
