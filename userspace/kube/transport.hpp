// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Transport by libcurl: its sockets and every timer in one epoll set, whose descriptor is fd().
#pragma once

#include <curl/curl.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "credentials.hpp"
#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"
#include "svclb/kube/transport.hpp"
#include "transport_request.hpp"

namespace svclb::kube {

class CurlTransport final : public Transport {
public:
    static Result<std::unique_ptr<CurlTransport>> open(Route route, std::unique_ptr<Credentials> credentials);
    ~CurlTransport() override;
    CurlTransport(const CurlTransport&) = delete;
    CurlTransport& operator=(const CurlTransport&) = delete;

    RequestId send(Request request, Receiver& receiver) override;
    void cancel(RequestId id) override;
    [[nodiscard]] int fd() const override { return epoll_.get(); }
    void step() override;
    [[nodiscard]] std::uint64_t bytes_received() const override;
    [[nodiscard]] RequestStats stats() const override { return stats_; }

private:
    using Clock = Exchange::Clock;
    using PoolId = std::uint32_t;
    struct MultiDeleter {
        void operator()(CURLM* multi) const noexcept { curl_multi_cleanup(multi); }
    };
    // Connections that may be used again. After a silence nobody knows which of them are dead, so that a new request
    // must not meet them: it goes to a new pool, and the old one ends with its last request.
    struct Pool {
        CurlTransport& transport;
        PoolId id;
        std::unique_ptr<CURLM, MultiDeleter> multi;
        std::optional<Clock::time_point> deadline;
        std::size_t requests = 0;
    };
    struct Entry {
        std::unique_ptr<Exchange> exchange;
        Pool* pool = nullptr;  // not yet begun
    };
    // Of requests that end: what went wrong, "" where nothing did.
    using Faults = std::vector<std::pair<RequestId, std::string>>;

    CurlTransport(Route route, std::unique_ptr<Credentials> credentials, UniqueFd epoll, UniqueFd timer);

    static int on_watch(CURL* handle, curl_socket_t socket, int what, void* user, void* known);
    static int on_timer(CURLM* multi, long timeout_ms, void* user);

    void take_events();
    bool begin_next();
    std::string begin(Entry& entry, const Identity& identity);
    bool make_pool();
    void run_timers();
    void take_results();
    void take_silent();
    void drop_cancelled();
    void drop_pools();
    // The same fault for all that have not begun.
    [[nodiscard]] Faults with_waiting(Faults faults, const std::string& fault) const;
    void finish_all(const Faults& faults);
    void finish(RequestId id, const std::string& fault);
    void arm();
    void set_timer(Clock::time_point when);

    Route route_;
    RequestStats stats_;
    std::unique_ptr<Credentials> credentials_;
    UniqueFd epoll_;
    UniqueFd timer_;
    std::optional<Clock::time_point> armed_;
    PoolId last_pool_ = 0;
    std::map<PoolId, Pool> pools_;
    bool fresh_pool_ = true;  // the newest pool is not to be used by new requests
    RequestId last_request_ = 0;
    std::map<RequestId, Entry> entries_;
    std::uint64_t bytes_ended_ = 0;  // of requests that are gone
};

}  // namespace svclb::kube
