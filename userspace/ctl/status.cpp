// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "status.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <span>
#include <string_view>
#include <vector>

#include "view.hpp"

namespace svclb::ctl {
namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

std::string row_text(std::span<const char> text) {
    const std::string_view all(text.data(), text.size());
    return std::string(all.substr(0, std::min(all.find('\0'), all.size())));
}

std::string time_text(std::uint64_t realtime_ns) {
    const auto seconds = static_cast<std::time_t>(realtime_ns / kNsPerSecond);
    std::tm parts{};
    ::gmtime_r(&seconds, &parts);
    std::array<char, sizeof "2026-01-31T12:34:56Z  "> text{};
    return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

std::uint64_t age_s(const Snapshot& snapshot, std::uint64_t then_ns) {
    return snapshot.now_ns > then_ns ? (snapshot.now_ns - then_ns) / kNsPerSecond : 0;
}

struct Fill {
    std::string name;
    std::uint64_t entries = 0;
    std::uint64_t max_entries = 0;
    [[nodiscard]] double percent() const {
        return max_entries == 0 ? 0 : 100.0 * static_cast<double>(entries) / static_cast<double>(max_entries);
    }
};

// Fullest first. An array of which nobody knows the used rows says nothing.
std::vector<Fill> fills(const Snapshot& snapshot) {
    std::vector<Fill> all;
    for (const datapath::MapInfo& map : maps(snapshot)) {
        const bool array = map.type.find("array") != std::string::npos;
        if (!array || map.name == "services" || map.name == "slots")
            all.push_back({map.name, map.entries, map.max_entries});
    }
    std::ranges::stable_sort(all, [](const Fill& a, const Fill& b) { return a.percent() > b.percent(); });
    return all;
}

std::string fill_text(const Fill& fill) {
    return fmt::format("{} {:.1f}% ({} of {})", fill.name, fill.percent(), fill.entries, fill.max_entries);
}

std::string agent_text(const Snapshot& snapshot) {
    if (snapshot.agent.pid == 0) return "not running";
    if (!snapshot.agent_running) return fmt::format("not running (last was pid {})", snapshot.agent.pid);
    return fmt::format("running (pid {})", snapshot.agent.pid);
}

std::span<const svclb_source_part> parts(const svclb_agent_status& agent) {
    return {agent.source_part, std::min<std::size_t>(agent.source_parts, SVCLB_SOURCE_PARTS)};
}

// Nothing where the agent is of a release without them.
std::string host_sockets_text(const svclb_agent_status& agent) {
    const auto text = row_text(agent.sockets);
    if (agent.sockets_attached != 0) return "translated, below " + text;
    return text.empty() || text == "off" ? text : "not translated: " + text;
}

// Only a source that can be away has more to say than its name.
std::string connection_text(const Snapshot& snapshot) {
    const svclb_agent_status& agent = snapshot.agent;
    if (agent.source_parts == 0) return "";
    const auto since =
        fmt::format("for {}s (since {})", age_s(snapshot, agent.source_since_ns), time_text(agent.source_since_ns));
    if (agent.source_connected != 0) return "up " + since;
    return fmt::format("down {}, serving the last state: {}", since, row_text(agent.source_error));
}

std::string watch_text(const Snapshot& snapshot, const svclb_source_part& part) {
    const auto* state = part.connected != 0 ? "followed" : part.synced != 0 ? "interrupted" : "not read yet";
    const auto heard =
        part.heard_ns == 0 ? "never heard" : fmt::format("heard {}s ago", age_s(snapshot, part.heard_ns));
    return fmt::format("{} {}, {}, {} objects, {} lists, {} watches, {} failures", row_text(part.name), state, heard,
                       part.objects, part.lists, part.watches, part.failures);
}

}  // namespace

Json status_json(const Snapshot& snapshot) {
    const svclb_agent_status& agent = snapshot.agent;
    const Totals all = totals(snapshot);
    Json map_fill = Json::array();
    for (const Fill& fill : fills(snapshot))
        map_fill.push_back({{"name", fill.name}, {"entries", fill.entries}, {"maxEntries", fill.max_entries}});
    Json drops = Json::array();
    for (const Drop& drop : snapshot.drops)
        if (drop.packets != 0)
            drops.push_back({{"reason", drop.name},
                             {"text", drop.text},
                             {"dropped", drop.dropped},
                             {"packets", drop.packets},
                             {"bytes", drop.bytes}});
    Json out = Json::object();
    out["bpfDir"] = snapshot.bpf_dir;
    out["agent"] = {{"running", snapshot.agent_running},
                    {"pid", agent.pid},
                    {"abiVersion", agent.abi_version},
                    {"startedAt", agent.started_ns == 0 ? "" : time_text(agent.started_ns)}};
    out["node"] = row_text(agent.node);
    out["source"] = row_text(agent.source);
    out["complete"] = agent.complete != 0;
    out["connected"] = agent.source_connected != 0;
    if (agent.source_since_ns != 0) {
        out["connectionSince"] = time_text(agent.source_since_ns);
        out["connectionAgeSeconds"] = age_s(snapshot, agent.source_since_ns);
    }
    out["sourceError"] = row_text(agent.source_error);
    out["bytesReceived"] = agent.source_bytes;
    out["watches"] = Json::array();
    for (const auto& part : parts(agent)) {
        Json watch = {{"name", row_text(part.name)}, {"synced", part.synced != 0}, {"connected", part.connected != 0},
                      {"objects", part.objects},     {"lists", part.lists},        {"watches", part.watches},
                      {"failures", part.failures}};
        if (part.heard_ns != 0) watch["heardAgeSeconds"] = age_s(snapshot, part.heard_ns);
        out["watches"].push_back(std::move(watch));
    }
    out["lastSync"] = agent.synced_ns == 0 ? "" : time_text(agent.synced_ns);
    if (agent.synced_ns != 0) out["lastSyncAgeSeconds"] = age_s(snapshot, agent.synced_ns);
    out["passes"] = agent.passes;
    out["writes"] = agent.writes;
    out["lastWrites"] = agent.last_writes;
    out["failures"] = agent.failures;
    out["lastError"] = row_text(agent.error);
    out["collectedFlows"] = agent.collected;
    out["objects"] = {
        {"services", agent.services}, {"endpointSlices", agent.endpoint_slices}, {"invalid", agent.invalid_objects}};
    out["heldServices"] = agent.held_services;
    out["conflicts"] = agent.conflicts;
    out["problems"] = Json::array();
    for (const Problem& problem : snapshot.problems)
        out["problems"].push_back({{"object", problem.object}, {"reason", problem.reason}, {"text", problem.text}});
    out["events"] = {{"sent", agent.events_sent}, {"failed", agent.events_failed}, {"dropped", agent.events_dropped}};
    out["servicePorts"] = all.service_ports;
    out["frontends"] = all.frontends;
    out["backends"] = all.backends;
    out["flows"] = snapshot.connections;
    out["links"] = snapshot.links.size();
    out["hostSockets"] = {{"attached", agent.sockets_attached != 0}, {"text", row_text(agent.sockets)}};
    out["podSockets"] = {{"text", row_text(agent.pod_sockets)}};
    out["hostPackets"] = row_text(agent.host_packets);
    out["xdp"] = {{"text", snapshot.xdp_text},
                  {"packets", snapshot.xdp[SVCLB_XDP_FORWARDED].packets},
                  {"bytes", snapshot.xdp[SVCLB_XDP_FORWARDED].bytes},
                  {"dropped", snapshot.xdp[SVCLB_XDP_DROPPED].packets},
                  {"passed", snapshot.xdp[SVCLB_XDP_PASSED].packets}};
    out["maps"] = std::move(map_fill);
    out["drops"] = std::move(drops);
    return out;
}

std::string status_text(const Snapshot& snapshot, bool wide) {
    const svclb_agent_status& agent = snapshot.agent;
    const Totals all = totals(snapshot);
    std::string out;
    const auto add = [&](std::string_view key, const std::string& value) {
        out += fmt::format("{:<16}{}\n", key.empty() ? "" : fmt::format("{}:", key),
                           value.empty() ? "<none>" : escaped(value));
    };
    add("agent", agent_text(snapshot));
    add("started", agent.started_ns == 0 ? "" : time_text(agent.started_ns));
    add("node", row_text(agent.node));
    add("source", row_text(agent.source));
    if (agent.source_parts != 0) add("connection", connection_text(snapshot));
    for (const auto& part : parts(agent)) add(&part == agent.source_part ? "watches" : "", watch_text(snapshot, part));
    add("last sync", agent.synced_ns == 0
                         ? ""
                         : fmt::format("{}s ago ({})", age_s(snapshot, agent.synced_ns), time_text(agent.synced_ns)));
    add("passes", std::to_string(agent.passes));
    add("writes", fmt::format("{} total, {} in the last pass", agent.writes, agent.last_writes));
    add("failures", std::to_string(agent.failures));
    add("last error", row_text(agent.error));
    add("objects", fmt::format("{} services, {} endpoint slices, {} invalid", agent.services, agent.endpoint_slices,
                               agent.invalid_objects));
    if (agent.held_services != 0 || (agent.complete == 0 && agent.source_since_ns != 0))
        add("held", fmt::format("{} services stay as an earlier agent left them{}", agent.held_services,
                                agent.complete == 0 ? ", the input is not known as a whole yet" : ""));
    add("service ports", std::to_string(all.service_ports));
    add("frontends", std::to_string(all.frontends));
    add("backends", std::to_string(all.backends));
    add("flows", fmt::format("{} ({} dead ones collected)", snapshot.connections, agent.collected));
    add("links", fmt::format("{} attached", snapshot.links.size()));
    add("host sockets", host_sockets_text(agent));
    add("pod sockets", row_text(agent.pod_sockets));
    add("host packets", row_text(agent.host_packets));
    add("xdp", snapshot.xdp_text.empty()
                   ? ""
                   : fmt::format("{}; {} packets turned round, {} dropped, {} passed up", snapshot.xdp_text,
                                 snapshot.xdp[SVCLB_XDP_FORWARDED].packets, snapshot.xdp[SVCLB_XDP_DROPPED].packets,
                                 snapshot.xdp[SVCLB_XDP_PASSED].packets));

    const std::vector<Fill> map_fill = fills(snapshot);
    if (wide) {
        for (const Fill& fill : map_fill) add(&fill == map_fill.data() ? "maps" : "", fill_text(fill));
    } else {
        add("fullest map", map_fill.empty() ? "" : fill_text(map_fill.front()));
    }

    Table problems{{"OBJECT", "REASON", "PROBLEM"}, {}};
    for (const Problem& problem : snapshot.problems)
        problems.rows.push_back({problem.object, problem.reason, problem.text});
    if (!problems.rows.empty()) out += fmt::format("problems:       {}\n", agent.problems) + to_text(problems);
    Table drops{{"REASON", "PACKETS", "BYTES", "MEANING"}, {}};
    for (const Drop& drop : snapshot.drops)
        if (drop.packets != 0)
            drops.rows.push_back({drop.name, std::to_string(drop.packets), std::to_string(drop.bytes), drop.text});
    if (drops.rows.empty())
        add("drops", "");
    else
        out += "drops:\n" + to_text(drops);
    return out;
}

}  // namespace svclb::ctl
