// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The one file of svclb-ctl that touches the outside world: pinned maps and clocks.
#include "snapshot.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <ctime>
#include <string_view>
#include <system_error>
#include <variant>

namespace svclb::ctl {
namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

std::uint64_t clock_ns(clockid_t clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * kNsPerSecond + static_cast<std::uint64_t>(now.tv_nsec);
}

std::string padded_text(const char* text, std::size_t size) {
    return {text, ::strnlen(text, size)};
}

FrontendRow frontend_row(const svclb_frontend_key& key, const svclb_frontend& value) {
    return {.address = address_of(key.addr),
            .port = ntohs(key.port),
            .proto = key.proto,
            .service = value.service,
            .kind = value.kind,
            .set = value.set,
            .outside_set = value.outside_set,
            .flags = value.flags};
}

BackendRow backend_row(const svclb_backend_key& key, const svclb_backend& value) {
    return {.service = key.service,
            .address = address_of(key.addr),
            .port = ntohs(key.port),
            .id = value.id,
            .node = value.node,
            .zone = value.zone,
            .weight = value.weight,
            .state = value.state,
            .flags = value.flags};
}

// A row that the agent rewrites during the walk may come twice.
template <class Row>
void sort_unique(std::vector<Row>& rows) {
    std::ranges::sort(rows);
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
}

Status read_rows(const datapath::Pinned& pinned, Snapshot& out) {
    const auto services = pinned.services();
    out.services.assign(services.begin(), services.end());
    if (auto done = pinned.each_name([&](std::uint32_t service, const svclb_service_name& value) {
            out.names[service] = {padded_text(value.ns, sizeof value.ns), padded_text(value.name, sizeof value.name),
                                  padded_text(value.port_name, sizeof value.port_name)};
        });
        !done)
        return done;
    if (auto done = pinned.each_string([&](std::uint32_t id, const svclb_string& value) {
            out.strings[id] = padded_text(value.text, sizeof value.text);
        });
        !done)
        return done;
    if (auto done = pinned.each_frontend([&](const svclb_frontend_key& key, const svclb_frontend& value) {
            out.frontends.push_back(frontend_row(key, value));
        });
        !done)
        return done;
    if (auto done = pinned.each_backend([&](const svclb_backend_key& key, const svclb_backend& value) {
            out.backends.push_back(backend_row(key, value));
        });
        !done)
        return done;
    if (auto done = pinned.each_range([&](const svclb_source_range& key) {
            const auto bits = std::max<std::uint32_t>(key.prefix, SVCLB_SOURCE_RANGE_SERVICE_BITS);
            out.ranges.push_back({key.service,
                                  {.address = address_of(key.addr),
                                   .prefix = static_cast<std::uint8_t>(bits - SVCLB_SOURCE_RANGE_SERVICE_BITS)}});
        });
        !done)
        return done;
    sort_unique(out.ranges);
    sort_unique(out.frontends);
    sort_unique(out.backends);
    auto done = pinned.each_problem([&](std::uint32_t, const svclb_problem& value) {
        out.problems.push_back({padded_text(value.object, sizeof value.object),
                                padded_text(value.reason, sizeof value.reason),
                                padded_text(value.text, sizeof value.text)});
    });
    sort_unique(out.problems);
    return done;
}

Status read_tables(const datapath::Pinned& pinned, Snapshot& out) {
    const auto slots = pinned.slots();
    out.slots.assign(slots.begin(), slots.end());
    out.filters.assign(1, pinned.filters());
    auto done = pinned.each_desired([&](const svclb_frontend_key& key, const svclb_frontend& value) {
        out.desired.push_back(frontend_row(key, value));
    });
    sort_unique(out.desired);
    return done;
}

Status read_counters(const datapath::Pinned& pinned, Snapshot& out) {
    for (std::uint32_t index = 1; index < out.services.size(); ++index) {
        if (out.services[index].family == 0) continue;
        auto counter = pinned.service_counter(index);
        if (!counter) return fail(std::move(counter.error()));
        out.service_counters[index] = *counter;
    }
    for (const BackendRow& backend : out.backends) {
        // An id out of range is for verify to report; it must not hide the other backends.
        if (auto counter = pinned.backend_counter(backend.id)) out.backend_counters[backend.id] = *counter;
    }
    return {};
}

Status read_flows(const datapath::Pinned& pinned, bool keep_rows, Snapshot& out) {
    const std::uint64_t now_s = clock_ns(CLOCK_MONOTONIC) / kNsPerSecond;
    auto done = pinned.each_flow([&](const datapath::FlowKey& key, const svclb_flow& flow, bool) {
        FlowRow row;
        if (!flow_row(key, flow, now_s, row)) return;
        if (is_live(row)) {
            ++out.connections;
            ++out.service_connections[row.service];
            ++out.backend_connections[row.backend_id];
        }
        if (keep_rows) out.flows.push_back(row);
    });
    if (keep_rows) sort_unique(out.flows);
    return done;
}

Status read_affinity(const datapath::Pinned& pinned, Snapshot& out) {
    const std::uint64_t now_s = clock_ns(CLOCK_MONOTONIC) / kNsPerSecond;
    auto done = pinned.each_affinity([&](const svclb_affinity_key& key, const svclb_affinity& value) {
        out.affinity.push_back({.client = address_of(key.client),
                                .service = key.service,
                                .backend = address_of(value.addr),
                                .port = ntohs(value.port),
                                .age_s = now_s > value.seen_s ? static_cast<std::uint32_t>(now_s - value.seen_s) : 0});
    });
    sort_unique(out.affinity);
    return done;
}

Status read_drops(const datapath::Pinned& pinned, Snapshot& out) {
#define SVCLB_DROP_ROW(name, text, dropped) {#name, text, (dropped) != 0, 0, 0},
    out.drops = {SVCLB_REASONS(SVCLB_DROP_ROW)};
#undef SVCLB_DROP_ROW
    for (std::size_t reason = 0; reason < out.drops.size(); ++reason) {
        auto counter = pinned.drop_counter(static_cast<svclb_reason>(reason));
        if (!counter) return fail(std::move(counter.error()));
        out.drops[reason].packets = counter->packets;
        out.drops[reason].bytes = counter->bytes;
    }
    for (std::size_t action = 0; action < out.xdp.size(); ++action) {
        auto counter = pinned.xdp_counter(static_cast<svclb_xdp_action>(action));
        if (!counter) return fail(std::move(counter.error()));
        out.xdp.at(action) = *counter;
    }
    out.xdp_text = pinned.xdp_text();
    return {};
}

FlowState flow_state(std::uint8_t proto, const svclb_flow& flow) {
    if (proto != IPPROTO_TCP) return flow.answered != 0 ? FlowState::assured : FlowState::unreplied;
    if (flow.reset != 0 || (flow.client_fin != 0 && flow.backend_fin != 0)) return FlowState::closed;
    if (flow.client_fin != 0 || flow.backend_fin != 0) return FlowState::closing;
    return flow.answered != 0 ? FlowState::established : FlowState::syn_sent;
}

struct Tuple {
    Address source;
    Address destination;
    std::uint16_t source_port = 0;
    std::uint16_t destination_port = 0;
    std::uint8_t proto = 0;
};

Address mapped(__be32 v4) {
    const std::array<__be32, SVCLB_ADDR_WORDS> words{0, 0, htonl(SVCLB_V4_MAPPED_PREFIX), v4};
    return address_of(words);
}

Tuple tuple_of(const svclb_flow_key4& key) {
    return {mapped(key.saddr), mapped(key.daddr), ntohs(key.sport), ntohs(key.dport), key.proto};
}
Tuple tuple_of(const svclb_flow_key6& key) {
    return {address_of(key.saddr), address_of(key.daddr), ntohs(key.sport), ntohs(key.dport), key.proto};
}

}  // namespace

Address address_of(std::span<const __be32, SVCLB_ADDR_WORDS> words) {
    Address address;
    static_assert(sizeof address.bytes == SVCLB_ADDR_WORDS * sizeof(__be32),
                  "both hold one IPv6 address in network order");
    std::memcpy(address.bytes.data(), words.data(), words.size_bytes());
    return address;
}

bool flow_row(const datapath::FlowKey& key, const svclb_flow& flow, std::uint64_t now_s, FlowRow& row) {
    const bool direct = flow.kind == SVCLB_FLOW_DIRECT;
    if (!direct && flow.kind != SVCLB_FLOW_FORWARD && flow.kind != SVCLB_FLOW_HAIRPIN &&
        flow.kind != SVCLB_FLOW_ENCAPSULATED)
        return false;
    const Tuple tuple = std::visit([](const auto& k) { return tuple_of(k); }, key);
    FlowRow found{.service = flow.service,
                  .backend_id = flow.backend,
                  .idle_s = now_s > flow.seen_s ? static_cast<std::uint32_t>(now_s - flow.seen_s) : 0,
                  .proto = tuple.proto,
                  .kind = flow.kind,
                  .state = flow_state(tuple.proto, flow)};
    if (direct) {  // keyed like a reply: the backend is the source
        found.client = tuple.destination;
        found.client_port = found.translated_port = tuple.destination_port;
        found.backend = tuple.source;
        found.backend_port = tuple.source_port;
    } else {
        found.client = tuple.source;
        found.client_port = tuple.source_port;
        found.frontend = tuple.destination;
        found.frontend_port = tuple.destination_port;
        found.backend = address_of(flow.addr);
        found.backend_port = ntohs(flow.port);
        found.translated_port = ntohs(flow.client_port);
    }
    row = found;
    return true;
}

bool is_live(const FlowRow& flow) {
    return flow.kind != SVCLB_FLOW_DIRECT && flow.state != FlowState::closed;
}

Result<Snapshot> read_snapshot(const std::filesystem::path& bpf_dir, const Parts& parts) {
    std::error_code error;
    if (!std::filesystem::exists(bpf_dir / "maps", error)) {
        if (error) return fail({error, "open " + bpf_dir.string()});  // a bpffs is for root alone
        return fail(Error::invalid("no svclb state at " + bpf_dir.string()));
    }
    auto pinned = datapath::Pinned::open(bpf_dir);
    if (!pinned) return fail(std::move(pinned.error()));

    Snapshot out;
    out.bpf_dir = bpf_dir.string();
    out.agent = pinned->agent();
    out.agent_running = out.agent.pid != 0 && pinned->agent_runs();
    out.now_ns = clock_ns(CLOCK_REALTIME);
    Status done = read_rows(*pinned, out);
    if (done && parts.tables) done = read_tables(*pinned, out);
    if (done && parts.counters) done = read_counters(*pinned, out);
    if (done && (parts.connections || parts.flows)) done = read_flows(*pinned, parts.flows, out);
    if (done && parts.affinity) done = read_affinity(*pinned, out);
    if (done && parts.drops) done = read_drops(*pinned, out);
    if (!done) return fail(std::move(done.error()));
    if (parts.links) {
        auto links = pinned->links();
        if (!links) return fail(std::move(links.error()));
        out.links = std::move(*links);
        std::ranges::sort(out.links, {}, &datapath::AttachedLink::ifindex);
        const auto add = [&out](std::uint32_t ifindex, const svclb_xdp_link&) {
            out.xdp_links.insert(static_cast<int>(ifindex));
        };
        if (auto read = pinned->each_xdp_link(add); !read) return fail(std::move(read.error()));
    }
    if (parts.maps) {
        auto maps = pinned->maps();
        if (!maps) return fail(std::move(maps.error()));
        out.maps = std::move(*maps);
        std::ranges::sort(out.maps, {}, &datapath::MapInfo::name);
    }
    return out;
}

}  // namespace svclb::ctl
