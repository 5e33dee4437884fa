// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "grow.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <bit>
#include <cerrno>
#include <cstdio>
#include <span>
#include <string>
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

Result<Loaded> load_larger(const Core& core, const Larger& larger) {
    MapSet reuse;
    for (const auto& [name, fd] : core.maps.all()) {
        auto copy = duplicate(fd.get(), name);
        if (!copy) return fail(copy.error());
        reuse.put(name, std::move(*copy));
    }
    for (const char* name : larger.names) reuse.remove(name);
    return load_object(core.settings, reuse, larger.entries);
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

// Everything that the outside sees of the new maps, in an order that a crash at any point leaves adoptable: until the
// first rename the pinned maps are the old ones, whose rows equal the new ones'.
Status switch_over(Core& core, const Loaded& loaded, std::span<const char* const> names) {
    for (const char* name : names) {
        if (auto pinned = pin(loaded.maps.find(name), core.dir.map(new_name(name))); !pinned) return pinned;
    }
    if (core.sockets) {
        if (auto replaced = core.sockets->replace_maps(core.settings, loaded.maps); !replaced) return replaced;
    }
    auto switched = core.links.replace_programs(loaded.programs, &core.programs);
    if (switched) switched = rename_pins(core, names);
    if (!switched) {
        warn_unless(core.links.replace_programs(core.programs, nullptr));
        if (core.sockets) warn_unless(core.sockets->replace_maps(core.settings, core.maps));
        for (const char* name : names) warn_unless(pin(core.maps.find(name), core.dir.map(name)));
    }
    return switched;
}

}  // namespace

void show_sizes(const Core& core) {
    core.agent.rows()[0].slots_capacity = core.tables.capacity(Sized::slots);
}

Status grow(Core& core, std::span<const Room> rooms) {
    const auto larger = larger_maps(core, rooms);
    if (!larger) return fail(larger.error());
    const auto& names = larger->names;
    auto loaded = load_larger(core, *larger);
    if (!loaded) return fail(loaded.error());
    for (const char* name : names) {
        // What the programs count between here and the switch is lost; nothing else writes meanwhile.
        if (auto copied = copy_rows(name, core.maps, loaded->maps); !copied) return copied;
    }
    auto tables = KernelTables::open(loaded->maps, [&core](std::span<const Room> more) { return grow(core, more); });
    if (!tables) return fail(tables.error());
    auto collector = Collector::open(loaded->maps);
    if (!collector) return fail(collector.error());
    if (auto switched = switch_over(core, *loaded, names); !switched) {
        for (const char* name : names) warn_unless(unpin(core.dir.map(new_name(name))));
        return switched;
    }
    core.maps = std::move(loaded->maps);
    core.programs = std::move(loaded->programs);
    core.tables = std::move(*tables);
    core.collector = std::move(*collector);
    show_sizes(core);
    spdlog::info("grew{}", larger->words);
    return {};
}

}  // namespace svclb::datapath
