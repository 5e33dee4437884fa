// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Waits for grace periods beside the event loop: the wait takes some 10 ms and cannot be polled.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"

namespace svclb::agent {

class GraceWaiter {
public:
    // `wait` is called on the waiter's own thread.
    explicit GraceWaiter(std::function<Status()> wait);

    // Readable when a wait has ended.
    [[nodiscard]] int fd() const { return done_fd_.get(); }
    [[nodiscard]] bool busy() const { return busy_; }
    // Must not be busy.
    void begin(std::uint64_t ticket);
    // The ticket of the wait that has ended; an error means that it has to be waited for again.
    Result<std::uint64_t> finish();

private:
    void run(const std::stop_token& stop);

    std::function<Status()> wait_;
    UniqueFd done_fd_;
    bool busy_ = false;  // seen by the loop only
    std::uint64_t ticket_ = 0;
    std::mutex mutex_;
    std::condition_variable_any wake_;
    bool requested_ = false;
    Status outcome_;
    std::jthread thread_;  // last: it must end before what it uses
};

}  // namespace svclb::agent
