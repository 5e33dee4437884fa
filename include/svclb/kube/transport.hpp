// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Requests to one API server. The state machines above it know no socket; tests put a script in its place.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "svclb/base/histogram.hpp"
#include "svclb/base/result.hpp"

namespace svclb::kube {

struct Request {
    std::string method = "GET";
    std::string target;  // path and query: "/api/v1/services?watch=1", escaped where need be
    std::string body;    // of a POST or PATCH, JSON
    std::chrono::milliseconds silence{
        0};  // fails when the server sends nothing for so long; 0: the transport's own limit
};

struct ResponseHead {
    int status = 0;  // HTTP
    std::optional<std::chrono::seconds> retry_after;
};

// How requests fare, for metrics. An answer counts when its head has come, for a watch has no end.
struct RequestStats {
    std::string host;                                              // "10.0.0.1:6443"
    std::map<std::pair<std::string, int>, std::uint64_t> answers;  // by method and HTTP status; 0: none came
    std::map<std::string, Histogram> seconds;                      // to the head, by method
    void answered(const std::string& method, int status, std::chrono::nanoseconds after);
};

// Called from within Transport::step only, in this order; on_head and on_body not at all where no answer came.
class Receiver {
public:
    virtual ~Receiver() = default;
    virtual void on_head(const ResponseHead& head) = 0;
    virtual void on_body(std::string_view bytes) = 0;  // a piece of the body, cut anywhere
    virtual void on_end(const Status& status) = 0;     // an error: the answer is not complete; the last call

protected:
    Receiver() = default;
    Receiver(const Receiver&) = default;
    Receiver& operator=(const Receiver&) = default;
};

using RequestId = std::uint64_t;

class Transport {
public:
    virtual ~Transport() = default;
    // The receiver must live until on_end or cancel. Never calls it back from within send.
    virtual RequestId send(Request request, Receiver& receiver) = 0;
    // No call comes after it. May be called from within a receiver; does nothing for a request that has ended.
    virtual void cancel(RequestId id) = 0;
    [[nodiscard]] virtual int fd() const = 0;  // readable when step() has something to do
    virtual void step() = 0;                   // never waits
    [[nodiscard]] virtual std::uint64_t bytes_received() const = 0;
    [[nodiscard]] virtual RequestStats stats() const = 0;

protected:
    Transport() = default;
    Transport(const Transport&) = default;
    Transport& operator=(const Transport&) = default;
};

}  // namespace svclb::kube
