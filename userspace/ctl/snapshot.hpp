// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What the pinned maps hold, copied once into plain structs: everything behind it is pure. Byte order ends here; enum
// values stay the numbers that were found, because a corrupt row must reach `verify` as it is.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "svclb/abi.h"
#include "svclb/base/result.hpp"
#include "svclb/datapath/pinned.hpp"
#include "svclb/model/address.hpp"

namespace svclb::ctl {

using model::Address;

struct ServiceName {
    std::string ns;
    std::string name;
    std::string port_name;
    auto operator<=>(const ServiceName&) const = default;
};

struct FrontendRow {
    Address address{};
    std::uint16_t port = 0;
    std::uint8_t proto = 0;
    std::uint32_t service = SVCLB_NONE;
    std::uint8_t kind = 0;
    std::uint8_t set = 0;
    std::uint8_t outside_set = 0;
    std::uint8_t flags = 0;
    auto operator<=>(const FrontendRow&) const = default;
};

struct RangeRow {
    std::uint32_t service = SVCLB_NONE;
    model::Cidr range;
    auto operator<=>(const RangeRow&) const = default;
};

struct BackendRow {
    std::uint32_t service = SVCLB_NONE;
    Address address{};
    std::uint16_t port = 0;
    std::uint32_t id = SVCLB_NONE;
    std::uint32_t node = SVCLB_NONE;
    std::uint32_t zone = SVCLB_NONE;
    std::uint16_t weight = 1;
    std::uint8_t state = 0;
    std::uint8_t flags = 0;
    auto operator<=>(const BackendRow&) const = default;
};

enum class FlowState : std::uint8_t { syn_sent, established, closing, closed, unreplied, assured };

// A flow as its client sees it: one row for FORWARD, HAIRPIN and DIRECT entries, none for those of replies.
struct FlowRow {
    Address client{};
    Address frontend{};  // unused by a direct conversation
    Address backend{};
    std::uint16_t client_port = 0;
    std::uint16_t frontend_port = 0;
    std::uint16_t backend_port = 0;
    std::uint16_t translated_port = 0;  // the client's port as the backend sees it
    std::uint32_t service = SVCLB_NONE;
    std::uint32_t backend_id = SVCLB_NONE;
    std::uint32_t idle_s = 0;
    std::uint8_t proto = 0;
    std::uint8_t kind = 0;
    FlowState state = FlowState::unreplied;
    auto operator<=>(const FlowRow&) const = default;
};

struct AffinityRow {
    Address client{};
    std::uint32_t service = SVCLB_NONE;
    Address backend{};
    std::uint16_t port = 0;
    std::uint32_t age_s = 0;
    auto operator<=>(const AffinityRow&) const = default;
};

struct Drop {
    std::string name;  // "NO_BACKEND_REJECTED"
    std::string text;
    bool dropped = false;  // false = the packet went on untouched
    std::uint64_t packets = 0;
    std::uint64_t bytes = 0;
};

// What the agent shows as long as it is so.
struct Problem {
    std::string object;  // "Service default/web"
    std::string reason;
    std::string text;
    auto operator<=>(const Problem&) const = default;
};

struct Snapshot {
    std::string bpf_dir;
    svclb_agent_status agent{};
    bool agent_running = false;
    std::uint64_t now_ns = 0;  // CLOCK_REALTIME of the reading

    std::vector<svclb_service> services;  // by index; entry 0 is never used
    std::vector<svclb_slot> slots;
    std::vector<svclb_filters> filters;          // the one row
    std::map<std::uint32_t, ServiceName> names;  // by service index
    std::unordered_map<std::uint32_t, std::string> strings;
    std::vector<FrontendRow> frontends;  // sorted
    std::vector<FrontendRow> desired;    // sorted
    std::vector<RangeRow> ranges;        // sorted
    std::vector<BackendRow> backends;    // sorted
    std::unordered_map<std::uint32_t, svclb_counter> service_counters;
    std::unordered_map<std::uint32_t, svclb_counter> backend_counters;

    std::vector<FlowRow> flows;
    // Live flows, without keeping the rows.
    std::uint64_t connections = 0;
    std::unordered_map<std::uint32_t, std::uint64_t> service_connections;
    std::unordered_map<std::uint32_t, std::uint64_t> backend_connections;

    std::vector<AffinityRow> affinity;
    std::vector<Problem> problems;  // sorted
    std::vector<Drop> drops;        // every reason, in the order of abi.h
    std::array<svclb_xdp_counter, SVCLB_XDP_ACTIONS> xdp{};
    std::string xdp_text;
    std::vector<datapath::AttachedLink> links;
    std::set<int> xdp_links;  // ifindexes of uplinks that the programs take to be served by XDP
    std::vector<datapath::MapInfo> maps;
};

// What a command needs beside the service, frontend and backend rows. A node may hold hundreds of thousands of flows.
struct Parts {
    bool tables = false;       // slots, filters, desired frontends
    bool counters = false;     // per service port and per backend
    bool connections = false;  // counts of live flows
    bool flows = false;        // the flows themselves
    bool affinity = false;
    bool drops = false;
    bool links = false;
    bool maps = false;
};

// Fails with one line when there is nothing of ours below bpf_dir.
Result<Snapshot> read_snapshot(const std::filesystem::path& bpf_dir, const Parts& parts);

// False for the entries of replies, which repeat what the forward entry says; `row` is untouched then.
bool flow_row(const datapath::FlowKey& key, const svclb_flow& flow, std::uint64_t now_s, FlowRow& row);
// Whether a flow counts as a connection: it translates, and its end has not been seen.
[[nodiscard]] bool is_live(const FlowRow& flow);

[[nodiscard]] Address address_of(std::span<const __be32, SVCLB_ADDR_WORDS> words);

}  // namespace svclb::ctl
