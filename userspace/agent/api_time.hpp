// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Times as the API writes them. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace svclb::agent {

using RealTime = std::chrono::system_clock::time_point;

// RFC 3339 in UTC, with or without a fraction: "2026-01-31T12:34:56.789Z". Nothing for any other text.
[[nodiscard]] std::optional<RealTime> parse_time(std::string_view text);
// With microseconds, as the API's MicroTime wants it.
[[nodiscard]] std::string time_text(RealTime time);

}  // namespace svclb::agent
