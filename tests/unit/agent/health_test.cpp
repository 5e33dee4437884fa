// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "health.hpp"

#include <catch2/catch_test_macros.hpp>
#include <nlohmann/json.hpp>

namespace svclb::agent {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

const RealTime kStart = *parse_time("2026-01-02T03:04:05Z");

TEST_CASE("a healthy node answers with the time of the answer") {
    const Health health{.updated = kStart, .waiting_since = {}, .node_leaving = false};
    const auto answer = healthz(health, kStart + seconds{5});
    CHECK(answer.status == 200);
    CHECK(answer.body == R"({"lastUpdated":"2026-01-02T03:04:10.000000Z","currentTime":"2026-01-02T03:04:10.000000Z",)"
                         R"("nodeEligible":true,"healthy":true,"status":{)"
                         R"("IPv4":{"lastUpdated":"2026-01-02T03:04:05.000000Z","healthy":true},)"
                         R"("IPv6":{"lastUpdated":"2026-01-02T03:04:05.000000Z","healthy":true}}})"
                         "\n");
    CHECK(livez(health, kStart + seconds{5}).status == 200);
    CHECK_FALSE(json::parse(livez(health, kStart).body).contains("nodeEligible"));
}

TEST_CASE("an update may wait for less than a minute, however long ago the last one was") {
    const auto waiting = kStart + seconds{3600};
    const Health health{.updated = kStart, .waiting_since = waiting, .node_leaving = false};
    for (const auto& answer : {healthz, livez}) {
        CHECK(answer(health, waiting + seconds{60} - milliseconds{1}).status == 200);
        const auto late = answer(health, waiting + seconds{60});
        CHECK(late.status == 503);
        const auto body = json::parse(late.body);
        CHECK(body["lastUpdated"] == "2026-01-02T03:04:05.000000Z");
        CHECK(body["healthy"] == false);
        CHECK(body["status"]["IPv4"]["healthy"] == false);
        CHECK(body["status"]["IPv6"]["healthy"] == false);
    }
}

TEST_CASE("a node that leaves is nothing for load balancers, and no reason to restart the agent") {
    const Health health{.updated = kStart, .waiting_since = {}, .node_leaving = true};
    const auto answer = healthz(health, kStart + seconds{1});
    CHECK(answer.status == 503);
    CHECK(json::parse(answer.body)["nodeEligible"] == false);
    CHECK(json::parse(answer.body)["healthy"] == true);
    CHECK(json::parse(answer.body)["lastUpdated"] == "2026-01-02T03:04:05.000000Z");
    CHECK(livez(health, kStart + seconds{1}).status == 200);
}

}  // namespace
}  // namespace svclb::agent
