// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The loop of the multi interface. Receivers are called from within libcurl's calls, where most of libcurl must not be
// used: send() and cancel() only note what step() does.
#include "transport.hpp"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

namespace svclb::kube {

namespace {

// What an event of the epoll set belongs to: the number of a pool and its socket, or one of ours.
constexpr std::uint64_t kTimer = 0;
constexpr std::uint64_t kCredentials = 1;

std::uint64_t tag(std::uint32_t pool, int socket) {
    return (std::uint64_t{pool} << 32U) | static_cast<std::uint32_t>(socket);
}

Status add_to_epoll(int epoll, int fd, std::uint64_t tag) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = tag;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno(errno, "epoll_ctl");
    return {};
}

template <class T>
bool set(CURLM* multi, CURLMoption option, T value) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-vararg): the library's only way.
    return curl_multi_setopt(multi, option, value) == CURLM_OK;
}

}  // namespace

Result<std::unique_ptr<CurlTransport>> CurlTransport::open(Route route, std::unique_ptr<Credentials> credentials) {
    static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
    if (ready != CURLE_OK) return fail(Error::invalid(std::string("libcurl: ") + curl_easy_strerror(ready)));
    UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
    UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!epoll || !timer) return fail_errno(errno, "set up the transport");
    if (auto added = add_to_epoll(epoll.get(), timer.get(), kTimer); !added) return fail(added.error());
    if (credentials->fd() >= 0) {
        auto added = add_to_epoll(epoll.get(), credentials->fd(), kCredentials);
        if (!added) return fail(added.error());
    }
    return std::unique_ptr<CurlTransport>(
        new CurlTransport(std::move(route), std::move(credentials), std::move(epoll), std::move(timer)));
}

CurlTransport::CurlTransport(Route route, std::unique_ptr<Credentials> credentials, UniqueFd epoll, UniqueFd timer)
    : route_(std::move(route)),
      credentials_(std::move(credentials)),
      epoll_(std::move(epoll)),
      timer_(std::move(timer)) {
    stats_.host = route_.server.authority();
}

CurlTransport::~CurlTransport() {
    for (auto& [id, entry] : entries_) entry.exchange->cancel();
    drop_cancelled();
}

RequestId CurlTransport::send(Request request, Receiver& receiver) {
    const auto id = ++last_request_;
    entries_.emplace(id, Entry{std::make_unique<Exchange>(id, std::move(request), receiver, route_, stats_)});
    set_timer(Clock::time_point::min());
    return id;
}

void CurlTransport::cancel(RequestId id) {
    const auto at = entries_.find(id);
    if (at == entries_.end()) return;
    at->second.exchange->cancel();
    set_timer(Clock::time_point::min());
}

void CurlTransport::step() {
    take_events();
    credentials_->step();
    drop_cancelled();
    do {
        run_timers();
    } while (begin_next());
    take_results();
    take_silent();
    drop_cancelled();
    drop_pools();
    arm();
}

void CurlTransport::take_events() {
    std::array<epoll_event, 32> events{};
    const int count = ::epoll_wait(epoll_.get(), events.data(), events.size(), 0);
    for (int i = 0; i < count; ++i) {
        const auto& event = events[static_cast<std::size_t>(i)];
        if (event.data.u64 == kTimer) {
            std::uint64_t expirations = 0;
            static_cast<void>(::read(timer_.get(), &expirations, sizeof expirations));
            armed_.reset();
        } else if (const auto pool = pools_.find(static_cast<PoolId>(event.data.u64 >> 32U)); pool != pools_.end()) {
            const int what = ((event.events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0) |
                             ((event.events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                             ((event.events & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
            int running = 0;
            curl_multi_socket_action(pool->second.multi.get(), static_cast<int>(event.data.u64 & 0xffffffffU), what,
                                     &running);
        }
    }
}

void CurlTransport::run_timers() {
    const auto now = Clock::now();
    for (auto& [id, pool] : pools_) {
        if (!pool.deadline || *pool.deadline > now) continue;
        pool.deadline.reset();
        int running = 0;
        curl_multi_socket_action(pool.multi.get(), CURL_SOCKET_TIMEOUT, 0, &running);
    }
}

// One request at a time makes a connection; those behind it find one that they can share, or make their own in turn.
// libcurl's own way to wait for that (CURLOPT_PIPEWAIT) has releases that wait for the end of the first request where
// its connection turns out to be HTTP/1.1, and a watch does not end.
bool CurlTransport::begin_next() {
    auto next = entries_.end();
    for (auto at = entries_.begin(); at != entries_.end(); ++at) {
        if (at->second.pool && !at->second.exchange->connected()) return false;
        if (!at->second.pool && next == entries_.end()) next = at;
    }
    if (next == entries_.end()) return false;
    const auto identity = credentials_->current();
    if (!identity) {
        finish_all(with_waiting({}, identity.error().message()));
        return true;
    }
    if (!*identity) return false;
    if (const auto fault = begin(next->second, **identity); !fault.empty()) finish(next->first, fault);
    return true;
}

std::string CurlTransport::begin(Entry& entry, const Identity& identity) {
    if (fresh_pool_ && !make_pool()) return "libcurl: cannot set up its multi interface";
    auto& pool = pools_.rbegin()->second;
    if (auto fault = entry.exchange->prepare(route_, identity, Clock::now()); !fault.empty()) return fault;
    const auto code = curl_multi_add_handle(pool.multi.get(), entry.exchange->handle());
    if (code != CURLM_OK) return std::string("libcurl: ") + curl_multi_strerror(code);
    entry.pool = &pool;
    ++pool.requests;
    return {};
}

bool CurlTransport::make_pool() {
    const auto id = ++last_pool_;
    auto& pool = pools_.emplace(id, Pool{*this, id, nullptr, std::nullopt}).first->second;
    pool.multi.reset(curl_multi_init());
    auto* multi = pool.multi.get();
    if (!multi || !set(multi, CURLMOPT_SOCKETFUNCTION, &CurlTransport::on_watch) ||
        !set(multi, CURLMOPT_SOCKETDATA, static_cast<void*>(&pool)) ||
        !set(multi, CURLMOPT_TIMERFUNCTION, &CurlTransport::on_timer) ||
        !set(multi, CURLMOPT_TIMERDATA, static_cast<void*>(&pool)) ||
        !set(multi, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_MULTIPLEX))) {
        pools_.erase(id);
        return false;
    }
    fresh_pool_ = false;
    return true;
}

void CurlTransport::take_results() {
    Faults ended;
    bool unreachable = false;
    for (auto& [id, pool] : pools_) {
        int left = 0;
        while (const auto* message = curl_multi_info_read(pool.multi.get(), &left)) {
            if (message->msg != CURLMSG_DONE) continue;
            const auto& exchange = Exchange::of(message->easy_handle);
            const auto fault = exchange.fault(message->data.result);
            ended.emplace_back(exchange.id(), fault);
            // Whoever waits for that connection would only wait for the same.
            if (!fault.empty() && !exchange.connected() && !exchange.cancelled()) {
                ended = with_waiting(std::move(ended), fault);
                unreachable = true;
            }
        }
    }
    if (unreachable) ++route_.dialled;
    finish_all(ended);
}

void CurlTransport::take_silent() {
    Faults silent;
    const auto now = Clock::now();
    for (auto& [id, entry] : entries_) {
        if (!entry.pool || entry.exchange->cancelled() || entry.exchange->deadline() > now) continue;
        silent.emplace_back(id, entry.exchange->silence());
        if (entry.pool == &pools_.rbegin()->second) fresh_pool_ = true;
    }
    finish_all(silent);
}

CurlTransport::Faults CurlTransport::with_waiting(Faults faults, const std::string& fault) const {
    for (const auto& [id, entry] : entries_)
        if (!entry.pool) faults.emplace_back(id, fault);
    return faults;
}

void CurlTransport::finish_all(const Faults& faults) {
    for (const auto& [id, fault] : faults) finish(id, fault);
}

// The entry goes first: whatever the receiver does, it does not meet it.
void CurlTransport::finish(RequestId id, const std::string& fault) {
    const auto at = entries_.find(id);
    if (at == entries_.end()) return;
    constexpr int kUnauthorized = 401;
    if (at->second.exchange->status() == kUnauthorized) credentials_->rejected(at->second.exchange->identity());
    const auto exchange = std::move(at->second.exchange);
    if (at->second.pool) {
        curl_multi_remove_handle(at->second.pool->multi.get(), exchange->handle());
        --at->second.pool->requests;
    }
    bytes_ended_ += exchange->bytes_received();
    entries_.erase(at);
    exchange->end(fault);
}

void CurlTransport::drop_cancelled() {
    Faults cancelled;
    for (const auto& [id, entry] : entries_)
        if (entry.exchange->cancelled()) cancelled.emplace_back(id, "");
    finish_all(cancelled);
}

void CurlTransport::drop_pools() {
    for (auto at = pools_.begin(); at != pools_.end();) {
        const bool used = at->second.requests != 0 || (!fresh_pool_ && at->first == last_pool_);
        at = used ? std::next(at) : pools_.erase(at);
    }
}

int CurlTransport::on_watch(CURL* /*handle*/, curl_socket_t socket, int what, void* user, void* /*known*/) {
    const auto& pool = *static_cast<Pool*>(user);
    const int epoll = pool.transport.epoll_.get();
    if (what == CURL_POLL_REMOVE) {
        // It may be closed, and so be gone, already.
        ::epoll_ctl(epoll, EPOLL_CTL_DEL, socket, nullptr);
        return 0;
    }
    epoll_event event{};
    event.events = ((what & CURL_POLL_IN) != 0 ? std::uint32_t{EPOLLIN} : 0U) |
                   ((what & CURL_POLL_OUT) != 0 ? std::uint32_t{EPOLLOUT} : 0U);
    event.data.u64 = tag(pool.id, socket);
    if (::epoll_ctl(epoll, EPOLL_CTL_MOD, socket, &event) == 0) return 0;
    // -1 fails the requests of this pool.
    return ::epoll_ctl(epoll, EPOLL_CTL_ADD, socket, &event) == 0 ? 0 : -1;
}

int CurlTransport::on_timer(CURLM* /*multi*/, long timeout_ms, void* user) {
    auto& pool = *static_cast<Pool*>(user);
    pool.deadline.reset();
    if (timeout_ms >= 0) pool.deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
    return 0;
}

void CurlTransport::arm() {
    auto next = Clock::time_point::max();
    for (const auto& [id, pool] : pools_) next = std::min(next, pool.deadline.value_or(next));
    bool waiting = false;
    for (const auto& [id, entry] : entries_) {
        if (entry.exchange->cancelled()) next = Clock::time_point::min();
        if (entry.pool) next = std::min(next, entry.exchange->deadline());
        waiting |= entry.pool == nullptr;
    }
    next = std::min(next, credentials_->deadline(waiting));
    if (next != Clock::time_point::max()) set_timer(next);
}

// Too early does no harm, too late does.
void CurlTransport::set_timer(Clock::time_point when) {
    if (armed_ && *armed_ <= when) return;
    armed_ = when;
    // Zero would stop the timer.
    const auto since_boot = std::max(when.time_since_epoch(), Clock::duration(1));
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(since_boot);
    const itimerspec value{
        .it_interval = {},
        .it_value = {.tv_sec = whole.count(), .tv_nsec = std::chrono::nanoseconds(since_boot - whole).count()}};
    ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &value, nullptr);
}

std::uint64_t CurlTransport::bytes_received() const {
    auto bytes = bytes_ended_;
    for (const auto& [id, entry] : entries_) bytes += entry.exchange->bytes_received();
    return bytes;
}

}  // namespace svclb::kube
