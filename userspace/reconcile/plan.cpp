// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <tuple>
#include <utility>

#include "rows.hpp"
#include "svclb/model/maglev.hpp"

namespace svclb::reconcile {

namespace {

std::uint32_t weight_of(const model::Backend& backend) {
    return std::max<std::uint32_t>(backend.weight, 1);
}

// Fills `shares`, which names the members, with their slots; the sum.
Result<std::uint32_t> divide(std::vector<Share>& shares, std::span<const model::Backend> backends, const char* set) {
    std::uint32_t divisor = 0;
    for (const auto& share : shares) divisor = std::gcd(divisor, weight_of(backends[share.backend]));
    std::uint64_t sum = 0;
    for (auto& share : shares) sum += share.slots = weight_of(backends[share.backend]) / divisor;
    if (sum > SVCLB_RUN_COUNT_MAX) {
        return fail(Error::invalid(fmt::format("{} set: {} backends and their weights need {} slots, more than {}", set,
                                               shares.size(), sum, SVCLB_RUN_COUNT_MAX)));
    }
    return static_cast<std::uint32_t>(sum);
}

// Makes `shares` the slots of the members' table; the sum.
Result<std::uint32_t> spread(std::vector<Share>& shares, std::span<const model::Backend> backends, const char* set) {
    static_assert(model::kLargestMaglevTable <= SVCLB_RUN_COUNT_MAX);
    if (shares.size() > model::kMostMaglevMembers)
        return fail(Error::invalid(fmt::format("{} set: {} backends, more than the {} of a Maglev table", set,
                                               shares.size(), model::kMostMaglevMembers)));
    std::vector<model::MaglevMember> members;
    members.reserve(shares.size());
    for (const auto& share : shares) {
        const auto& backend = backends[share.backend];
        members.push_back({backend.address, backend.port, weight_of(backend)});
    }
    const auto table = model::maglev_table(members);
    std::vector<Share> runs;
    for (const auto member : table) {
        const auto backend = shares[member].backend;
        if (runs.empty() || runs.back().backend != backend) runs.push_back({backend, 0});
        ++runs.back().slots;
    }
    shares = std::move(runs);
    return static_cast<std::uint32_t>(table.size());
}

svclb_slot slot_of(const model::Backend& backend, std::uint32_t id, std::uint32_t service, std::uint16_t generation) {
    svclb_slot slot{};
    std::memcpy(slot.addr, backend.address.bytes.data(), sizeof(slot.addr));
    slot.port = network_order(backend.port);
    slot.generation = generation;
    slot.service = service;
    slot.backend = id;
    return slot;
}

// The slots of a published run; empty where the word points outside the table.
std::span<const svclb_slot> run_of(std::uint64_t word, std::span<const svclb_slot> slots) {
    const std::size_t base = svclb_run_base(word);
    const std::size_t count = svclb_run_count(word);
    if (base + count > slots.size()) return {};
    return slots.subspan(base, count);
}

}  // namespace

Result<Layout> layout_of(std::span<const model::Backend> backends, model::Algorithm algorithm) {
    const bool maglev = algorithm == model::Algorithm::maglev;
    Layout layout;
    for (std::uint32_t at = 0; at < backends.size(); ++at) {
        if (backends[at].in_cluster) layout.cluster.push_back({at, 0});
        if (backends[at].in_local) layout.local.push_back({at, 0});
    }
    layout.shared = !layout.local.empty() && layout.local.size() <= layout.cluster.size() &&
                    (!maglev || layout.local.size() == layout.cluster.size()) &&
                    std::equal(layout.local.begin(), layout.local.end(), layout.cluster.begin(),
                               [](const Share& a, const Share& b) { return a.backend == b.backend; });
    const auto cluster_slots = (maglev ? spread : divide)(layout.cluster, backends, "Cluster");
    if (!cluster_slots) return fail(cluster_slots.error());
    layout.cluster_slots = *cluster_slots;
    if (layout.shared && maglev) {
        layout.local = layout.cluster;
        layout.local_slots = layout.cluster_slots;
        return layout;
    }
    if (layout.shared) {
        std::copy_n(layout.cluster.begin(), layout.local.size(), layout.local.begin());
        for (const auto& share : layout.local) layout.local_slots += share.slots;
        return layout;
    }
    const auto local_slots = (maglev ? spread : divide)(layout.local, backends, "Local");
    if (!local_slots) return fail(local_slots.error());
    layout.local_slots = *local_slots;
    return layout;
}

std::vector<svclb_slot> slots_of(std::span<const Share> shares, std::span<const model::Backend> backends,
                                 std::span<const std::uint32_t> ids, std::uint32_t service, std::uint16_t generation) {
    std::vector<svclb_slot> slots;
    slots.reserve(shares.size());
    for (const auto& share : shares)
        slots.insert(slots.end(), share.slots,
                     slot_of(backends[share.backend], ids[share.backend], service, generation));
    return slots;
}

bool run_holds(std::span<const svclb_slot> run, std::span<const Share> shares, std::span<const model::Backend> backends,
               std::span<const std::uint32_t> ids, std::uint32_t service, std::uint16_t generation) {
    std::size_t at = 0;
    for (const auto& share : shares) {
        if (run.size() - at < share.slots) return false;
        const auto expected = slot_of(backends[share.backend], ids[share.backend], service, generation);
        for (std::uint32_t i = 0; i < share.slots; ++i)
            if (!same_bytes(run[at++], expected)) return false;
    }
    return at == run.size();
}

RunPlan run_plan(const Port& port, const Layout& layout, std::span<const model::Backend> backends,
                 std::span<const std::uint32_t> ids, std::span<const svclb_slot> slots) {
    const auto choice = [&](svclb_set set, std::span<const Share> shares) {
        if (shares.empty()) return RunChoice::empty;
        const auto word = port.row.runs[set];
        const bool kept = port.owned[set].count != 0 &&
                          run_holds(run_of(word, slots), shares, backends, ids, port.index, svclb_run_generation(word));
        return kept ? RunChoice::keep : RunChoice::fresh;
    };
    RunPlan plan;
    plan.cluster = choice(SVCLB_SET_CLUSTER, layout.cluster);
    plan.local = layout.shared ? RunChoice::prefix_of_cluster : choice(SVCLB_SET_LOCAL, layout.local);
    return plan;
}

std::vector<std::uint32_t> merge_rows(std::vector<BackendRow>& rows, std::span<const model::Backend> desired) {
    const auto before = [](const auto& a, const auto& b) {
        return std::tie(a.address, a.port) < std::tie(b.address, b.port);
    };
    std::vector<std::uint32_t> order(desired.size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(),
              [&](std::uint32_t a, std::uint32_t b) { return before(desired[a], desired[b]); });

    std::vector<std::uint32_t> position(desired.size());
    std::vector<BackendRow> merged;
    merged.reserve(std::max(rows.size(), desired.size()));
    auto old = rows.begin();
    for (const auto at : order) {
        const auto& backend = desired[at];
        while (old != rows.end() && before(*old, backend)) merged.push_back(*old++);
        if (old != rows.end() && !before(backend, *old))
            merged.push_back(*old++);
        else if (merged.empty() || before(merged.back(), backend))
            merged.push_back({.address = backend.address, .port = backend.port});
        position[at] = static_cast<std::uint32_t>(merged.size() - 1);
    }
    merged.insert(merged.end(), old, rows.end());
    rows = std::move(merged);
    return position;
}

BackendPlan backend_plan(std::span<const BackendRow> rows, std::span<const Target> targets) {
    BackendPlan plan;
    for (std::uint32_t at = 0; at < rows.size(); ++at) {
        const auto& old = rows[at];
        const auto& target = targets[at];
        if (!target.wanted) {
            if (!old.present) continue;
            plan.after.push_back({at, true, {}});
            plan.epoch_due = true;
            continue;
        }
        if (!old.present) {
            plan.before.push_back({at, false, target.row});
            continue;
        }
        if (same_bytes(old.row, target.row) && !old.rewrite) continue;
        const auto lost = static_cast<__u8>(old.row.flags & ~target.row.flags);
        const auto gained = static_cast<__u8>(target.row.flags & ~old.row.flags);
        if (lost == 0) {
            plan.before.push_back({at, false, target.row});
        } else {
            if (gained != 0 || old.rewrite) {
                auto both = target.row;
                both.flags |= old.row.flags;
                plan.before.push_back({at, false, both});
            }
            plan.after.push_back({at, false, target.row});
        }
        if (lost != 0 || gained != 0) plan.epoch_due = true;
    }
    return plan;
}

}  // namespace svclb::reconcile
