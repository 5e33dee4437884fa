// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What this process costs, from /proc/self.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace svclb::agent {

struct ProcessFacts {
    double resident_bytes = 0;
    double virtual_bytes = 0;
    double cpu_seconds = 0;
    double start_time_s = 0;  // since the epoch
    double open_fds = 0;
    double max_fds = 0;
};

[[nodiscard]] ProcessFacts process_facts();

struct ProcessStat {
    std::uint64_t user_ticks = 0;
    std::uint64_t system_ticks = 0;
    std::uint64_t start_ticks = 0;  // since boot
    std::uint64_t virtual_bytes = 0;
    std::uint64_t resident_pages = 0;
};

// /proc/PID/stat. Nothing for any other text.
[[nodiscard]] std::optional<ProcessStat> parse_process_stat(const std::string& text);

}  // namespace svclb::agent
