// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "support.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <tuple>

namespace svclb::test {

model::Address address(const std::string& text) {
    const auto parsed = model::parse_address(text);
    REQUIRE(parsed);
    return *parsed;
}

Frontend frontend(const std::string& text, std::uint16_t port, FrontendKind kind) {
    return {.address = address(text), .port = port, .protocol = model::Protocol::tcp, .kind = kind, .set = {}};
}

Backend backend(const std::string& text, In sets, std::uint16_t weight) {
    Backend made;
    made.address = address(text);
    made.port = 8080;
    made.node = "node-" + text;
    made.zone = "zone";
    made.in_cluster = sets == In::cluster || sets == In::both;
    made.in_local = sets == In::local || sets == In::both;
    made.state = sets == In::none ? model::BackendState::not_ready : model::BackendState::ready;
    made.serving = sets != In::none;
    made.weight = weight;
    return made;
}

ServicePortState port(const std::string& service, const std::string& port_name, std::vector<Frontend> frontends,
                      std::vector<Backend> backends, const std::string& created) {
    ServicePortState made;
    made.id.service = {"default", service};
    made.id.port_name = port_name;
    const bool v6 = (!frontends.empty() && frontends[0].address.family() == model::Family::ipv6) ||
                    (!backends.empty() && backends[0].address.family() == model::Family::ipv6);
    made.id.family = v6 ? model::Family::ipv6 : model::Family::ipv4;
    made.created = created;
    std::sort(frontends.begin(), frontends.end());
    made.frontends = std::move(frontends);
    std::sort(backends.begin(), backends.end(), [](const Backend& a, const Backend& b) {
        return std::tuple(!a.in_local, a.address, a.port) < std::tuple(!b.in_local, b.address, b.port);
    });
    for (const auto& one : backends) {
        if (one.in_cluster) made.cluster = model::Verdict::forward;
        if (one.in_local) made.local = model::Verdict::forward;
    }
    made.backends = std::move(backends);
    return made;
}

World world(std::vector<ServicePortState> ports) {
    World made;
    for (auto& one : ports) made[one.id.service].push_back(std::move(one));
    for (auto& [key, state] : made)
        std::sort(state.begin(), state.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
    return made;
}

std::vector<ServiceChange> all_of(const World& world) {
    std::vector<ServiceChange> made;
    for (const auto& [key, state] : world) made.push_back({key, state});
    return made;
}

std::vector<ServiceChange> changes(const World& before, const World& after) {
    std::vector<ServiceChange> made;
    for (const auto& [key, state] : before)
        if (!after.contains(key)) made.push_back({key, {}});
    for (const auto& [key, state] : after) {
        const auto old = before.find(key);
        if (old == before.end() || old->second != state) made.push_back({key, state});
    }
    return made;
}

std::set<ObjectKey> keys_of(const World& world) {
    std::set<ObjectKey> keys;
    for (const auto& [key, state] : world) keys.insert(key);
    return keys;
}

World random_world(std::mt19937& random) {
    const auto below = [&](std::uint32_t end) { return static_cast<std::uint32_t>(random() % end); };
    std::vector<ServicePortState> ports;
    for (std::uint32_t service = 0; service < 6; ++service) {
        if (below(4) == 0) continue;
        // A Service that was deleted and made again has another age.
        const auto created = fmt::format("2024-01-0{}T00:00:00Z", 1 + below(3));
        for (const std::string name : {"http", "dns"}) {
            for (const bool v6 : {false, true}) {
                if (below(3) == 0) continue;
                const std::string net = v6 ? "fd00::" : "10.0.0.";
                std::vector<Frontend> frontends;
                for (auto left = below(4); left > 0; --left) {
                    auto one =
                        frontend(fmt::format("{}{}", net, 1 + below(5)), static_cast<std::uint16_t>(80 + below(3)),
                                 static_cast<FrontendKind>(1 + below(4)));
                    one.set = static_cast<TrafficPolicy>(below(2));
                    frontends.push_back(one);
                }
                std::vector<Backend> backends;
                for (std::uint32_t host = 1; host <= 6; ++host) {
                    if (below(2) == 0) continue;
                    auto one = backend(fmt::format("{}10{}", net, host), static_cast<In>(below(4)),
                                       static_cast<std::uint16_t>(below(4) == 0 ? below(5) : 1));
                    one.serving = one.serving || below(2) == 0;
                    if (below(5) == 0) one.node.clear();
                    if (below(5) == 0) one.zone = "other";
                    backends.push_back(one);
                }
                auto made = port(fmt::format("s{}", service), name, frontends, backends, created);
                made.id.family = v6 ? model::Family::ipv6 : model::Family::ipv4;
                made.affinity_s = below(5) == 0 ? 60 : 0;
                made.frontends.erase(std::unique(made.frontends.begin(), made.frontends.end()), made.frontends.end());
                ports.push_back(std::move(made));
            }
        }
    }
    return world(std::move(ports));
}

namespace {

std::string endpoint(const __be32 (&addr)[SVCLB_ADDR_WORDS], __be16 port) {
    model::Address bytes;
    std::memcpy(bytes.bytes.data(), addr, sizeof(addr));
    return model::endpoint_text(bytes, ntohs(port));
}

std::string owner(const FakeTables& tables, std::uint32_t index) {
    if (index == SVCLB_NONE) return "none";
    const auto name = tables.names.find(index);
    if (name == tables.names.end() || index >= tables.service_rows.size()) return fmt::format("?{}", index);
    const auto& row = tables.service_rows[index];
    return fmt::format("{}/{}:{}/{}/{}", name->second.ns, name->second.name, name->second.port_name, row.proto,
                       row.family);
}

std::string string_of(const FakeTables& tables, std::uint32_t id) {
    if (id == SVCLB_NONE) return "-";
    const auto row = tables.strings.find(id);
    return row == tables.strings.end() ? fmt::format("?{}", id) : row->second.text;
}

std::vector<std::string> run_text(const FakeTables& tables, std::uint64_t word) {
    std::vector<std::string> slots;
    for (std::uint32_t at = 0; at < svclb_run_count(word); ++at) {
        const auto& slot = tables.slot_rows.at(svclb_run_base(word) + at);
        slots.push_back(endpoint(slot.addr, slot.port));
    }
    return slots;
}

bool overlap(std::pair<std::uint32_t, std::uint32_t> a, std::pair<std::uint32_t, std::uint32_t> b) {
    return a.first < b.second && b.first < a.second;
}

std::pair<std::uint32_t, std::uint32_t> range_of(std::uint64_t word) {
    return {svclb_run_base(word), svclb_run_base(word) + svclb_run_count(word)};
}

}  // namespace

std::vector<std::string> canonical(const FakeTables& tables) {
    std::vector<std::string> lines;
    for (std::uint32_t index = 0; index < tables.service_rows.size(); ++index) {
        const auto& row = tables.service_rows[index];
        if (row.family == 0) {
            svclb_service free{};
            free.epoch = row.epoch;
            if (std::memcmp(&free, &row, sizeof(row)) != 0)
                lines.push_back(fmt::format("free row {} is not empty", index));
            if (tables.names.contains(index)) lines.push_back("name of a free row " + owner(tables, index));
            continue;
        }
        const auto local = row.runs[SVCLB_SET_LOCAL];
        const bool shared = svclb_run_count(local) != 0 && svclb_run_base(local) == svclb_run_base(row.runs[0]);
        lines.push_back(fmt::format("service {} verdicts {} {} policies {} {} affinity {} due {} cluster {} local {}{}",
                                    owner(tables, index), row.verdicts[0], row.verdicts[1], row.internal_set,
                                    row.external_set, row.affinity_s, row.epoch_due,
                                    fmt::join(run_text(tables, row.runs[0]), ","),
                                    fmt::join(run_text(tables, local), ","), shared ? " shared" : ""));
    }
    for (const auto& [key, row] : tables.backends) {
        lines.push_back(fmt::format("backend {} {} node {} zone {} weight {} state {} flags {}",
                                    owner(tables, key.service), endpoint(key.addr, key.port),
                                    string_of(tables, row.node), string_of(tables, row.zone), row.weight, row.state,
                                    row.flags));
    }
    for (const auto* table : {&tables.frontends, &tables.desired}) {
        for (const auto& [key, row] : *table) {
            lines.push_back(
                fmt::format("{} {}/{} -> {} kind {} set {}", table == &tables.frontends ? "frontend" : "desired",
                            endpoint(key.addr, key.port), key.proto, owner(tables, row.service), row.kind, row.set));
        }
    }
    for (const auto& [id, row] : tables.strings) lines.push_back(fmt::format("string {}", row.text));
    std::sort(lines.begin(), lines.end());
    return lines;
}

std::vector<std::string> fresh_tables(const World& world) {
    FakeTables tables({.services = 8, .slots = 64, .backends = 64});
    auto reconciler = Reconciler::adopt(tables);
    REQUIRE(reconciler);
    REQUIRE(reconciler->apply(all_of(world)).failures == 0);
    return canonical(tables);
}

std::string contradiction(const FakeTables& tables) {
    for (std::uint32_t index = 1; index < tables.service_rows.size(); ++index) {
        const auto& row = tables.service_rows[index];
        if (row.family == 0) continue;
        if (!tables.names.contains(index)) return fmt::format("services row {} has no name", index);
        for (const auto word : row.runs) {
            for (std::uint32_t at = 0; at < svclb_run_count(word); ++at) {
                const auto entry = svclb_run_base(word) + at;
                if (entry == 0 || entry >= tables.slot_rows.size()) return fmt::format("slot {} of {}", entry, index);
                const auto& slot = tables.slot_rows[entry];
                if (slot.service != index)
                    return fmt::format("slot {} of {} belongs to {}", entry, index, slot.service);
                if (slot.generation != svclb_run_generation(word))
                    return fmt::format("slot {} of {}: generation {} in a run of {}", entry, index, slot.generation,
                                       svclb_run_generation(word));
                svclb_backend_key key{};
                key.service = index;
                std::memcpy(key.addr, slot.addr, sizeof(key.addr));
                key.port = slot.port;
                const auto found = tables.backends.find(key);
                if (found == tables.backends.end()) return fmt::format("slot {} of {}: no backend row", entry, index);
                if (found->second.id != slot.backend) return fmt::format("slot {} of {}: other id", entry, index);
                if (tables.filters->backend[svclb_filter_index(slot.addr, slot.port)] == 0)
                    return fmt::format("slot {} of {}: backend filter not marked", entry, index);
            }
        }
    }
    std::set<std::uint32_t> ids;
    for (const auto& [key, row] : tables.backends) {
        if (row.id == SVCLB_NONE || row.id >= tables.backend_capacity || !ids.insert(row.id).second)
            return fmt::format("backend id {} is out of range or given twice", row.id);
        for (const auto text : {row.node, row.zone})
            if (text != SVCLB_NONE && !tables.strings.contains(text)) return fmt::format("string {} is missing", text);
    }
    for (const auto& [key, row] : tables.frontends) {
        const auto text = endpoint(key.addr, key.port);
        if (svclb_is_marked(tables.filters.get(), &key, row.kind) == 0) return text + ": filter not marked";
        if (!tables.desired.contains(key)) return text + ": not in the desired frontends";
        if (row.kind == SVCLB_FRONTEND_CLUSTER_IP_ADDRESS) continue;
        if (row.service >= tables.service_rows.size() || tables.service_rows[row.service].family == 0)
            return fmt::format("{} points at free service {}", text, row.service);
    }
    return "";
}

Guard::Guard(FakeTables& tables, std::uint64_t every)
    : tables_(tables), every_(every), rows_(tables.service_rows), backends_(tables.backends) {
    tables.observe = [this](const Write& write) { check(write); };
}

Guard::~Guard() {
    tables_.observe = nullptr;
}

void Guard::tell(const std::string& what) {
    if (violation_.empty()) violation_ = fmt::format("after write {}: {}", tables_.writes, what);
}

void Guard::check(const Write& write) {
    if (tables_.writes % every_ == 0)
        if (const auto what = contradiction(tables_); !what.empty()) tell(what);
    rows_.resize(tables_.service_rows.size());
    if (write.op == Op::write_slots) {
        const Range written{write.index, write.index + static_cast<std::uint32_t>(write.slots.size())};
        for (const auto& row : rows_)
            for (const auto word : row.runs)
                if (overlap(written, range_of(word))) tell("slots of a published run overwritten");
        for (const auto& range : resting_)
            if (overlap(written, range)) tell("slots of a resting run overwritten");
    }
    if (write.op == Op::publish) {
        auto& old = rows_[write.index];
        for (const auto word : old.runs) {
            const bool kept = std::any_of(std::begin(write.service.runs), std::end(write.service.runs), [&](auto now) {
                return svclb_run_base(now) == svclb_run_base(word) && svclb_run_count(now) >= svclb_run_count(word);
            });
            if (svclb_run_count(word) != 0 && !kept) resting_.push_back(range_of(word));
        }
        if (write.service.epoch < old.epoch) tell("an epoch fell");
        if (const auto due = due_.find(write.index); due != due_.end() && due->second != write.service.epoch)
            due_.erase(due);
        old = write.service;
    }
    if (write.op == Op::put_backend || write.op == Op::remove_backend) {
        const auto old = backends_.find(write.backend_key);
        const auto now = write.op == Op::put_backend ? write.backend.flags : 0;
        if (old != backends_.end() && (write.op == Op::remove_backend || (old->second.flags & ~now) != 0))
            due_[write.backend_key.service] = rows_[write.backend_key.service].epoch;
        if (write.op == Op::put_backend)
            backends_.insert_or_assign(write.backend_key, write.backend);
        else
            backends_.erase(write.backend_key);
    }
}

void release(Reconciler& reconciler, Guard* guard) {
    reconciler.release(reconciler.ticket());
    if (guard != nullptr) guard->released();
}

std::vector<ServiceChange> retries(const PassResult& result, const World& world) {
    std::vector<ServiceChange> made;
    for (const auto& key : result.retry) {
        const auto state = world.find(key);
        made.push_back({key, state == world.end() ? ServiceState{} : state->second});
    }
    return made;
}

}  // namespace svclb::test
