// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The row that svclb-ctl reads, filled from what the agent knows. Pure.
#pragma once

#include <chrono>
#include <span>
#include <string_view>
#include <vector>

#include "observe.hpp"
#include "svclb/abi.h"
#include "svclb/kube/source.hpp"
#include "sync.hpp"

namespace svclb::agent {

[[nodiscard]] std::uint64_t nanoseconds(RealTime time);

// Cuts what does not fit; the rest of the field is zeros.
void put_text(std::span<char> field, std::string_view text);

// Where the socket hooks are, or why they are not, and what they cannot do.
void show_sockets(svclb_agent_status& row, std::string_view text, std::string_view problem);
void show_pass(svclb_agent_status& row, const PassReport& report);
void show_source(svclb_agent_status& row, const kube::SourceState& state, RealTime now);
void show_events(svclb_agent_status& row, const EventCounts& events);
[[nodiscard]] std::vector<svclb_problem> problem_rows(std::span<const Warning> warnings);

}  // namespace svclb::agent
