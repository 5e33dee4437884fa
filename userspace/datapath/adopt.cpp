// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "adopt.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "map_ref.hpp"
#include "svclb/abi.h"
#include "svclb/abi/uplinks.h"

namespace svclb::datapath {
namespace {

// Another release may have the agent's own row in another size, and know fewer reasons and actions of XDP's. New ones
// replace them: no program reads the former, and the latter only count.
constexpr std::array kReplaced{"agent", "drop_counters", "xdp_counters"};

// Hold nothing from one packet to the next, and are of another size in another release: never pinned.
constexpr std::array kScratch{"work_area", "frame_area"};

// What uplink_addresses was called before.
constexpr const char* kUplinkAddresses = "uplink_addresses";
constexpr const char* kTunnelAddresses = "tunnel_addresses";

template <class Names>
bool is_one_of(const Names& names, std::string_view name) {
    return std::ranges::find(names, name) != names.end();
}

// What a grow() that was cut short left behind.
Status remove_new_pins(const BpfDir& dir) {
    const auto names = names_in(dir.maps());
    if (!names) return fail(names.error());
    for (const auto& name : *names) {
        if (!name.ends_with(kNewSuffix)) continue;
        if (auto removed = unpin(dir.map(name)); !removed) return removed;
    }
    return {};
}

Status forget_outgrown(MapSet& pinned) {
    for (const auto* name : kReplaced) {
        const int fd = pinned.find(name);
        if (fd < 0) continue;
        const auto info = map_info(fd, name);
        if (!info) return fail(info.error());
        const std::string_view which = name;
        const auto rows =
            which == "xdp_counters" ? std::uint32_t{SVCLB_XDP_ACTIONS} : std::uint32_t{SVCLB_REASON_COUNT};
        if (which == "agent" ? info->value_size != sizeof(svclb_agent_status) : info->max_entries < rows)
            pinned.remove(name);
    }
    // With both there, an agent that knows the former name was the last to run.
    if (pinned.find(kTunnelAddresses) >= 0) pinned.remove(kUplinkAddresses);
    for (const auto* name : kScratch) pinned.remove(name);
    return {};
}

// The programs are to know them from their first packet on.
Status copy_addresses(const MapSet& adopted, const MapSet& maps) {
    using Addresses = MapRef<std::uint32_t, svclb_node_addresses>;
    const auto from = Addresses::open(adopted, kTunnelAddresses);
    if (!from) return fail(from.error());
    const auto to = Addresses::open(maps, kUplinkAddresses);
    if (!to) return fail(to.error());
    Status copied;
    auto read = from->each([&](std::uint32_t device, const svclb_node_addresses& row) {
        if (copied) copied = to->put(device, row);
    });
    return read ? copied : read;
}

// They are no more. The programs that still use them hold them.
Status unpin_former(const BpfDir& dir) {
    for (const auto* name : {kTunnelAddresses, kScratch[0], kScratch[1]})
        if (auto removed = unpin(dir.map(name)); !removed) return removed;
    return {};
}

}  // namespace

Result<MapSet> adopt_maps(const BpfDir& dir) {
    if (auto removed = remove_new_pins(dir); !removed) return fail(removed.error());
    auto pinned = MapSet::open(dir, false);
    if (!pinned) return fail(pinned.error());
    if (auto version = check_abi_version(*pinned, dir); !version) return fail(version.error());
    if (auto forgotten = forget_outgrown(*pinned); !forgotten) return fail(forgotten.error());
    return pinned;
}

// The row with the ABI version comes first: with it in place, whoever finds a half-filled directory knows whose it is.
Status pin_maps(const BpfDir& dir, const MapSet& maps, const MapSet& adopted) {
    if (adopted.find(kTunnelAddresses) >= 0)
        if (auto copied = copy_addresses(adopted, maps); !copied) return copied;
    for (const auto* name : kReplaced) {
        if (adopted.find(name) >= 0) continue;
        // Over the one of another size, if there is one: at no time is there none.
        const auto fresh = dir.map(std::string(name).append(kNewSuffix));
        if (auto done = pin(maps.find(name), fresh); !done) return done;
        if (std::rename(fresh.c_str(), dir.map(name).c_str()) != 0)
            return fail_errno(errno, fmt::format("put map {} in place", name));
    }
    for (const auto& [name, fd] : maps.all()) {
        if (is_one_of(kReplaced, name) || is_one_of(kScratch, name) || adopted.find(name) >= 0) continue;
        if (auto done = pin(fd.get(), dir.map(name)); !done) return done;
    }
    return unpin_former(dir);
}

}  // namespace svclb::datapath
