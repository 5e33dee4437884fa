// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "frontends.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <tuple>
#include <utility>

#include "batches.hpp"

namespace svclb::reconcile {

namespace {

// The API server gives a ClusterIP out once, and whoever may write externalIPs must not take it; kube-proxy, too, asks
// for a node port last.
int rank(const svclb_frontend& row) {
    if (row.kind == SVCLB_FRONTEND_CLUSTER_IP) return 0;
    return row.kind == SVCLB_FRONTEND_NODE_PORT ? 2 : 1;
}

bool agrees(const std::optional<svclb_frontend>& a, const std::optional<svclb_frontend>& b) {
    return a.has_value() == b.has_value() && (!a || same_bytes(*a, *b));
}

std::string row_text(const char* table, const svclb_frontend_key& key) {
    return fmt::format("{} row {}", table, to_string(key));
}

std::string service_text(const model::ObjectKey& service) {
    return fmt::format("Service {}/{}", service.ns, service.name);
}

}  // namespace

const Frontends::ClaimRef* Frontends::winner(const Entry& entry) {
    const auto first = [](const ClaimRef& a, const ClaimRef& b) {
        const int rank_a = rank(a.row);
        const int rank_b = rank(b.row);
        return std::tie(a.port->stray, rank_a, a.port->created, a.port->id) <
               std::tie(b.port->stray, rank_b, b.port->created, b.port->id);
    };
    const auto best = std::min_element(entry.claims.begin(), entry.claims.end(), first);
    return best == entry.claims.end() ? nullptr : &*best;
}

std::optional<svclb_frontend> Frontends::wanted(const svclb_frontend_key& key, const Entry& entry) {
    svclb_frontend row{};
    if (is_address_key(key)) {
        if (entry.references == 0) return std::nullopt;
        row.kind = SVCLB_FRONTEND_CLUSTER_IP_ADDRESS;
        return row;
    }
    const auto* best = winner(entry);
    if (best == nullptr) return std::nullopt;
    row = best->row;
    row.service = best->port->index;
    return row;
}

void Frontends::set_live(Entry& entry, std::optional<svclb_frontend> row) {
    const auto owner = [&](const std::optional<svclb_frontend>& of) -> Port* {
        return of && of->service < by_index_.size() ? by_index_[of->service] : nullptr;
    };
    if (auto* port = owner(entry.live)) --port->live_frontends;
    entry.live = row;
    if (auto* port = owner(entry.live)) ++port->live_frontends;
}

void Frontends::touch(const svclb_frontend_key& key, Entry& entry, const model::ObjectKey& service) {
    if (entry.pending) return;
    entry.pending = true;
    pending_.push_back({key, &entry, service});
}

void Frontends::drop_claim(Port& port, const svclb_frontend_key& key) {
    auto& entry = entries_.at(key);
    if (entry.claims.size() == 2) contested_.erase(key);
    std::erase_if(entry.claims, [&](const ClaimRef& ref) { return ref.port == &port; });
    touch(key, entry, port.id.service);
}

void Frontends::add_claim(Port& port, const Claim& claim) {
    auto& entry = entries_[claim.key];
    entry.claims.push_back({&port, claim.row});
    if (entry.claims.size() == 2) contested_.insert(claim.key);
    touch(claim.key, entry, port.id.service);
}

void Frontends::claim(Port& port, std::vector<Claim> claims, const std::string& created) {
    const KeyLess less;
    if (port.created != created) {
        port.created = created;
        if (!contested_.empty())
            for (const auto& kept : port.claims) touch(kept.key, entries_.at(kept.key), port.id.service);
    }
    auto before = port.claims.begin();
    auto now = claims.begin();
    while (before != port.claims.end() || now != claims.end()) {
        if (now == claims.end() || (before != port.claims.end() && less(before->key, now->key))) {
            drop_claim(port, before++->key);
        } else if (before == port.claims.end() || less(now->key, before->key)) {
            add_claim(port, *now++);
        } else {
            if (!same_bytes(before->row, now->row)) {
                drop_claim(port, before->key);
                add_claim(port, *now);
            }
            ++before;
            ++now;
        }
    }
    port.claims = std::move(claims);
}

// Brings the references of the address keys in line with who has the pending frontends.
void Frontends::count_addresses() {
    // By position: touch() appends address keys meanwhile.
    // NOLINTNEXTLINE(modernize-loop-convert)
    for (std::size_t at = 0, end = pending_.size(); at < end; ++at) {
        const auto key = pending_[at].key;
        if (is_address_key(key)) continue;
        auto& entry = *pending_[at].entry;
        const auto row = wanted(key, entry);
        const bool counts = row && row->kind == SVCLB_FRONTEND_CLUSTER_IP;
        if (counts == entry.counted) continue;
        entry.counted = counts;
        auto& address = entries_[address_key(key)];
        address.references = counts ? address.references + 1 : address.references - 1;
        const auto cause = pending_[at].cause;
        touch(address_key(key), address, cause);
    }
}

// The record first: svclb-ctl verify is to miss a row that failed, not to wonder at one.
void Frontends::write(std::span<const Wanted> rows, datapath::Tables& tables, Report& report) {
    std::vector<svclb_frontend_key> keys;
    std::vector<svclb_frontend> values;
    const auto put = [&](const char* table, const auto& skip, const auto& send, const auto& keep) {
        in_batches(
            rows, skip,
            [&](std::span<const Wanted> batch) {
                keys.clear();
                values.clear();
                for (const auto& [item, row] : batch) {
                    keys.push_back(item->key);
                    values.push_back(row);
                }
                return send();
            },
            [&](const Status& status, const Wanted& wanted) {
                const auto& item = *wanted.item;
                const auto* best = winner(*item.entry);
                const auto words = [&] {
                    return fmt::format("{}: put {}",
                                       best == nullptr ? service_text(item.cause) : describe(best->port->id),
                                       row_text(table, item.key));
                };
                if (report.wrote(status, best == nullptr ? item.cause : best->port->id.service, words))
                    keep(*item.entry, wanted.row);
            });
    };
    put(
        "desired frontends", [](const Wanted& of) { return agrees(of.item->entry->record, of.row); },
        [&] { return tables.put_desired(keys, values); },
        [](Entry& entry, const svclb_frontend& row) { entry.record = row; });
    put(
        "frontends",
        [](const Wanted& of) {
            return !agrees(of.item->entry->record, of.row) || agrees(of.item->entry->live, of.row);
        },
        [&] {
            for (std::size_t at = 0; at < keys.size(); ++at) tables.mark_frontend(keys[at], values[at].kind);
            return tables.put(keys, values);
        },
        [this](Entry& entry, const svclb_frontend& row) { set_live(entry, row); });
}

void Frontends::remove(const Pending& item, datapath::Tables& tables, Report& report) {
    auto& entry = *item.entry;
    if (wanted(item.key, entry)) return;
    const auto words = [&](const char* table) {
        return fmt::format("{}: remove {}", service_text(item.cause), row_text(table, item.key));
    };
    if (entry.live) {
        if (!report.wrote(tables.remove(item.key), item.cause, [&] { return words("frontends"); })) return;
        set_live(entry, std::nullopt);
    }
    if (entry.record) {
        if (!report.wrote(tables.remove_desired(item.key), item.cause, [&] { return words("desired frontends"); }))
            return;
        entry.record.reset();
    }
}

void Frontends::write_wanted(datapath::Tables& tables, Report& report) {
    count_addresses();
    // Frontends before their address: a client that dials a new one in between is not told that it is unknown.
    std::vector<Wanted> rows;
    for (const bool addresses : {false, true}) {
        rows.clear();
        for (const auto& item : pending_) {
            if (is_address_key(item.key) != addresses) continue;
            if (const auto row = wanted(item.key, *item.entry)) rows.push_back({&item, *row});
        }
        write(rows, tables, report);
    }
}

void Frontends::remove_unwanted(datapath::Tables& tables, Report& report) {
    // An address before its frontends, for the same reason.
    for (const bool addresses : {true, false})
        for (const auto& item : pending_)
            if (is_address_key(item.key) == addresses) remove(item, tables, report);
    settle();
}

// Forgets what agrees.
void Frontends::settle() {
    std::erase_if(pending_, [&](const Pending& item) {
        auto& entry = *item.entry;
        const auto row = wanted(item.key, entry);
        if (!agrees(entry.live, row) || !agrees(entry.record, row)) return false;
        entry.pending = false;
        if (!row) entries_.erase(item.key);
        return true;
    });
    // The first pass touches all there is; nothing after it needs that room.
    if (pending_.empty()) pending_.shrink_to_fit();
}

void Frontends::tell_conflicts(Report& report) const {
    for (const auto& key : contested_) {
        const auto& entry = entries_.at(key);
        const auto* best = winner(entry);
        for (const auto& ref : entry.claims) {
            if (&ref == best || ref.port->stray) continue;
            const auto& loser = ref.port->id;
            const auto* why = ref.port->created == best->port->created ? "comes first by name" : "is older";
            if (rank(best->row) < rank(ref.row))
                why = rank(best->row) == 0 ? "has it as its ClusterIP" : "a node port gives way";
            report.conflict(
                {service_text(loser.service), fmt::format("{}: {} has the frontend {}, and {}", describe(loser),
                                                          describe(best->port->id), to_string(key), why)});
        }
    }
}

void Frontends::adopt_live(const svclb_frontend_key& key, const svclb_frontend& row) {
    auto& entry = entries_[key];
    set_live(entry, row);
    touch(key, entry, {});
}

void Frontends::adopt_record(const svclb_frontend_key& key, const svclb_frontend& row) {
    auto& entry = entries_[key];
    entry.record = row;
    touch(key, entry, {});
}

void Frontends::end_adoption() {
    count_addresses();
    settle();
}

}  // namespace svclb::reconcile
