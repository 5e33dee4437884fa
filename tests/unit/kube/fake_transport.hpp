// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A Transport that a test plays the server of, and a clock that it sets.
#pragma once

#include <sys/eventfd.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "svclb/base/unique_fd.hpp"
#include "svclb/kube/api_source.hpp"
#include "svclb/kube/transport.hpp"

namespace svclb::kube::test {

class FakeTransport final : public Transport {
public:
    struct Sent {
        RequestId id = 0;
        Request request;
        Receiver* receiver = nullptr;
    };

    RequestId send(Request request, Receiver& receiver) override {
        targets.push_back(request.target);
        ++last_;
        open_.emplace(last_, Sent{.id = last_, .request = std::move(request), .receiver = &receiver});
        return last_;
    }
    void cancel(RequestId id) override {
        if (open_.erase(id) != 0) ++cancelled;
    }
    [[nodiscard]] int fd() const override { return event_.get(); }
    void step() override {
        for (auto& call : std::exchange(calls_, {})) call();
    }
    [[nodiscard]] RequestStats stats() const override { return {}; }
    [[nodiscard]] std::uint64_t bytes_received() const override { return bytes_; }

    // What the server does next; takes place in step(). A request that is no longer open is skipped.
    void head(RequestId id, int status, std::optional<std::chrono::seconds> retry_after = std::nullopt) {
        later(id, [=](Receiver& to) { to.on_head({.status = status, .retry_after = retry_after}); });
    }
    void body(RequestId id, std::string text) {
        bytes_ += text.size();
        later(id, [text = std::move(text)](Receiver& to) { to.on_body(text); });
    }
    void end(RequestId id, Status status = {}) {
        calls_.emplace_back([this, id, status] {
            const auto found = open_.find(id);
            if (found == open_.end()) return;
            auto* to = found->second.receiver;
            open_.erase(found);
            to->on_end(status);
        });
    }
    void reset(RequestId id) { end(id, fail_errno(ECONNRESET, "read")); }

    // The one open request whose target begins so; nothing where there is none.
    [[nodiscard]] std::optional<Sent> find(std::string_view prefix) const {
        std::optional<Sent> found;
        for (const auto& [id, sent] : open_) {
            if (!sent.request.target.starts_with(prefix)) continue;
            REQUIRE_FALSE(found);
            found = sent;
        }
        return found;
    }
    [[nodiscard]] Sent at(std::string_view prefix) const {
        CAPTURE(prefix);
        const auto found = find(prefix);
        REQUIRE(found);
        return *found;
    }
    [[nodiscard]] std::size_t open_count() const { return open_.size(); }

    std::vector<std::string> targets;  // of all requests so far
    std::size_t cancelled = 0;

private:
    void later(RequestId id, std::function<void(Receiver&)> call) {
        calls_.emplace_back([this, id, call = std::move(call)] {
            if (const auto found = open_.find(id); found != open_.end()) call(*found->second.receiver);
        });
    }

    UniqueFd event_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    RequestId last_ = 0;
    std::map<RequestId, Sent> open_;
    std::deque<std::function<void()>> calls_;
    std::uint64_t bytes_ = 0;
};

class FakeClock {
public:
    void pass(std::chrono::milliseconds time) { *now_ += time; }
    // Chance always says a half.
    [[nodiscard]] Surroundings surroundings() const {
        return {.now = [now = now_] { return *now; }, .random = [] { return 0.5; }};
    }

private:
    std::shared_ptr<Surroundings::Clock::time_point> now_ =
        std::make_shared<Surroundings::Clock::time_point>(std::chrono::hours(1));
};

// Texts of the API.
inline std::string service(const std::string& name, const std::string& version, int port = 80) {
    return R"({"kind":"Service","apiVersion":"v1","metadata":{"name":")" + name +
           R"(","namespace":"default","uid":"u","resourceVersion":")" + version +
           R"(","creationTimestamp":"2024-05-06T07:08:09Z"},"spec":{"clusterIP":"10.96.0.10","ports":[{"name":"http",)"
           R"("protocol":"TCP","port":)" +
           std::to_string(port) + R"(}],"selector":{"a":"{[\"]}"}},"status":{"loadBalancer":{}}})";
}
inline std::string slice(const std::string& name, const std::string& version, const std::string& ip = "10.0.0.1",
                         const std::string& service_name = "web") {
    return R"({"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","metadata":{"name":")" + name +
           R"(","namespace":"default","resourceVersion":")" + version +
           R"(","labels":{"kubernetes.io/service-name":")" + service_name +
           R"("},"managedFields":[{"fieldsV1":{"f:a":{}}}]},"addressType":"IPv4","endpoints":[{"addresses":[")" + ip +
           R"("],"conditions":{"ready":true},"nodeName":"node-b"}],"ports":[{"name":"http","port":8080,)"
           R"("protocol":"TCP"}]})";
}
inline std::string node(const std::string& name, const std::string& version, const std::string& zone) {
    return R"({"kind":"Node","apiVersion":"v1","metadata":{"name":")" + name + R"(","resourceVersion":")" + version +
           R"(","labels":{"topology.kubernetes.io/zone":")" + zone + R"("}},"spec":{"podCIDR":"10.0.0.0/24"}})";
}
inline std::string event(const std::string& type, const std::string& object) {
    return R"({"type":")" + type + R"(","object":)" + object + "}\n";
}
inline std::string bookmark(const std::string& kind, const std::string& version) {
    return event("BOOKMARK",
                 R"({"kind":")" + kind + R"(","apiVersion":"v1","metadata":{"resourceVersion":")" + version + R"("}})");
}
inline std::string list_end(const std::string& kind, const std::string& version) {
    return event("BOOKMARK", R"({"kind":")" + kind + R"(","metadata":{"resourceVersion":")" + version +
                                 R"(","annotations":{"k8s.io/initial-events-end":"true"}}})");
}
inline std::string list(const std::string& kind, const std::string& version, const std::vector<std::string>& items,
                        const std::string& more = "") {
    std::string text;
    for (const auto& item : items) text += (text.empty() ? "" : ",") + item;
    return R"({"kind":")" + kind + R"(List","apiVersion":"v1","metadata":{"resourceVersion":")" + version +
           (more.empty() ? "\"" : R"(","continue":")" + more + "\"") + R"(},"items":[)" + text + "]}\n";
}
inline std::string status(int code, const std::string& reason, const std::string& message = "no") {
    return R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":")" + message +
           R"(","reason":")" + reason + R"(","code":)" + std::to_string(code) + "}\n";
}

}  // namespace svclb::kube::test
