// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "grace.hpp"

#include <sys/eventfd.h>

#include <utility>

namespace svclb::agent {

GraceWaiter::GraceWaiter(std::function<Status()> wait)
    : wait_(std::move(wait)),
      done_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

void GraceWaiter::begin(std::uint64_t ticket) {
    busy_ = true;
    ticket_ = ticket;
    {
        const std::scoped_lock lock{mutex_};
        requested_ = true;
    }
    wake_.notify_one();
}

Result<std::uint64_t> GraceWaiter::finish() {
    ::eventfd_t count = 0;
    ::eventfd_read(done_fd_.get(), &count);
    busy_ = false;
    const std::scoped_lock lock{mutex_};
    if (!outcome_) return fail(outcome_.error());
    return ticket_;
}

void GraceWaiter::run(const std::stop_token& stop) {
    std::unique_lock lock{mutex_};
    while (wake_.wait(lock, stop, [this] { return requested_; })) {
        requested_ = false;
        lock.unlock();
        auto outcome = wait_();
        lock.lock();
        outcome_ = std::move(outcome);
        ::eventfd_write(done_fd_.get(), 1);
    }
}

}  // namespace svclb::agent
