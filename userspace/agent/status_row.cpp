// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "status_row.hpp"

#include <algorithm>
#include <string>

#include "svclb/model/text.hpp"

namespace svclb::agent {

std::uint64_t nanoseconds(RealTime time) {
    return static_cast<std::uint64_t>(std::chrono::nanoseconds(time.time_since_epoch()).count());
}

void put_text(std::span<char> field, std::string_view text) {
    const auto size = std::min(text.size(), field.size() - 1);
    const auto end = std::copy_n(text.begin(), size, field.begin());
    std::fill(end, field.end(), '\0');
}

void show_sockets(svclb_agent_status& row, std::string_view text, std::string_view problem) {
    std::string all(text);
    if (!problem.empty()) all.append("; ").append(problem);
    put_text(row.sockets, all);
}

void show_pass(svclb_agent_status& row, const PassReport& report) {
    row.passes++;
    row.writes += report.writes;
    row.last_writes = report.writes;
    row.failures += report.failures;
    row.services = static_cast<std::uint32_t>(report.known_services);
    row.endpoint_slices = static_cast<std::uint32_t>(report.known_endpoint_slices);
    row.complete = report.complete ? 1 : 0;
    row.held_services = static_cast<std::uint32_t>(report.held_services);
    row.conflicts = static_cast<std::uint32_t>(report.conflicts);
    row.pass_ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(report.ended - report.began).count());
}

void show_source(svclb_agent_status& row, const kube::SourceState& state, RealTime now) {
    const std::uint32_t connected = state.connected ? 1 : 0;
    if (row.source_since_ns == 0 || row.source_connected != connected) row.source_since_ns = nanoseconds(now);
    row.source_connected = connected;
    row.source_bytes = state.bytes_received;
    put_text(row.source_error, state.connected ? "" : state.error);
    const auto parts = std::min<std::size_t>(state.resources.size(), SVCLB_SOURCE_PARTS);
    for (std::size_t at = 0; at < parts; ++at) {
        const auto& from = state.resources[at];
        auto& to = row.source_part[at];
        put_text(to.name, from.name);
        to.heard_ns = from.age ? nanoseconds(now - *from.age) : 0;
        to.objects = from.objects;
        to.lists = from.lists;
        to.watches = from.watches;
        to.failures = from.failures;
        to.synced = from.synced ? 1 : 0;
        to.connected = from.connected ? 1 : 0;
    }
    row.source_parts = static_cast<std::uint32_t>(parts);
}

void show_events(svclb_agent_status& row, const EventCounts& events) {
    row.events_sent = events.sent;
    row.events_failed = events.failed;
    row.events_dropped = events.dropped;
}

std::vector<svclb_problem> problem_rows(std::span<const Warning> warnings) {
    std::vector<svclb_problem> rows;
    for (const auto& warning : warnings.first(std::min<std::size_t>(warnings.size(), SVCLB_PROBLEMS))) {
        auto& row = rows.emplace_back();
        put_text(row.object, model::printable(warning.object, SVCLB_STRING_SIZE));
        put_text(row.reason, warning.reason);
        put_text(row.text, model::printable(warning.note, SVCLB_STRING_SIZE));
    }
    return rows;
}

}  // namespace svclb::agent
