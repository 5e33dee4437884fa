// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Do the maps say what the agent last wanted, and do they agree with each other? Pure; one difference for each thing
// that is wrong, in an order that does not depend on the maps'.
#pragma once

#include <string>
#include <vector>

#include "snapshot.hpp"

namespace svclb::ctl {

struct Difference {
    std::string object;  // "service port default/web:http IPv4", "frontend 10.96.0.10:80/TCP of default/web:http"
    std::string map;     // the map that holds something else than is wanted, or nothing
    std::string wanted;
    std::string found;
    auto operator<=>(const Difference&) const = default;
};

// What the snapshot must hold for it: tables, links and maps.
inline constexpr Parts kVerifyParts{.tables = true, .links = true, .maps = true};

// Sorted.
[[nodiscard]] std::vector<Difference> verify(const Snapshot& snapshot);

// The differences of `first` that `second`, made from a later reading, still has: what an agent at work was about to
// change between two reads is no difference.
[[nodiscard]] std::vector<Difference> persisting(const std::vector<Difference>& first,
                                                 const std::vector<Difference>& second);

}  // namespace svclb::ctl
