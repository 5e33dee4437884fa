// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The maps that an earlier agent has left pinned, of this release or another one, and the place of new ones beside
// them.
#pragma once

#include "bpf_dir.hpp"
#include "map_set.hpp"
#include "svclb/base/result.hpp"

namespace svclb::datapath {

// Those that go on as they are. Of the others, and of names that are no more, the programs that are attached keep what
// they use.
Result<MapSet> adopt_maps(const BpfDir& dir);

// Pins those of `maps` that were not adopted.
Status pin_maps(const BpfDir& dir, const MapSet& maps, const MapSet& adopted);

}  // namespace svclb::datapath
