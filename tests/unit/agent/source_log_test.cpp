// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "source_log.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace svclb;
using namespace svclb::agent;

namespace {

kube::SourceState connected() {
    kube::SourceState state;
    state.connected = true;
    return state;
}

kube::SourceState away(const std::string& error) {
    kube::SourceState state;
    state.error = error;
    return state;
}

using Line = std::optional<SourceLog::Line>;
const Line kFollowing = SourceLog::Line{false, "following api"};
const Line kRefused = SourceLog::Line{true, "api: refused; what is programmed goes on serving"};

}  // namespace

TEST_CASE("a source that comes and goes is told once each time") {
    SourceLog log("api");
    CHECK(log.next(away("refused")) == kRefused);
    CHECK(log.next(away("refused")) == std::nullopt);
    CHECK(log.next(connected()) == kFollowing);
    CHECK(log.next(connected()) == std::nullopt);
    CHECK(log.next(away("refused")) == kRefused);
    CHECK(log.next(away("timeout")) == SourceLog::Line{true, "api: timeout; what is programmed goes on serving"});
}

TEST_CASE("a source that is not there yet, without a reason, is nothing to tell") {
    SourceLog log("api");
    CHECK(log.next(away("")) == std::nullopt);
    CHECK(log.next(away("refused")) == kRefused);
    // The list has come, its watch is not open yet.
    CHECK(log.next(away("")) == std::nullopt);
    CHECK(log.next(away("refused")) == std::nullopt);
    CHECK(log.next(connected()) == kFollowing);
}
