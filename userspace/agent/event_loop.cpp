// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "event_loop.hpp"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <span>

namespace svclb::agent {
namespace {

sigset_t end_signals() {
    sigset_t signals{};
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGTERM);
    ::sigaddset(&signals, SIGINT);
    return signals;
}

}  // namespace

void EventLoop::hold_end_signals() {
    const auto signals = end_signals();
    ::sigprocmask(SIG_BLOCK, &signals, nullptr);
}

Status EventLoop::open(std::chrono::milliseconds tick) {
    const auto signals = end_signals();
    epoll_ = UniqueFd{::epoll_create1(EPOLL_CLOEXEC)};
    signals_ = UniqueFd{::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK)};
    timer_ = UniqueFd{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
    const timespec interval{.tv_sec = 0, .tv_nsec = std::chrono::nanoseconds{tick}.count()};
    const itimerspec ticks{.it_interval = interval, .it_value = interval};
    if (!epoll_ || !signals_ || !timer_ || ::timerfd_settime(timer_.get(), 0, &ticks, nullptr) != 0)
        return fail_errno(errno, "set up the event loop");
    for (const int fd : {signals_.get(), timer_.get()})
        if (auto watched = watch(fd); !watched) return watched;
    return {};
}

Status EventLoop::watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno(errno, "watch a descriptor");
    return {};
}

Result<std::vector<int>> EventLoop::wait() {
    std::array<epoll_event, 8> events{};
    const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
    if (count < 0 && errno != EINTR) return fail_errno(errno, "wait for events");
    std::vector<int> readable(static_cast<std::size_t>(std::max(count, 0)));
    std::ranges::transform(std::span{events}.first(readable.size()), readable.begin(),
                           [](const auto& event) { return event.data.fd; });
    return readable;
}

bool EventLoop::take_tick(int fd) const {
    std::uint64_t expirations = 0;
    return fd == timer_.get() && ::read(timer_.get(), &expirations, sizeof(expirations)) == sizeof(expirations);
}

}  // namespace svclb::agent
