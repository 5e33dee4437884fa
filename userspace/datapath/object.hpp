// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Loads the embedded BPF objects: the one place that knows bpf_object. What it returns are plain descriptors.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "map_set.hpp"
#include "svclb/abi.h"
#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"

namespace svclb::datapath {

using Programs = std::map<std::string, UniqueFd, std::less<>>;  // by name
using ProgramNames = std::set<std::string, std::less<>>;

[[nodiscard]] ProgramNames names_of(const Programs& programs);
// -1 where it is not among them.
[[nodiscard]] int program_in(const Programs& programs, std::string_view name);

struct MadeMaps {
    MapSet maps;       // every map of the object that is pinned: those of `reuse` and the new ones
    UniqueFd barrier;  // a map-in-map, for Barrier
};

// Maps of `reuse` are used as they are; the others are made, with the entries given here or else those of the object.
// A map of another type or with rows of another size is refused by name.
using Entries = std::map<std::string, std::uint32_t, std::less<>>;
Result<MadeMaps> make_maps(const MapSet& reuse, const Entries& entries);

// These packet programs over these maps: all of them, or an error. The kernel verifies several at a time, on threads
// that end with the call.
Result<Programs> load_programs(const svclb_settings& settings, const MapSet& maps, const ProgramNames& names);

// All of the socket hooks' programs, likewise. `reuse` has to hold the packet programs' maps, which they share.
struct LoadedSockets {
    Programs programs;
    MapSet maps;  // every map of this object
};
Result<LoadedSockets> load_sockets(const svclb_settings& settings, const MapSet& reuse);

// A second descriptor of the same thing.
Result<UniqueFd> duplicate(int fd, std::string_view what);

// Sends libbpf's own messages to the debug log.
void quieten_libbpf();

}  // namespace svclb::datapath
