// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "stale_sockets.hpp"

#include "svclb/base/log.hpp"

namespace svclb::agent {
namespace {

// Some 3,000 sockets: about a millisecond.
constexpr std::uint32_t kMessages = 32;
constexpr std::uint64_t kRetryPauseS = 10;

// The kernel has no sock_diag for UDP, or ends no socket by it.
bool is_for_good(const Error& error) {
    return error.code() == std::errc::operation_not_supported || error.code() == std::errc::no_such_file_or_directory;
}

}  // namespace

std::uint32_t StaleSockets::step(std::uint64_t now_s) {
    if (looks_ == 0 || now_s < next_s_) return 0;
    const auto step = end_(kMessages);
    if (!step) {
        if (error_told_ != step.error().message()) spdlog::warn("{}", step.error().message());
        error_told_ = step.error().message();
        next_s_ = now_s + kRetryPauseS;
        if (is_for_good(step.error())) looks_ = 0;
        return 0;
    }
    error_told_.clear();
    if (step->ended != 0) spdlog::info("ended sockets={}: their backends serve no more", step->ended);
    if (step->finished) {
        --looks_;
        next_s_ = now_s + 1;
    }
    return step->ended;
}

}  // namespace svclb::agent
