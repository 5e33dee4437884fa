// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which Services have a health check, and whom it counts: behaviour row 1.30.
#include "svclb/model/health_check.hpp"

#include "fixtures.hpp"

using namespace svclb::model;
using namespace svclb::model::test;

namespace {

Service balanced() {
    auto service = with_policies(web(), TrafficPolicy::cluster, TrafficPolicy::local);
    service.type = ServiceType::load_balancer;
    service.health_check_node_port = 32000;
    return service;
}

std::optional<HealthCheck> of(const Service& service, const std::vector<EndpointSlice>& slices) {
    return health_check(service, build(service, slices).state, node_a);
}

}  // namespace

TEST_CASE("row 1.30: a health check takes type LoadBalancer, policy Local and a port") {
    CHECK(of(balanced(), {}) == HealthCheck{.port = 32000});
    auto service = balanced();
    service.type = ServiceType::node_port;
    CHECK(of(service, {}) == std::nullopt);
    service = balanced();
    service.external_policy = TrafficPolicy::cluster;
    CHECK(of(service, {}) == std::nullopt);
    service = balanced();
    service.health_check_node_port = 0;
    CHECK(of(service, {}) == std::nullopt);
    service = balanced();
    service.labels.emplace(kProxyNameLabel, "other");
    CHECK(of(service, {}) == std::nullopt);
}

TEST_CASE("row 1.30: distinct addresses of ready endpoints of this node count, over all ports") {
    auto service = balanced();
    service.ports.push_back({.name = "more", .protocol = Protocol::tcp, .port = 81});
    auto both =
        slice("web-1", {endpoint("10.0.0.1", "node-a"), endpoint("10.0.0.2", "node-a"), endpoint("10.0.0.3", "node-b"),
                        not_ready(endpoint("10.0.0.4", "node-a")), terminating(endpoint("10.0.0.5", "node-a"))});
    both.ports.push_back({.name = "more", .protocol = Protocol::tcp, .port = 8081});
    CHECK(of(service, {both}) == HealthCheck{.port = 32000, .local4 = 2, .local6 = 0});
    // One that ends is served when it is the last, but is not counted.
    CHECK(of(service, {slice("web-1", {terminating(endpoint("10.0.0.5", "node-a"))})}) == HealthCheck{.port = 32000});
}

TEST_CASE("row 1.30: each family counts its own") {
    auto service = balanced();
    service.ip_families = {Family::ipv4, Family::ipv6};
    service.cluster_ips = {"10.96.0.10", "fd00:96::10"};
    auto v6 = slice("web-2", {endpoint("fd00::1", "node-a"), endpoint("fd00::2", "node-a")});
    v6.family = Family::ipv6;
    CHECK(of(service, {slice("web-1", {endpoint("10.0.0.1", "node-a")}), v6}) ==
          HealthCheck{.port = 32000, .local4 = 1, .local6 = 2});
}
