// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Frontends beside the ClusterIP: which addresses, by which set from inside and from outside, and for whom. Behaviour
// rows 1.5 to 1.7, 1.16, 1.20, 1.22, 1.24 and 1.25.
#include "fixtures.hpp"

using namespace svclb::model;
using namespace svclb::model::test;

namespace {

// Its own address and one beside it, both of which serve node ports.
NodeView serving_node() {
    auto node = node_a;
    node.primary = {address("192.168.0.1"), address("fd00:168::1")};
    node.node_port_addresses = {address("192.168.0.1"), address("192.168.9.1"), address("fd00:168::1")};
    return node;
}

Service everywhere() {
    auto service = node_port_service();
    service.type = ServiceType::load_balancer;
    service.external_ips = {"192.0.2.1", "2001:db8::1"};
    service.ingress = {{.ip = "198.51.100.1", .ip_mode = "VIP"},
                       {.ip = "198.51.100.2", .ip_mode = "Proxy"},
                       {.ip = "2001:db8:100::1", .ip_mode = ""},
                       {.ip = "", .ip_mode = "VIP"}};
    return service;
}

Texts texts_of(const std::vector<Frontend>& frontends) {
    constexpr std::array kKinds{"?", "clusterIP", "nodePort", "externalIP", "loadBalancer"};
    Texts texts;
    for (const auto& frontend : frontends)
        texts.push_back(fmt::format("{}/{} {}", endpoint_text(frontend.address, frontend.port),
                                    to_string(frontend.protocol), kKinds.at(static_cast<std::size_t>(frontend.kind))));
    return texts;
}

std::optional<Texts> ranges_of(const ServicePortState& state) {
    bool asks = false;
    for (const auto& frontend : state.frontends) {
        const bool vip = frontend.kind == FrontendKind::load_balancer;
        if (!vip) CHECK_FALSE(frontend.source_ranges);
        asks |= vip && frontend.source_ranges;
    }
    if (!asks) {
        CHECK(state.source_ranges.empty());
        return std::nullopt;
    }
    Texts texts;
    for (const auto& range : state.source_ranges) texts.push_back(to_string(range));
    return texts;
}

}  // namespace

TEST_CASE("rows 1.5, 1.6 and 1.24: each kind of address of the family is a frontend") {
    const auto v4 = only(build(everywhere(), {}, serving_node()));
    CHECK(texts_of(v4.frontends) == Texts{"10.96.0.10:80/TCP clusterIP", "192.0.2.1:80/TCP externalIP",
                                          "192.168.0.1:30080/TCP nodePort", "192.168.9.1:30080/TCP nodePort",
                                          "198.51.100.1:80/TCP loadBalancer"});

    auto service = everywhere();
    service.cluster_ip = "fd00:96::10";
    service.cluster_ips = {"fd00:96::10"};
    service.ip_families = {Family::ipv6};
    const auto v6 = only(build(service, {}, serving_node()));
    CHECK(texts_of(v6.frontends) == Texts{"[2001:db8::1]:80/TCP externalIP", "[2001:db8:100::1]:80/TCP loadBalancer",
                                          "[fd00:96::10]:80/TCP clusterIP", "[fd00:168::1]:30080/TCP nodePort"});
}

TEST_CASE("row 1.24: without an address of the node a node port is no frontend, without a node port neither") {
    CHECK(texts_of(only(build(node_port_service(), {}, node_a)).frontends) == Texts{"10.96.0.10:80/TCP clusterIP"});
    CHECK(texts_of(only(build(web(), {}, serving_node())).frontends) == Texts{"10.96.0.10:80/TCP clusterIP"});
}

TEST_CASE("rows 1.20 and 1.22: from inside an external address uses the Cluster set, from outside the policy's") {
    for (const auto internal : {TrafficPolicy::cluster, TrafficPolicy::local}) {
        for (const auto external : {TrafficPolicy::cluster, TrafficPolicy::local}) {
            const auto state = only(build(with_policies(everywhere(), internal, external), {}, serving_node()));
            REQUIRE(state.frontends.size() == 5);
            for (const auto& frontend : state.frontends) {
                const bool cluster_ip = frontend.kind == FrontendKind::cluster_ip;
                CAPTURE(endpoint_text(frontend.address, frontend.port), internal, external);
                CHECK(frontend.set == (cluster_ip ? internal : TrafficPolicy::cluster));
                CHECK(frontend.outside_set == (cluster_ip ? internal : external));
            }
        }
    }
}

TEST_CASE("rows 1.16 and 1.22: what an external address does with a new flow from inside and from outside") {
    struct Row {
        std::string what;
        std::vector<Endpoint> endpoints;
        TrafficPolicy external;
        Verdict inside;
        Verdict outside;
    };
    const auto here = endpoint("10.0.0.1", "node-a");
    const auto there = endpoint("10.0.0.2", "node-b");
    constexpr auto kCluster = TrafficPolicy::cluster;
    constexpr auto kLocal = TrafficPolicy::local;
    for (const auto& row : std::vector<Row>{
             {"none, Cluster", {}, kCluster, Verdict::reject, Verdict::reject},
             {"none, Local", {}, kLocal, Verdict::reject, Verdict::reject},
             {"not ready, Local", {not_ready(here)}, kLocal, Verdict::reject, Verdict::reject},
             {"elsewhere, Cluster", {there}, kCluster, Verdict::forward, Verdict::forward},
             {"elsewhere, Local", {there}, kLocal, Verdict::forward, Verdict::drop},
             {"terminating elsewhere, Local", {terminating(there)}, kLocal, Verdict::forward, Verdict::drop},
             {"here, Local", {here, there}, kLocal, Verdict::forward, Verdict::forward},
         }) {
        // The internal policy makes no difference to them.
        for (const auto internal : {kCluster, kLocal}) {
            const auto state = only(build(with_policies(everywhere(), internal, row.external),
                                          {slice("web-1", row.endpoints)}, serving_node()));
            const auto verdict = [&](TrafficPolicy set) { return set == kLocal ? state.local : state.cluster; };
            for (const auto& frontend : state.frontends) {
                if (frontend.kind == FrontendKind::cluster_ip) continue;
                CAPTURE(row.what, endpoint_text(frontend.address, frontend.port), internal);
                CHECK(verdict(frontend.set) == row.inside);
                CHECK(verdict(frontend.outside_set) == row.outside);
            }
        }
    }
}

TEST_CASE("an address that one Service names twice is one frontend, of the kind with most say") {
    auto service = everywhere();
    service.external_ips = {"192.0.2.1", "198.51.100.1", "10.96.0.10", "192.0.2.1"};
    service.ports[0].node_port = 80;
    auto node = serving_node();
    node.node_port_addresses = {address("192.0.2.1")};
    CHECK(texts_of(only(build(service, {}, node)).frontends) ==
          Texts{"10.96.0.10:80/TCP clusterIP", "192.0.2.1:80/TCP externalIP", "198.51.100.1:80/TCP loadBalancer"});
}

TEST_CASE("an external address that means something else to every host is dropped and told") {
    auto service = web();
    service.external_ips = {"127.0.0.1", "192.0.2.1"};
    service.ingress = {{.ip = "0.0.0.0", .ip_mode = ""}, {.ip = "224.0.0.1", .ip_mode = ""}};
    const auto built = build(service, {});
    REQUIRE(built.state.size() == 1);
    CHECK(texts_of(built.state[0].frontends) == Texts{"10.96.0.10:80/TCP clusterIP", "192.0.2.1:80/TCP externalIP"});
    CHECK(built.problems ==
          std::vector<Problem>{
              {"Service default/web", "spec.externalIPs[0]: not an address that can be a Service's: 127.0.0.1"},
              {"Service default/web",
               "status.loadBalancer.ingress[0].ip: not an address that can be a Service's: 0.0.0.0"},
              {"Service default/web",
               "status.loadBalancer.ingress[1].ip: not an address that can be a Service's: 224.0.0.1"}});
}

TEST_CASE("row 1.25: source ranges hold for load-balancer addresses of their family") {
    const auto allowed = [](std::vector<std::string> texts) {
        auto service = everywhere();
        service.source_ranges = std::move(texts);
        return ranges_of(only(build(service, {}, serving_node())));
    };
    CHECK(allowed({}) == std::nullopt);
    CHECK(allowed({"2001:db8::/32"}) == std::nullopt);
    CHECK(allowed({"10.0.0.0/8", "0.0.0.0/0"}) == std::nullopt);
    CHECK(allowed({"10.0.0.0/8", "::/0"}) == Texts{"10.0.0.0/8"});
    CHECK(allowed({" 203.0.113.007/24\t", "10.0.0.0/8", "10.9.0.0/8"}) == Texts{"10.0.0.0/8", "203.0.113.0/24"});
    // The node's own address is in one of them: so may be the VIP that it dials itself from.
    CHECK(allowed({"192.168.0.0/16"}) == Texts{"192.168.0.0/16", "198.51.100.1/32"});
}

TEST_CASE("row 1.25: an unreadable source range is told, and opens nothing") {
    auto service = everywhere();
    service.source_ranges = {"10.0.0.0/8", "10.0.0"};
    auto built = build(service, {}, serving_node());
    CHECK(ranges_of(built.state.at(0)) == Texts{"10.0.0.0/8"});
    CHECK(built.problems ==
          std::vector<Problem>{{"Service default/web", "spec.loadBalancerSourceRanges[1]: not a CIDR: 10.0.0"}});
    service.source_ranges = {"10.0.0"};
    built = build(service, {}, serving_node());
    CHECK(ranges_of(built.state.at(0)) == Texts{});
}
