// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which devices get the XDP program, and in which mode; and the row of each by which the programs know of it. Without
// it the others do the same work.
#pragma once

#include <string>

#include "grow.hpp"
#include "svclb/base/result.hpp"

namespace svclb::datapath {

struct XdpDevice {
    int ifindex = 0;
    std::string name;
    bool uplink = false;
    bool hardware = false;  // an XDP program on a pair of virtual devices ends their segmentation offload
};

// As `core.xdp` has it. A device or a kernel that refuses is no error: it is told once.
Status serve_xdp(Core& core, const XdpDevice& device);

Status leave_xdp(Core& core, int ifindex);
// What an earlier agent has left: rows of devices that are gone since are removed; without `keep`, everything.
Status adopt_xdp(const MapSet& maps, XdpLinks& links, bool keep);

}  // namespace svclb::datapath
