// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Phases that add.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>

#include "batches.hpp"
#include "pass.hpp"
#include "rows.hpp"

namespace svclb::reconcile {

void Pass::add_indices() {
    struct Item {
        Work* work;
        std::uint32_t index;
    };
    std::vector<Item> items;
    for (auto& work : works_) {
        if (!work.wants() || work.port->index != SVCLB_NONE) continue;
        if (const auto name = name_row(work.port->id); !name) {
            block(work, name.error());
            continue;
        }
        const auto index = take_id(state_.indices, datapath::Sized::services);
        if (!index) {
            block(work, index.error());
            continue;
        }
        if (index->untouched ||
            wrote(tables_.reset_service_counter(index->number), *work.port, [] { return "reset service_counters"; })) {
            items.push_back({&work, index->number});
        } else {
            state_.indices.give_back(index->number);
            work.blocked = true;
        }
    }
    if (state_.by_index.size() < state_.indices.limit()) {
        state_.by_index.resize(state_.indices.limit());
        state_.generations.resize(state_.indices.limit());
    }
    std::vector<std::uint32_t> indices;
    std::vector<svclb_service_name> names;
    in_batches(
        std::span<const Item>(items), [](const Item& item) { return item.work->blocked; },
        [&](std::span<const Item> batch) {
            indices.clear();
            names.clear();
            for (const auto& [work, index] : batch) {
                indices.push_back(index);
                names.push_back(*name_row(work->port->id));
            }
            return tables_.put_names(indices, names);
        },
        [&](const Status& status, const Item& item) {
            auto& port = *item.work->port;
            if (!wrote(status, port, [] { return "put service_names"; })) {
                state_.indices.give_back(item.index);
                item.work->blocked = true;
                return;
            }
            port.index = item.index;
            port.named = true;
            port.row = tables_.services()[item.index];  // free: zero, but for the epoch of its former owners
            state_.by_index[item.index] = &port;
        });
}

bool Pass::add_string(Work& work, const model::Backend& backend, const char* field, const std::string& text,
                      std::uint32_t& id) {
    if (text.empty()) return true;
    id = state_.strings.find(text);
    if (id != SVCLB_NONE) return true;
    const auto where = [&] {
        return fmt::format("backend {}: {}", model::endpoint_text(backend.address, backend.port), field);
    };
    const auto row = string_row(text);
    if (!row) return block(work, row.error().within(where())), false;
    const auto fresh = state_.string_ids.take();
    if (!fresh) return block(work, Error::from_errno(ENOSPC, "strings: no id is free")), false;
    if (!wrote(tables_.put_string(*fresh, *row), *work.port, [&] { return where() + ": put strings"; })) {
        state_.string_ids.give_back(*fresh);
        work.blocked = true;
        return false;
    }
    state_.strings.add(*fresh, text);
    id = *fresh;
    return true;
}

void Pass::lay_out(Work& work) {
    if (!work.wants()) return;
    auto layout = layout_of(work.desired->backends, work.desired->algorithm);
    if (!layout) return block(work, layout.error());
    work.layout = *std::move(layout);
}

void Pass::add_strings(Work& work) {
    if (!work.wants()) return;
    work.texts.resize(work.desired->backends.size());
    auto texts = work.texts.begin();
    for (const auto& backend : work.desired->backends) {
        if (!add_string(work, backend, "node", backend.node, texts->node) ||
            !add_string(work, backend, "zone", backend.zone, texts->zone))
            return;
        ++texts;
    }
}

namespace {

svclb_backend_key backend_key(const Port& port, const BackendRow& row) {
    svclb_backend_key key{};
    key.service = port.index;
    std::memcpy(key.addr, row.address.bytes.data(), sizeof(key.addr));
    key.port = network_order(row.port);
    return key;
}

}  // namespace

bool Pass::write_backend(const Port& port, BackendRow& row, const BackendWrite& write) {
    const auto key = backend_key(port, row);
    return wrote_backend(write.remove ? tables_.remove(key) : tables_.put(key, write.row), port, row, write);
}

bool Pass::wrote_backend(const Status& status, const Port& port, BackendRow& row, const BackendWrite& write) {
    const auto words = [&] {
        return fmt::format("{} backends row {}", write.remove ? "remove" : "put",
                           model::endpoint_text(row.address, row.port));
    };
    if (!wrote(status, port, words)) return false;
    if (!write.remove) {
        state_.strings.reference(write.row.node);
        state_.strings.reference(write.row.zone);
    }
    if (row.present) {
        state_.strings.dereference(row.row.node);
        state_.strings.dereference(row.row.zone);
    }
    if (write.remove && row.row.id != SVCLB_NONE) state_.backend_ids.give_back(row.row.id);
    row.row = write.row;
    row.present = !write.remove;
    row.rewrite = false;
    return true;
}

void Pass::plan_backends(Work& work) {
    if (!work.wants()) return;
    auto& port = *work.port;
    const auto& desired = work.desired->backends;
    const auto position = merge_rows(port.backends, desired);
    std::vector<Target> targets(port.backends.size());
    work.ids.resize(desired.size());
    for (std::size_t at = 0; at < desired.size(); ++at) {
        const auto& backend = desired[at];
        auto& target = targets[position[at]];
        const auto& old = port.backends[position[at]];
        if (target.wanted) {  // named twice: the first one counts
            work.ids[at] = target.row.id;
            continue;
        }
        auto id = old.row.id;
        if (id == SVCLB_NONE) {
            const auto taken = take_id(state_.backend_ids, datapath::Sized::backends);
            if (!taken) return block(work, taken.error());
            id = taken->number;
            work.taken_ids.push_back(*taken);
        }
        work.ids[at] = id;
        target.wanted = true;
        target.row.id = id;
        target.row.node = work.texts[at].node;
        target.row.zone = work.texts[at].zone;
        target.row.weight = backend.weight;
        target.row.state = static_cast<__u8>(backend.state);
        target.row.flags = static_cast<__u8>(
            (backend.in_cluster ? SVCLB_BACKEND_IN_CLUSTER : 0) | (backend.in_local ? SVCLB_BACKEND_IN_LOCAL : 0) |
            (backend.serving ? SVCLB_BACKEND_SERVING : 0) | (backend.on_node ? SVCLB_BACKEND_ON_NODE : 0));
    }
    work.backends = backend_plan(port.backends, targets);
}

void Pass::reset_counters() {
    struct Item {
        Work* work;
        std::uint32_t id;
    };
    std::vector<Item> items;
    for (auto& work : works_)
        if (work.wants())
            for (const auto& id : work.taken_ids)
                if (!id.untouched) items.push_back({&work, id.number});
    std::vector<std::uint32_t> ids;
    in_batches(
        std::span<const Item>(items), [](const Item& item) { return item.work->blocked; },
        [&](std::span<const Item> batch) {
            ids.clear();
            for (const auto& item : batch) ids.push_back(item.id);
            return tables_.reset_backend_counters(ids);
        },
        [&](const Status& status, const Item& item) {
            if (!wrote(status, *item.work->port, [] { return "reset backend_counters"; })) item.work->blocked = true;
        });
}

void Pass::add_backends() {
    struct Item {
        Work* work;
        const BackendWrite* write;
    };
    std::vector<Item> items;
    for (auto& work : works_)
        if (work.wants())
            for (const auto& write : work.backends.before) items.push_back({&work, &write});
    std::vector<svclb_backend_key> keys;
    std::vector<svclb_backend> rows;
    in_batches(
        std::span<const Item>(items), [](const Item& item) { return item.work->blocked; },
        [&](std::span<const Item> batch) {
            keys.clear();
            rows.clear();
            for (const auto& [work, write] : batch) {
                keys.push_back(backend_key(*work->port, work->port->backends[write->position]));
                rows.push_back(write->row);
            }
            return tables_.put(keys, rows);
        },
        [&](const Status& status, const Item& item) {
            auto& port = *item.work->port;
            if (!wrote_backend(status, port, port.backends[item.write->position], *item.write))
                item.work->blocked = true;
        });
}

// Before the frontends that ask for them.
void Pass::add_ranges(Work& work) {
    if (!work.wants()) return;
    auto& port = *work.port;
    for (const auto& range : work.desired->source_ranges) {
        const auto at = std::lower_bound(port.ranges.begin(), port.ranges.end(), range);
        if (at != port.ranges.end() && *at == range) continue;
        if (!wrote(tables_.put(range_key(port.index, range)), port, [] { return "put source_ranges"; })) {
            work.blocked = true;
            return;
        }
        port.ranges.insert(at, range);
    }
}

bool Pass::write_run(Work& work, svclb_set set, const std::vector<Share>& shares, std::uint32_t slots) {
    const auto& port = *work.port;
    const auto run = take_run(slots);
    if (!run) return block(work, run.error()), false;
    work.fresh[set] = *run;
    auto& generation = state_.generations[port.index];
    if (++generation == 0) ++generation;
    work.generations[set] = generation;
    const auto& backends = work.desired->backends;
    const auto rows = slots_of(shares, backends, work.ids, port.index, generation);
    for (const auto& slot : rows) tables_.mark_backend(slot.addr, slot.port);
    if (wrote(tables_.write_slots(run->base, rows), port, [] { return "write slots"; })) return true;
    work.blocked = true;
    return false;
}

void Pass::write_runs(Work& work) {
    if (!work.wants()) return;
    const auto& layout = work.layout;
    const auto plan = run_plan(*work.port, layout, work.desired->backends, work.ids, tables_.slots());
    work.choices = {plan.cluster, plan.local};
    const bool written =
        (plan.cluster != RunChoice::fresh ||
         write_run(work, SVCLB_SET_CLUSTER, layout.cluster, layout.cluster_slots)) &&
        (plan.local != RunChoice::fresh || write_run(work, SVCLB_SET_LOCAL, layout.local, layout.local_slots));
    if (written) return;
    for (const auto& run : work.fresh)
        if (run.count != 0) state_.runs.give_back(run);
}

bool Pass::publish_row(Port& port, const svclb_service& row, const char* what) {
    if (same_bytes(port.row, row)) return true;
    if (!wrote(tables_.publish(port.index, row), port, [&] { return fmt::format("{} services row", what); }))
        return false;
    port.row = row;
    return true;
}

void Pass::publish(Work& work) {
    if (!work.wants()) return;
    auto& port = *work.port;
    auto row = service_row(*work.desired);
    row.epoch = port.row.epoch;
    row.epoch_due = work.backends.epoch_due || port.row.epoch_due != 0 ? 1 : 0;
    std::array<Span, SVCLB_SETS> owned{};
    for (const auto set : {SVCLB_SET_CLUSTER, SVCLB_SET_LOCAL}) {
        const auto fresh = work.fresh[set];
        const auto cluster = row.runs[SVCLB_SET_CLUSTER];
        switch (work.choices[set]) {
            case RunChoice::empty:
                break;
            case RunChoice::keep:
                row.runs[set] = port.row.runs[set];
                owned[set] = port.owned[set];
                break;
            case RunChoice::fresh:
                row.runs[set] = svclb_run(fresh.base, fresh.count, work.generations[set]);
                owned[set] = fresh;
                break;
            case RunChoice::prefix_of_cluster:
                row.runs[set] =
                    svclb_run(svclb_run_base(cluster), work.layout.local_slots, svclb_run_generation(cluster));
                break;
        }
    }
    if (!publish_row(port, row, "publish")) {
        work.blocked = true;
        for (const auto& run : work.fresh)
            if (run.count != 0) state_.runs.give_back(run);
        return;
    }
    for (const auto set : {SVCLB_SET_CLUSTER, SVCLB_SET_LOCAL})
        if (port.owned[set].count != 0 && port.owned[set] != owned[set]) state_.runs.retire(port.owned[set]);
    port.owned = owned;
}

void Pass::claim(Work& work) {
    auto& port = *work.port;
    if (work.drops()) state_.frontends.claim(port, {}, port.created);
    if (!work.wants()) return;
    std::vector<Claim> claims;
    claims.reserve(work.desired->frontends.size());
    for (const auto& frontend : work.desired->frontends)
        claims.push_back({frontend_key(frontend), frontend_row(frontend)});
    // A key that one service port names twice keeps the first kind.
    const KeyLess less;
    std::stable_sort(claims.begin(), claims.end(), [&](const Claim& a, const Claim& b) { return less(a.key, b.key); });
    const auto same = [](const Claim& a, const Claim& b) { return same_bytes(a.key, b.key); };
    claims.erase(std::unique(claims.begin(), claims.end(), same), claims.end());
    state_.frontends.claim(port, std::move(claims), work.desired->created);
}

}  // namespace svclb::reconcile
