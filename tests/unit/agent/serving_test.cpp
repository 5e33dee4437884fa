// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "serving.hpp"

#include <catch2/catch_test_macros.hpp>

#include "http_client.hpp"

namespace svclb::agent {
namespace {

using std::chrono::seconds;

struct Served {
    Config config;
    model::AddressPort at = free_port();

    Served() {
        config.healthz_address = at;
        config.metrics_address = std::nullopt;
    }
    [[nodiscard]] int status(const std::string& path) const {
        return std::stoi(get(at, path).substr(std::string_view{"HTTP/1.1 "}.size()));
    }
};

RealTime ago(seconds time) {
    return std::chrono::system_clock::now() - time;
}

PassReport pass(std::size_t retries, std::size_t held = 0) {
    PassReport report;
    report.began = report.ended = ago(seconds{0});
    report.retries = retries;
    report.held_services = held;
    report.pending = retries + held != 0;
    return report;
}

TEST_CASE("a change that waits for its retries for a minute is unhealthy, until it is programmed") {
    Served served;
    Serving serving{served.config};
    REQUIRE(serving.start());
    CHECK(served.status("/healthz") == 200);  // nothing has been heard yet
    serving.on_queued(ago(seconds{90}));
    serving.on_pass(pass(1));
    serving.on_queued(ago(seconds{1}));  // a later one does not make the first one younger
    serving.on_pass(pass(1));
    CHECK(served.status("/healthz") == 503);
    CHECK(served.status("/livez") == 503);
    serving.on_pass(pass(0));
    CHECK(served.status("/healthz") == 200);
    CHECK(served.status("/livez") == 200);
    serving.on_queued(ago(seconds{30}));
    serving.on_pass(pass(1));
    CHECK(served.status("/livez") == 200);
}

TEST_CASE("what is held for want of good input is no reason to restart the agent") {
    Served served;
    Serving serving{served.config};
    REQUIRE(serving.start());
    serving.on_queued(ago(seconds{90}));
    serving.on_pass(pass(0, 3));
    CHECK(served.status("/livez") == 200);
}

TEST_CASE("a node that leaves is told to load balancers only") {
    Served served;
    Serving serving{served.config};
    REQUIRE(serving.start());
    serving.on_node(true);
    CHECK(served.status("/healthz") == 503);
    CHECK(served.status("/livez") == 200);
    serving.on_node(false);
    CHECK(served.status("/healthz") == 200);
}

TEST_CASE("an address that is taken ends the start only where that is wanted") {
    Served served;
    auto taken = bind_any();
    REQUIRE(::listen(taken.fd.get(), 1) == 0);
    served.at = taken.at;
    served.config.healthz_address = taken.at;
    Serving patient{served.config};
    CHECK(patient.start());
    served.config.bind_hard_fail = true;
    Serving strict{served.config};
    const auto started = strict.start();
    REQUIRE_FALSE(started);
    CHECK(started.error().message() ==
          "listen on " + model::endpoint_text(taken.at.address, taken.at.port) + ": Address already in use");
    // Free again: the next look at the source tries again.
    taken.fd = UniqueFd{};
    patient.on_source({}, {});
    CHECK(served.status("/livez") == 200);
}

}  // namespace
}  // namespace svclb::agent
