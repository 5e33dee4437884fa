// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Tells the programs which devices are uplinks: packets are encapsulated only where one leads out.
#pragma once

#include <cstdint>
#include <vector>

#include "map_ref.hpp"
#include "map_set.hpp"
#include "svclb/base/result.hpp"
#include "svclb/datapath/datapath.hpp"

namespace svclb::datapath {

class UplinkDevices {
public:
    static Result<UplinkDevices> open(const MapSet& maps);

    Status set(int ifindex, bool uplink) const;
    // Forgets what an earlier agent has set and is none of these.
    Status keep(const std::vector<AttachedLink>& attached) const;

private:
    explicit UplinkDevices(MapRef<std::uint32_t, std::uint32_t> map) : map_(map) {}

    MapRef<std::uint32_t, std::uint32_t> map_;
};

}  // namespace svclb::datapath
