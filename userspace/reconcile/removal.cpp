// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Phases that take away, after everything new is in place. A failure here stops only what depends on the failed row.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "pass.hpp"

namespace svclb::reconcile {

void Pass::remove_lost_rows() {
    std::erase_if(state_.lost_backends, [&](const svclb_backend_key& key) {
        return report_.wrote(tables_.remove(key), any_service_,
                             [&] { return fmt::format("remove backends row of services row {}", key.service); });
    });
    std::erase_if(state_.lost_ranges, [&](const svclb_source_range& key) {
        return report_.wrote(tables_.remove(key), any_service_,
                             [&] { return fmt::format("remove source_ranges of services row {}", key.service); });
    });
    std::erase_if(state_.lost_names, [&](std::uint32_t index) {
        return report_.wrote(tables_.remove_name(index), any_service_,
                             [&] { return fmt::format("remove service_names row {}", index); });
    });
    std::erase_if(state_.lost_strings, [&](std::uint32_t id) {
        return report_.wrote(tables_.remove_string(id), any_service_,
                             [&] { return fmt::format("remove strings row {}", id); });
    });
}

// After the frontends that asked for them.
void Pass::remove_ranges(Work& work) {
    if (!work.wants() && !work.drops()) return;
    auto& port = *work.port;
    std::erase_if(port.ranges, [&](const model::Cidr& range) {
        if (work.wants() && std::ranges::binary_search(work.desired->source_ranges, range)) return false;
        return wrote(tables_.remove(range_key(port.index, range)), port, [] { return "remove source_ranges"; });
    });
}

void Pass::retire_row(Work& work) {
    auto& port = *work.port;
    if (!work.drops() || port.index == SVCLB_NONE) return;
    if (port.live_frontends > 0) {
        // Its frontends could not be removed or handed over. They must not point at a free row: all of it stays.
        work.blocked = true;
        report_.retry(port.id.service);
        return;
    }
    const bool has_backends =
        std::any_of(port.backends.begin(), port.backends.end(), [](const BackendRow& row) { return row.present; });
    svclb_service row{};
    row.epoch = port.row.epoch;
    row.epoch_due = port.row.family != 0 || has_backends || port.row.epoch_due != 0 ? 1 : 0;
    if (!publish_row(port, row, "clear")) {
        work.blocked = true;
        return;
    }
    for (auto& run : port.owned) {
        if (run.count != 0) state_.runs.retire(run);
        run = {};
    }
}

void Pass::lower_backends(Work& work) {
    auto& port = *work.port;
    // A row that fails is retried; the others need not wait for it.
    if (work.wants()) {
        for (const auto& write : work.backends.after)
            static_cast<void>(write_backend(port, port.backends[write.position], write));
    } else if (work.drops()) {
        for (std::uint32_t at = 0; at < port.backends.size(); ++at)
            if (port.backends[at].present)
                static_cast<void>(write_backend(port, port.backends[at], {.position = at, .remove = true, .row = {}}));
    }
}

void Pass::raise(Work& work) {
    auto& port = *work.port;
    if (port.row.epoch_due == 0) return;
    auto row = port.row;
    ++row.epoch;
    row.epoch_due = 0;
    if (publish_row(port, row, "raise the epoch of the")) report_.raised_epoch();
}

void Pass::finish(Work& work) {
    auto& port = *work.port;
    for (const auto& taken : work.taken_ids) {
        const bool used = std::any_of(port.backends.begin(), port.backends.end(),
                                      [&](const BackendRow& row) { return row.present && row.row.id == taken.number; });
        if (!used) state_.backend_ids.give_back(taken.number);
    }
    std::erase_if(port.backends, [](const BackendRow& row) { return !row.present; });

    if (work.task == Task::want && port.index == SVCLB_NONE) state_.ports.erase(model::ServicePortId{port.id});
    if (!work.drops() || !port.backends.empty() || !port.ranges.empty() || port.row.epoch_due != 0) return;
    if (port.named && !wrote(tables_.remove_name(port.index), port, [] { return "remove service_names"; })) return;
    state_.by_index[port.index] = nullptr;
    state_.indices.give_back(port.index);
    if (!port.stray) {
        state_.ports.erase(model::ServicePortId{port.id});
        return;
    }
    const auto [first, last] = state_.strays.equal_range(port.id.service);
    state_.strays.erase(std::find_if(first, last, [&](const auto& entry) { return entry.second.get() == &port; }));
}

void Pass::remove_strings() {
    for (const auto id : state_.strings.unreferenced()) {
        if (!report_.wrote(tables_.remove_string(id), any_service_,
                           [&] { return fmt::format("remove strings row {}", id); }))
            continue;
        state_.strings.remove(id);
        state_.string_ids.give_back(id);
    }
}

}  // namespace svclb::reconcile
