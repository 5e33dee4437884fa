// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The network namespaces behind pod links, in the map by which the socket hooks know them. A link tells its peer's
// namespace by a number, a socket hook by a cookie; a look into the namespace itself joins the two. It is found without
// asking any runtime: among the mounts in /run/netns, and if it is not there by the processes that are in it.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "map_set.hpp"
#include "rtnetlink.hpp"
#include "svclb/abi.h"
#include "svclb/base/result.hpp"

namespace svclb::datapath {

class PodNamespaces {
public:
    static Result<PodNamespaces> open();

    // Makes the rows of `maps`, the socket hooks', those of the namespaces behind these devices. One that cannot be
    // found yet, or has no address of both families yet, is looked for again by the next calls, for a while. One that
    // cannot be entered is told by problem(), and the others are served.
    Status follow(const std::set<int>& pod_links, const MapSet& maps);

    // Whether the next call may find more without a change of the devices.
    [[nodiscard]] bool settled() const;
    [[nodiscard]] std::size_t served() const;
    // Of the last look, in words; empty if there was none.
    [[nodiscard]] const std::string& problem() const { return problem_; }

private:
    struct Pod {
        std::uint64_t cookie = 0;  // 0: not found yet
        svclb_pod row{};
        std::uint32_t looks = 0;
        [[nodiscard]] bool served() const;
        [[nodiscard]] bool settled() const;
    };

    using Wanted = std::map<int, std::vector<Pod*>>;  // by the number that a link names its peer's namespace by

    explicit PodNamespaces(netlink::Socket socket) : socket_(std::move(socket)) {}
    Result<Wanted> unsettled();
    Result<int> number_of(int netns);
    Status look(Wanted wanted);

    netlink::Socket socket_;
    std::map<int, Pod> pods_;  // by device
    std::string problem_;
};

// Makes the hooks serve no pod.
Status forget_pods(const MapSet& maps);

}  // namespace svclb::datapath
