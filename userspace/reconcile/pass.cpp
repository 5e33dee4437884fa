// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The order of the phases, and the room that they need.
#include "pass.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstddef>
#include <utility>
#include <vector>

namespace svclb::reconcile {

PassResult Pass::run() {
    const auto each = [this](void (Pass::*phase)(Work&)) {
        for (auto& work : works_) (this->*phase)(work);
    };
    if (!works_.empty()) any_service_ = works_.front().port->id.service;
    remove_lost_rows();
    each(&Pass::lay_out);
    make_room();
    add_indices();
    each(&Pass::add_strings);
    each(&Pass::plan_backends);
    reset_counters();
    add_backends();
    each(&Pass::add_ranges);
    each(&Pass::write_runs);
    each(&Pass::publish);
    each(&Pass::claim);
    state_.frontends.write_wanted(tables_, report_);
    state_.frontends.remove_unwanted(tables_, report_);
    state_.frontends.tell_conflicts(report_);
    each(&Pass::remove_ranges);
    each(&Pass::retire_row);
    each(&Pass::lower_backends);
    each(&Pass::raise);
    each(&Pass::finish);
    remove_strings();
    return std::move(report_).result();
}

void Pass::block(Work& work, const Error& error) {
    work.blocked = true;
    report_.failed(work.port->id.service, error.within(describe(work.port->id)));
}

// By doubling, to what is addressable at most.
std::uint64_t Pass::larger_size(datapath::Sized map, std::uint64_t at_least) const {
    // A run's base has 28 bits; the others are ids of 32.
    const std::uint64_t most = map == datapath::Sized::slots ? std::uint64_t{SVCLB_RUN_BASE_MAX} + 1 : UINT32_MAX;
    std::uint64_t larger = std::max<std::uint64_t>(tables_.capacity(map), 1) * 2;
    while (larger < at_least) larger *= 2;
    return std::min(larger, most);
}

Status Pass::grow(datapath::Sized map, std::uint64_t at_least) {
    static constexpr std::array<const char*, 3> kNames{"services", "slots", "backends"};
    auto& failure = cannot_grow_[static_cast<std::size_t>(map)];
    if (failure) return fail(*failure);
    const std::uint64_t size = tables_.capacity(map);
    const std::uint64_t larger = larger_size(map, at_least);

    const auto context =
        fmt::format("{}: all {} entries are in use or rest", kNames[static_cast<std::size_t>(map)], size);
    if (larger <= size || larger < at_least) {
        failure = Error::from_errno(ENOSPC, context);
    } else if (const auto grown = tables_.grow(map, static_cast<std::uint32_t>(larger)); !grown) {
        failure = grown.error().within(context);
    } else if (tables_.capacity(map) < larger) {
        failure = Error::from_errno(ENOSPC, context);
    } else {
        return {};
    }
    return fail(*failure);
}

Result<Pass::FreshId> Pass::take_id(IdPool& pool, datapath::Sized map) {
    if (pool.available() == 0) {
        if (const auto grown = grow(map, 0); !grown) return fail(grown.error());
        pool.extend(tables_.capacity(map));
    }
    const bool untouched = pool.next_is_untouched();
    const auto id = pool.take();
    assert(id);
    return FreshId{*id, untouched};
}

Result<Span> Pass::take_run(std::uint32_t slots) {
    if (const auto run = state_.runs.take(slots)) return *run;
    // The new part alone is long enough, however the old one is broken up.
    const auto grown = grow(datapath::Sized::slots, std::uint64_t{state_.runs.limit()} + slots);
    if (!grown) return fail(grown.error());
    state_.runs.extend(tables_.capacity(datapath::Sized::slots));
    const auto run = state_.runs.take(slots);
    assert(run);
    return *run;
}

// One step to the size that all new service ports need together: each step costs a load of the programs and a copy of
// the map. Where that fails, smaller steps may still do.
void Pass::make_room() {
    std::uint64_t indices = 0;
    std::uint64_t backends = 0;
    std::uint64_t slots = 0;
    for (const auto& work : works_) {
        if (!work.wants() || work.port->index != SVCLB_NONE) continue;
        ++indices;
        backends += work.desired->backends.size();
        slots += work.layout.cluster_slots + (work.layout.shared ? 0 : work.layout.local_slots);
    }
    using datapath::Sized;
    std::vector<datapath::Room> rooms;
    const auto add = [&](Sized map, std::uint64_t limit, std::uint64_t available, std::uint64_t wanted) {
        if (wanted > available)
            rooms.push_back({map, static_cast<std::uint32_t>(larger_size(map, limit + wanted - available))});
    };
    add(Sized::services, state_.indices.limit(), state_.indices.available(), indices);
    add(Sized::backends, state_.backend_ids.limit(), state_.backend_ids.available(), backends);
    add(Sized::slots, state_.runs.limit(), state_.runs.free_entries(), slots);
    if (rooms.empty() || !tables_.grow(rooms)) return;
    state_.indices.extend(tables_.capacity(Sized::services));
    state_.backend_ids.extend(tables_.capacity(Sized::backends));
    state_.runs.extend(tables_.capacity(Sized::slots));
}

}  // namespace svclb::reconcile
