// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The pair of devices that the Service CIDRs are routed to, so that what the node itself sends to a ClusterIP, and no
// socket hook has translated, meets our program and never the default route. Both devices carry one hardware address,
// and nothing is ever asked for it; neither has an IP address.
#pragma once

#include <memory>
#include <set>
#include <span>
#include <string>

#include "svclb/abi.h"
#include "svclb/base/result.hpp"

namespace svclb::datapath {

inline constexpr const char* kRouteSide = "svclb0";
inline constexpr const char* kProgramSide = "svclb1";

class CatchAll {
public:
    static Result<CatchAll> open();
    CatchAll(CatchAll&&) noexcept;
    CatchAll& operator=(CatchAll&&) noexcept;
    ~CatchAll();  // leaves devices and routes in the kernel

    // Makes the pair, or adopts one of an earlier agent, and switches it on. Returns the number of the program side.
    // Devices of these names that are somebody else's are an error.
    Result<int> prepare();
    // Makes the routes of the pair those to `ranges`, preferably with an address of one of `uplinks` as source. Returns
    // what is in force, in words.
    Result<std::string> route(std::span<const svclb_cidr> ranges, const std::set<int>& uplinks,
                              const std::set<int>& pod_links);
    // Removes the pair, and its routes with it. None there is no error.
    Status remove();

private:
    struct State;
    explicit CatchAll(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace svclb::datapath
