// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// How long to wait after a failure: twice as long after each, with jitter so that the nodes of a cluster don't come
// back together, and from the beginning when all was well for a while.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>

#include "svclb/kube/api_source.hpp"

namespace svclb::kube {

class Backoff {
public:
    using Clock = Surroundings::Clock;
    // 800 ms to 30 s, as client-go: the jitter adds up to as much again.
    static constexpr std::chrono::milliseconds kFirst{800};
    static constexpr std::chrono::milliseconds kLast{15000};
    static constexpr std::chrono::minutes kHealthy{2};
    // More is taken for a mistake.
    static constexpr std::chrono::minutes kLongestRetryAfter{5};

    std::chrono::milliseconds next(const Surroundings& surroundings, std::optional<std::chrono::seconds> retry_after) {
        const auto now = surroundings.now();
        if (!last_ || now - *last_ >= kHealthy + wait_) wait_ = kFirst;
        last_ = now;
        const auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(wait_ * (1 + surroundings.random()));
        wait_ = std::min(2 * wait_, kLast);
        if (!retry_after) return wait;
        return std::max<std::chrono::milliseconds>(wait,
                                                   std::min<std::chrono::seconds>(*retry_after, kLongestRetryAfter));
    }

private:
    std::optional<Clock::time_point> last_;
    std::chrono::milliseconds wait_{kFirst};
};

}  // namespace svclb::kube
