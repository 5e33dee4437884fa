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

// What one row of `services` can say.
inline constexpr std::uint32_t kLargestMaglevTable = (1U << 20U) - 1;
// Beyond that a backend's share is too coarse.
inline constexpr std::size_t kMostMaglevMembers = kLargestMaglevTable / 16;

// Slots of the table: 256 to 1,024 for each member, up to the largest table. It changes as the number of members
// passes 4, 16, 64, 256 and 1,024, which moves most flows.
[[nodiscard]] std::uint32_t maglev_size(std::size_t members) noexcept;

// For each slot the position of its member in `members`. A member that goes, with the size as it was, leaves every
// slot alone that was not its own. Shares follow the weights as chance does: with 256 slots a member, 6% of standard
// deviation.
[[nodiscard]] std::vector<std::uint32_t> maglev_table(std::span<const MaglevMember> members);

}  // namespace svclb::model
