// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What load balancers are told at a healthCheckNodePort: behaviour row 1.30, with real sockets on the loopback.
#include "node_health.hpp"

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "http_client.hpp"

namespace svclb::agent {
namespace {

const model::ObjectKey kWeb{"default", "web"};
const model::ObjectKey kDns{"kube-system", "dns"};
const std::vector<model::Address> kLoopback{*model::parse_address("127.0.0.1")};

bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

model::HealthCheck check(std::uint16_t port, std::size_t local4, std::size_t local6 = 0) {
    return {.port = port, .local4 = local4, .local6 = local6};
}

bool is_closed(const model::AddressPort& at) {
    const UniqueFd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(at.port);
    return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 && errno == ECONNREFUSED;
}

}  // namespace

TEST_CASE("row 1.30: a node with ready endpoints answers 200 with their number, and 503 without") {
    NodeHealth health{[] { return true; }};
    const auto at = free_port();
    health.serve({{kWeb, check(at.port, 2, 7)}}, kLoopback);
    CHECK(health.warnings().empty());
    const auto good = get(at, "/");
    CHECK(good.starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK(has(good, "Content-Type: application/json\r\n"));
    CHECK(has(good, "X-Content-Type-Options: nosniff\r\n"));
    CHECK(has(good, "X-Load-Balancing-Endpoint-Weight: 2\r\n"));
    CHECK(
        good.ends_with("\r\n\r\n{\"service\":{\"namespace\":\"default\",\"name\":\"web\"},\"localEndpoints\":2,"
                       "\"serviceProxyHealthy\":true}"));
    // Any path, any method.
    CHECK(get(at, "/any/path?x=1").starts_with("HTTP/1.1 200 "));
    CHECK(ask(at, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
              .starts_with("HTTP/1.1 200 "));

    health.serve({{kWeb, check(at.port, 0, 7)}}, kLoopback);
    const auto none = get(at, "/");
    CHECK(none.starts_with("HTTP/1.1 503 "));
    CHECK(has(none, "X-Load-Balancing-Endpoint-Weight: 0\r\n"));
    CHECK(
        none.ends_with("{\"service\":{\"namespace\":\"default\",\"name\":\"web\"},\"localEndpoints\":0,"
                       "\"serviceProxyHealthy\":true}"));
}

TEST_CASE("row 1.30: a node that does not keep up answers 503 whatever endpoints it has") {
    std::atomic<bool> healthy{false};
    NodeHealth health{[&] { return healthy.load(); }};
    const auto at = free_port();
    health.serve({{kWeb, check(at.port, 1)}}, kLoopback);
    const auto bad = get(at, "/");
    CHECK(bad.starts_with("HTTP/1.1 503 "));
    CHECK(has(bad, "\"localEndpoints\":1,\"serviceProxyHealthy\":false"));
    healthy = true;
    CHECK(get(at, "/").starts_with("HTTP/1.1 200 "));
}

TEST_CASE("row 1.30: ports come, change and go with their Services") {
    NodeHealth health{[] { return true; }};
    const auto first = free_port();
    const auto second = free_port();
    health.serve({{kWeb, check(first.port, 1)}}, kLoopback);
    CHECK(get(first, "/").starts_with("HTTP/1.1 200 "));
    health.serve({{kWeb, check(second.port, 1)}, {kDns, check(first.port, 0)}}, kLoopback);
    CHECK(get(second, "/").starts_with("HTTP/1.1 200 "));
    CHECK(has(get(first, "/"), "\"name\":\"dns\""));
    health.serve({}, kLoopback);
    CHECK(is_closed(first));
    CHECK(is_closed(second));
}

TEST_CASE("row 1.30: the port is served where node ports are, and everywhere while that is not known") {
    NodeHealth health{[] { return true; }};
    const auto at = free_port();
    const model::AddressPort other{*model::parse_address("127.0.0.2"), at.port};
    health.serve({{kWeb, check(at.port, 3)}}, {other.address});
    CHECK(is_closed(at));
    health.serve({{kWeb, check(at.port, 3)}}, {});
    CHECK(has(get(at, "/"), "\"localEndpoints\":3"));
    health.serve({{kWeb, check(at.port, 3)}}, kLoopback);
    CHECK(get(at, "/").starts_with("HTTP/1.1 200 "));
}

TEST_CASE("row 1.30: a port that is taken is told, and tried again") {
    NodeHealth health{[] { return true; }};
    auto taken = bind_any();
    REQUIRE(::listen(taken.fd.get(), 1) == 0);
    const auto at = taken.at;
    health.serve({{kWeb, check(at.port, 1)}}, kLoopback);
    CHECK(health.warnings() ==
          std::vector<Warning>{
              {"Service default/web", "FailedToStartServiceHealthcheck",
               fmt::format("spec.healthCheckNodePort: listen on 127.0.0.1:{}: Address already in use", at.port)}});
    taken.fd = UniqueFd{};
    health.serve({{kWeb, check(at.port, 1)}}, kLoopback);
    CHECK(health.warnings().empty());
    CHECK(get(at, "/").starts_with("HTTP/1.1 200 "));
}

TEST_CASE("row 1.30: of two Services with one port the second is told") {
    NodeHealth health{[] { return true; }};
    const auto at = free_port();
    health.serve({{kWeb, check(at.port, 1)}, {kDns, check(at.port, 1)}}, kLoopback);
    CHECK(health.warnings() ==
          std::vector<Warning>{{"Service kube-system/dns", "FailedToStartServiceHealthcheck",
                                fmt::format("spec.healthCheckNodePort: port {} is that of default/web", at.port)}});
    CHECK(has(get(at, "/"), "\"name\":\"web\""));
}

}  // namespace svclb::agent
