// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// One service port as the tables hold it. Changed after each write that succeeded and never before it, so that a pass
// that fails anywhere leaves the truth for the next one.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "runs.hpp"
#include "svclb/abi.h"
#include "svclb/model/desired.hpp"

namespace svclb::reconcile {

struct BackendRow {
    model::Address address;
    std::uint16_t port = 0;  // host order
    svclb_backend row{};     // id SVCLB_NONE: the table's id is unusable
    bool present = false;    // in the table
    bool rewrite = false;    // found damaged at adoption: write it even if it looks right
};

struct Claim {
    svclb_frontend_key key;
    svclb_frontend row;  // without the service
};

struct Port {
    model::ServicePortId id;
    // Found at adoption without a usable name and row; goes with the next pass that touches its Service, and loses
    // every frontend to a service port that is known.
    bool stray = false;
    std::string created;      // "" after adoption until its Service is handed in: it keeps what it has
    std::uint32_t index = 0;  // SVCLB_NONE until it has a name
    bool named = false;
    svclb_service row{};                 // as published
    std::array<Span, SVCLB_SETS> owned;  // runs to give up; none for a Local set that shares the Cluster run
    std::vector<BackendRow> backends;    // sorted by address and port
    std::vector<Claim> claims;           // sorted by key, one a key
    std::vector<model::Cidr> ranges;     // rows of source_ranges, sorted
    std::uint32_t live_frontends = 0;    // rows of `frontends` that point here
};

}  // namespace svclb::reconcile
