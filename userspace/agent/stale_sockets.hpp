// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// When to look for connected UDP sockets whose backend has left: after each pass that may have made some, at most once
// a second, and once more a second later for those that were connecting meanwhile. What fails is tried again.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "svclb/datapath/datapath.hpp"

namespace svclb::agent {

class StaleSockets {
public:
    // Datapath::end_stale_sockets().
    using End = std::function<Result<datapath::EndStep>(std::uint32_t messages)>;
    explicit StaleSockets(End end) : end_(std::move(end)) {}

    void look() { looks_ = 2; }
    // A part of it, if it is time; at each tick. How many sockets have been ended.
    std::uint32_t step(std::uint64_t now_s);
    // Why the last one failed; empty if it did not.
    [[nodiscard]] const std::string& problem() const { return error_told_; }

private:
    End end_;
    std::uint32_t looks_ = 1;  // what has left while no agent ran
    std::uint64_t next_s_ = 0;
    std::string error_told_;
};

}  // namespace svclb::agent
