// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// When to look for connected UDP sockets whose backend has left: after each pass that may have made some, at most once
// a second, and once more a second later for those that were connecting meanwhile.
#pragma once

#include <cstdint>
#include <string>

#include "svclb/datapath/datapath.hpp"

namespace svclb::agent {

class StaleSockets {
public:
    explicit StaleSockets(datapath::Datapath& datapath) : datapath_(datapath) {}

    void look() { looks_ = 2; }
    // A part of it, if it is time; at each tick.
    void step(std::uint64_t now_s);

private:
    datapath::Datapath& datapath_;
    std::uint32_t looks_ = 1;  // what has left while no agent ran
    std::uint64_t next_s_ = 0;
    std::string error_told_;
};

}  // namespace svclb::agent
