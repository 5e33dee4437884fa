// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// One page about an agent and its tables. Pure.
#pragma once

#include <string>

#include "output.hpp"
#include "snapshot.hpp"

namespace svclb::ctl {

// What the snapshot must hold for it.
inline constexpr Parts kStatusParts{.connections = true, .drops = true, .links = true, .maps = true};

[[nodiscard]] Json status_json(const Snapshot& snapshot);
// Wide lists the fill of every map instead of the fullest one's.
[[nodiscard]] std::string status_text(const Snapshot& snapshot, bool wide);

}  // namespace svclb::ctl
