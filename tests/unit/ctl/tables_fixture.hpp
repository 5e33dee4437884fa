// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A node's tables that agree with each other: a dual-stack web service with affinity, one draining backend, and a DNS
// service with a Local set. Tests spoil one thing in a copy.
#pragma once

#include <string>
#include <string_view>

#include "snapshot.hpp"

namespace svclb::ctl::test {

inline constexpr std::uint32_t kWeb4 = 1;
inline constexpr std::uint32_t kWeb6 = 2;
inline constexpr std::uint32_t kDns4 = 5;

Address address(std::string_view text);
svclb_slot slot(std::uint32_t service, std::string_view backend, std::uint16_t port, std::uint32_t id,
                std::uint16_t generation);
// The row of a backend, to be changed.
BackendRow& backend_of(Snapshot& snapshot, std::string_view backend_address);
FrontendRow& frontend_of(Snapshot& snapshot, std::string_view frontend_address, std::uint16_t port);
void mark_filters(Snapshot& snapshot);

Snapshot tables();
// The same with flows, affinity, counters, drops, links, maps and an agent.
Snapshot busy_node();

}  // namespace svclb::ctl::test
