// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What the agent waits for: descriptors, the signals that end it, and its clock.
#pragma once

#include <chrono>
#include <vector>

#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"

namespace svclb::agent {

class EventLoop {
public:
    // Blocks SIGTERM and SIGINT until open() reads them from a descriptor. To be called before there is a second
    // thread: one that does not block them takes them away, and in a container, as process 1, drops them.
    static void hold_end_signals();
    Status open(std::chrono::milliseconds tick);
    Status watch(int fd);
    // Those that are readable; none when a signal came in between.
    Result<std::vector<int>> wait();

    [[nodiscard]] bool is_end(int fd) const { return fd == signals_.get(); }
    // True once for each time the clock has run down.
    [[nodiscard]] bool take_tick(int fd) const;

private:
    UniqueFd epoll_;
    UniqueFd signals_;
    UniqueFd timer_;
};

}  // namespace svclb::agent
