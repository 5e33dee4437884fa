// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "stale_sockets.hpp"

#include "svclb/base/log.hpp"

namespace svclb::agent {
namespace {

// Some 3,000 sockets: about a millisecond.
constexpr std::uint32_t kMessages = 32;

}  // namespace

void StaleSockets::step(std::uint64_t now_s) {
    if (looks_ == 0 || now_s < next_s_) return;
    const auto step = datapath_.end_stale_sockets(kMessages);
    if (!step) {
        if (error_told_ != step.error().message()) spdlog::warn("{}", step.error().message());
        error_told_ = step.error().message();
        looks_ = 0;
        return;
    }
    error_told_.clear();
    if (step->ended != 0) spdlog::info("ended sockets={}: their backends serve no more", step->ended);
    datapath_.status().sockets_ended += step->ended;
    if (!step->finished) return;
    --looks_;
    next_s_ = now_s + 1;
}

}  // namespace svclb::agent
