// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "grow.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <future>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace svclb::datapath {
namespace {

// A crash between two renames leaves the first ones larger than the last one, whose size is what counts.
std::vector<const char*> maps_of(Sized map) {
    switch (map) {
        case Sized::services:
            return {"service_counters", "service_names", "services"};
        case Sized::slots:
            return {"slots"};
        case Sized::backends:
            break;
    }
    return {"backends", "backend_counters"};
}

std::string new_name(const char* name) {
    return fmt::format("{}{}", name, kNewSuffix);
}

Result<std::uint32_t> size_for(Sized map, std::uint32_t entries) {
    const std::uint32_t most = map == Sized::slots ? SVCLB_RUN_BASE_MAX + 1 : 1U << 24;
    if (entries > most) {
        return fail_errno(ENOSPC,
                          fmt::format("grow map {} to {} entries, more than {}", maps_of(map).back(), entries, most));
    }
    // Each step costs a load of the programs: few steps.
    return std::bit_ceil(entries);
}

// What has to be made anew, in the order in which it is put in place. One that an interrupted grow has left large
// enough stays.
struct Larger {
    std::vector<const char*> names;
    Entries entries;
    std::string words;
};

Result<Larger> larger_maps(const Core& core, std::span<const Room> rooms) {
    Larger larger;
    for (const Room& room : rooms) {
        const auto size = size_for(room.map, room.entries);
        if (!size) return fail(size.error());
        for (const char* name : maps_of(room.map)) {
            if (core.maps.entries(name) >= *size) continue;
            larger.names.push_back(name);
            larger.entries.emplace(name, *size);
        }
        larger.words += fmt::format(" {}={}", maps_of(room.map).back(), *size);
    }
    return larger;
}

Result<MapSet> copy_of(const MapSet& maps) {
    MapSet copies;
    for (const auto& [name, fd] : maps.all()) {
        auto copy = duplicate(fd.get(), name);
        if (!copy) return fail(copy.error());
        copies.put(name, std::move(*copy));
    }
    return copies;
}

// All maps but these.
Result<MapSet> others(const Core& core, const Larger& larger) {
    auto maps = copy_of(core.maps);
    if (!maps) return fail(maps.error());
    for (const char* name : larger.names) maps->remove(name);
    return maps;
}

Result<MapSet> make_larger(Core& core, const Larger& larger) {
    auto reuse = others(core, larger);
    if (!reuse) return fail(reuse.error());
    if (core.foreseen.valid()) {
        const auto foreseen = core.foreseen.get();
        for (const auto& [name, entries] : larger.entries) {
            if (!foreseen || foreseen->entries(name) != entries) continue;
            auto copy = duplicate(foreseen->find(name), name);
            if (!copy) return fail(copy.error());
            reuse->put(name, std::move(*copy));
        }
    }
    auto made = make_maps(*reuse, larger.entries);
    if (!made) return fail(made.error());
    return std::move(made->maps);
}

void warn_unless(const Status& status) {
    if (!status) spdlog::error("undoing a grow failed error=\"{}\"", status.error().message());
}

Status rename_pins(const Core& core, std::span<const char* const> names) {
    for (const char* name : names) {
        if (std::rename(core.dir.map(new_name(name)).c_str(), core.dir.map(name).c_str()) != 0) {
            return fail_errno(errno, fmt::format("put the larger map {} in place", name));
        }
    }
    return {};
}

Status pin_new(const Core& core, const MapSet& maps, std::span<const char* const> names) {
    for (const char* name : names) {
        if (auto pinned = pin(maps.find(name), core.dir.map(new_name(name))); !pinned) return pinned;
    }
    return {};
}

// The new maps' programs into everything that is attached, then the names, in an order that a crash at any point leaves
// adoptable: until the first rename the pinned maps are the old ones, whose rows equal the new ones'.
Status switch_over(Core& core, const MapSet& maps, const Programs& programs, std::span<const char* const> names) {
    if (core.sockets) {
        if (auto replaced = core.sockets->replace_maps(core.settings, maps); !replaced) return replaced;
    }
    auto switched = core.links.replace_programs(programs, &core.programs);
    if (switched) switched = rename_pins(core, names);
    if (!switched) {
        warn_unless(core.links.replace_programs(core.programs, nullptr));
        if (core.sockets) warn_unless(core.sockets->replace_maps(core.settings, core.maps));
        for (const char* name : names) warn_unless(pin(core.maps.find(name), core.dir.map(name)));
    }
    return switched;
}

// No packet meets a program yet, and the socket hooks that are attached find empty tables: names alone change.
Status rename_over(const Core& core, std::span<const char* const> names) {
    auto renamed = rename_pins(core, names);
    if (!renamed)
        for (const char* name : names) warn_unless(pin(core.maps.find(name), core.dir.map(name)));
    return renamed;
}

Result<Ahead> load_all(const svclb_settings& settings, const MapSet& maps, const ProgramNames& names,
                       const MapSet* sockets) {
    Ahead loaded;
    auto programs = load_programs(settings, maps, names);
    if (!programs) return fail(programs.error());
    loaded.programs = std::move(*programs);
    if (sockets == nullptr) return loaded;
    auto hooks = load_sockets(settings, *sockets);
    if (!hooks) return fail(hooks.error());
    loaded.sockets = std::move(*hooks);
    return loaded;
}

// On a thread with descriptors of its own: the next growth may close those of `core`.
Status load_ahead(Core& core) {
    auto maps = copy_of(core.maps);
    if (!maps) return fail(maps.error());
    std::optional<MapSet> sockets;
    if (core.sockets) {
        auto shared = core.sockets->maps_with(core.maps);
        if (!shared) return fail(shared.error());
        sockets = std::move(*shared);
    }
    core.ahead = std::async(
        std::launch::async | std::launch::deferred,
        [settings = core.settings, maps = std::move(*maps), names = names_of(core.programs),
         sockets = std::move(sockets)] { return load_all(settings, maps, names, sockets ? &*sockets : nullptr); });
    return {};
}

}  // namespace

void show_sizes(const Core& core) {
    core.agent.rows()[0].slots_capacity = core.tables.capacity(Sized::slots);
}

Status finish_loading(Core& core) {
    if (!core.programs_due) return {};
    if (!core.ahead.valid()) {
        if (auto begun = load_ahead(core); !begun) return begun;
    }
    auto loaded = core.ahead.get();
    if (!loaded) return fail(loaded.error());
    if (core.sockets && loaded->sockets) {
        if (auto replaced = core.sockets->replace_programs(std::move(*loaded->sockets)); !replaced) return replaced;
    }
    core.programs = std::move(loaded->programs);
    core.programs_due = false;
    return {};
}

void foresee(Core& core, std::span<const Room> rooms) {
    auto larger = larger_maps(core, rooms);
    if (!larger || larger->names.empty()) return;
    auto reuse = others(core, *larger);
    if (!reuse) return;
    core.foreseen = std::async(std::launch::async | std::launch::deferred,
                               [reuse = std::move(*reuse), entries = std::move(larger->entries)]() -> Result<MapSet> {
                                   auto made = make_maps(reuse, entries);
                                   if (!made) return fail(made.error());
                                   return std::move(made->maps);
                               });
}

Status load_missing(Core& core, const ProgramNames& wanted) {
    ProgramNames missing;
    for (const auto& name : wanted)
        if (!core.programs.contains(name)) missing.insert(name);
    auto loaded = load_programs(core.settings, core.maps, missing);
    if (!loaded) return fail(loaded.error());
    core.programs.merge(*loaded);
    return {};
}

Status grow(Core& core, std::span<const Room> rooms) {
    const auto larger = larger_maps(core, rooms);
    if (!larger) return fail(larger.error());
    const auto& names = larger->names;
    auto maps = make_larger(core, *larger);
    if (!maps) return fail(maps.error());
    Programs programs;
    if (core.serving) {
        auto loaded = load_programs(core.settings, *maps, names_of(core.programs));
        if (!loaded) return fail(loaded.error());
        programs = std::move(*loaded);
    }
    for (const char* name : names) {
        // What the programs count between here and the switch is lost; nothing else writes meanwhile.
        if (auto copied = copy_rows(name, core.maps, *maps); !copied) return copied;
    }
    auto tables = KernelTables::open(*maps, [&core](std::span<const Room> more) { return grow(core, more); });
    if (!tables) return fail(tables.error());
    auto collector = Collector::open(*maps);
    if (!collector) return fail(collector.error());
    const auto uplink_devices = UplinkDevices::open(*maps);
    if (!uplink_devices) return fail(uplink_devices.error());
    auto switched = pin_new(core, *maps, names);
    if (switched) switched = core.serving ? switch_over(core, *maps, programs, names) : rename_over(core, names);
    if (!switched) {
        for (const char* name : names) warn_unless(unpin(core.dir.map(new_name(name))));
        return switched;
    }
    core.maps = std::move(*maps);
    core.tables = std::move(*tables);
    core.collector = std::move(*collector);
    core.uplink_devices = *uplink_devices;
    if (core.serving) {
        core.programs = std::move(programs);
    } else {
        core.programs_due = true;
        if (auto begun = load_ahead(core); !begun) spdlog::warn("{}", begun.error().message());
    }
    show_sizes(core);
    spdlog::info("grew{}", larger->words);
    return {};
}

}  // namespace svclb::datapath
