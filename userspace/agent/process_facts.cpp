// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "process_facts.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace svclb::agent {
namespace {

std::string content(const char* path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// Since the epoch.
double boot_time_s() {
    std::istringstream lines(content("/proc/stat"));
    for (std::string line; std::getline(lines, line);)
        if (line.starts_with("btime ")) return std::stod(line.substr(6));
    return 0;
}

}  // namespace

std::optional<ProcessStat> parse_process_stat(const std::string& text) {
    // The name before them is in parentheses and may hold anything.
    const auto name_end = text.rfind(')');
    if (name_end == std::string::npos) return std::nullopt;
    std::istringstream fields(text.substr(name_end + 1));
    // proc(5) counts from 1; the state behind the name is field 3.
    std::string skipped;
    ProcessStat stat;
    for (int field = 3; field <= 24; ++field) {
        if (field == 14)
            fields >> stat.user_ticks;
        else if (field == 15)
            fields >> stat.system_ticks;
        else if (field == 22)
            fields >> stat.start_ticks;
        else if (field == 23)
            fields >> stat.virtual_bytes;
        else if (field == 24)
            fields >> stat.resident_pages;
        else
            fields >> skipped;
    }
    if (!fields) return std::nullopt;
    return stat;
}

ProcessFacts process_facts() {
    ProcessFacts facts;
    const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
    if (const auto stat = parse_process_stat(content("/proc/self/stat"))) {
        facts.cpu_seconds = static_cast<double>(stat->user_ticks + stat->system_ticks) / ticks;
        facts.start_time_s = boot_time_s() + static_cast<double>(stat->start_ticks) / ticks;
        facts.virtual_bytes = static_cast<double>(stat->virtual_bytes);
        facts.resident_bytes = static_cast<double>(stat->resident_pages) * static_cast<double>(::sysconf(_SC_PAGESIZE));
    }
    std::error_code code;
    for (std::filesystem::directory_iterator fd("/proc/self/fd", code), end; !code && fd != end; fd.increment(code))
        ++facts.open_fds;
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) facts.max_fds = static_cast<double>(limit.rlim_cur);
    return facts;
}

}  // namespace svclb::agent
