// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The datapath's insides, and the one change to them while traffic flows: a map makes room for a larger one.
#pragma once

#include <future>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "bpf_dir.hpp"
#include "collect.hpp"
#include "kernel_tables.hpp"
#include "links.hpp"
#include "map_set.hpp"
#include "object.hpp"
#include "pod_netns.hpp"
#include "sockets.hpp"
#include "svclb/abi.h"
#include "udp_sockets.hpp"
#include "uplink_devices.hpp"

namespace svclb::datapath {

// Programs that are being loaded on another thread.
struct Ahead {
    Programs programs;
    std::optional<LoadedSockets> sockets;
};

struct Core {
    BpfDir dir;
    svclb_settings settings{};
    bool tcx = false;
    MapSet maps;
    Programs programs;                     // those that a device has wanted, or may want soon
    bool serving = false;                  // programs are attached to devices, or were by an earlier agent
    bool programs_due = false;             // those above are of maps that have grown since
    std::future<Result<Ahead>> ahead;      // where they are being loaded
    std::future<Result<MapSet>> foreseen;  // larger maps that are being made, see foresee
    Links links;
    // Apart from the tables, so that nobody's reference to the row ends when a map grows.
    MappedArray<svclb_agent_status> agent;
    MappedArray<svclb_service_cidrs> service_cidrs;
    MappedArray<svclb_node_addresses> node_addresses;
    MappedArray<svclb_masquerade> masquerade;
    UplinkDevices uplink_devices;
    KernelTables tables;  // views of `maps`, as is `collector`
    Collector collector;
    std::optional<Sockets> sockets;         // nothing where they are switched off, or refused
    std::optional<UdpSockets> udp_sockets;  // once needed
    std::optional<PodNamespaces> pods;      // where their sockets are served
    XdpMode xdp = XdpMode::off;
    std::map<int, std::string> without_xdp;  // by ifindex: why
};

// Tells svclb-ctl what has come to be.
void show_sizes(const Core& core);

// Begins to make larger maps on another thread. The next growth waits for them, takes those of the very sizes that it
// comes to, and has the others made. serve() forgets them.
void foresee(Core& core, std::span<const Room> rooms);

// Loads the programs that are loaded a second time, with the larger maps and puts them into every link; on failure all
// is as before. While nothing is served yet there is nothing to replace: the maps grow at once, their programs are
// loaded meanwhile.
Status grow(Core& core, std::span<const Room> rooms);

// Loads those of these programs that no device has wanted before; an error leaves all as it was. After finish_loading.
Status load_missing(Core& core, const ProgramNames& wanted);

// Ends with the programs of the maps as they are by now, or an error; the next call tries again.
Status finish_loading(Core& core);

}  // namespace svclb::datapath
