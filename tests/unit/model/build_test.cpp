// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which Services count, in which family, with which frontends, policies and verdicts: behaviour rows 1.1 to 1.8, 1.16.
#include "svclb/model/build.hpp"

#include <algorithm>

#include "fixtures.hpp"

using namespace svclb::model;
using namespace svclb::model::test;

TEST_CASE("a Service with one ready endpoint forwards to it") {
    const auto state = only(build(web(), {slice("web-1", {endpoint("10.0.0.1")})}));
    CHECK(state == ServicePortState{
                       .id = {{"default", "web"}, "http", Protocol::tcp, Family::ipv4},
                       .created = "2024-01-02T03:04:05Z",
                       .frontends = {{address("10.96.0.10"), 80, Protocol::tcp, FrontendKind::cluster_ip,
                                      TrafficPolicy::cluster}},
                       .backends = {{.address = address("10.0.0.1"),
                                     .port = 8080,
                                     .node = "node-b",
                                     .zone = "",
                                     .state = BackendState::ready,
                                     .serving = true,
                                     .in_cluster = true,
                                     .in_local = false,
                                     .weight = 1}},
                       .cluster = Verdict::forward,
                       .local = Verdict::reject,
                   });
}

TEST_CASE("row 1.1: a Service or slice of somebody else is left alone") {
    for (const auto* value : {"", "other-proxy"}) {
        auto service = web();
        service.labels.emplace(kProxyNameLabel, value);
        CHECK(build(service, {slice("web-1", {endpoint("10.0.0.1")})}).state.empty());
    }
    // The headless label counts on slices only: a Service says by its clusterIP that it is headless.
    auto labelled = web();
    labelled.labels.emplace(kHeadlessLabel, "");
    CHECK(all(only(build(labelled, {slice("web-1", {endpoint("10.0.0.1")})}))) == Texts{"10.0.0.1:8080"});

    auto headless = slice("web-1", {endpoint("10.0.0.1")});
    headless.labels.emplace(kHeadlessLabel, "");
    CHECK(all(only(build(web(), {headless}))).empty());
    // The proxy name counts on Services only.
    auto foreign = slice("web-1", {endpoint("10.0.0.1")});
    foreign.labels.emplace(kProxyNameLabel, "other");
    CHECK(all(only(build(web(), {foreign}))) == Texts{"10.0.0.1:8080"});
}

TEST_CASE("row 1.2: headless Services, Services without an address and ExternalName are none of ours") {
    for (const auto* cluster_ip : {"", "None"}) {
        auto service = web();
        service.cluster_ip = cluster_ip;
        CHECK(build(service, {slice("web-1", {endpoint("10.0.0.1")})}).state.empty());
    }
    auto external_name = web();  // with a ClusterIP left over
    external_name.type = ServiceType::external_name;
    CHECK(build(external_name, {}).state.empty());
}

TEST_CASE("row 1.3: each family has the ClusterIP at its own place in ipFamilies") {
    struct Row {
        std::string cluster_ip;
        std::vector<std::string> cluster_ips;
        std::vector<Family> families;
        std::vector<std::string> expected;  // "IPv4 10.96.0.10", one for each service port
    };
    const std::vector<Row> rows{
        {"10.96.0.10", {"10.96.0.10"}, {Family::ipv4}, {"IPv4 10.96.0.10"}},
        {"fd00::10", {"fd00::10"}, {Family::ipv6}, {"IPv6 fd00::10"}},
        {"10.96.0.10", {"10.96.0.10", "fd00::10"}, {Family::ipv4, Family::ipv6}, {"IPv4 10.96.0.10", "IPv6 fd00::10"}},
        {"fd00::10", {"fd00::10", "10.96.0.10"}, {Family::ipv6, Family::ipv4}, {"IPv4 10.96.0.10", "IPv6 fd00::10"}},
        {"10.96.0.10", {}, {}, {"IPv4 10.96.0.10"}},
        {"fd00::10", {}, {}, {"IPv6 fd00::10"}},
        {"10.96.0.10", {"10.96.0.10"}, {Family::ipv4, Family::ipv6}, {"IPv4 10.96.0.10"}},
        {"10.96.0.10", {}, {Family::ipv4}, {}},
    };
    for (const auto& row : rows) {
        auto service = web();
        service.cluster_ip = row.cluster_ip;
        service.cluster_ips = row.cluster_ips;
        service.ip_families = row.families;
        const auto built = build(service, {});
        std::vector<std::string> found;
        for (const auto& port : built.state) {
            REQUIRE(port.frontends.size() == 1);
            found.push_back(fmt::format("{} {}", to_string(port.id.family), to_string(port.frontends[0].address)));
        }
        CAPTURE(row.cluster_ip, row.cluster_ips.size(), row.families.size());
        CHECK(found == row.expected);
        CHECK(built.problems.empty());
    }
}

TEST_CASE("row 1.4: one port number in three protocols is three service ports with backends of their own") {
    auto service = web();
    service.ports = {{.name = "u", .protocol = Protocol::udp, .port = 53},
                     {.name = "t", .protocol = Protocol::tcp, .port = 53},
                     {.name = "s", .protocol = Protocol::sctp, .port = 53}};
    auto one = slice("web-1", {endpoint("10.0.0.1")});
    one.ports = {{.name = "t", .protocol = Protocol::tcp, .port = 1053},
                 {.name = "u", .protocol = Protocol::udp, .port = 2053},
                 {.name = "s", .protocol = Protocol::sctp, .port = 3053}};
    const auto built = build(service, {one});
    REQUIRE(built.state.size() == 3);
    CHECK(std::ranges::is_sorted(built.state, {}, &ServicePortState::id));
    CHECK(built.state[0].id.port_name == "s");
    CHECK(all(built.state[0]) == Texts{"10.0.0.1:3053"});
    CHECK(all(built.state[1]) == Texts{"10.0.0.1:1053"});
    CHECK(all(built.state[2]) == Texts{"10.0.0.1:2053"});
}

TEST_CASE("two ports of one name and protocol are told, and the first one is used") {
    auto service = web();
    service.ports.push_back({.name = "http", .protocol = Protocol::tcp, .port = 81});
    const auto built = build(service, {});
    REQUIRE(built.state.size() == 1);
    CHECK(built.state[0].frontends[0].port == 80);
    CHECK(built.problems == std::vector<Problem>{{"Service default/web",
                                                  "spec.ports: two ports have the name \"http\" and protocol TCP, the "
                                                  "first one is used"}});
}

// Whether the port is reachable from outside shows in the Cluster set: with an internal policy Local, nobody else
// wants it.
static bool accessible(const Service& service) {
    const auto built = build(with_policies(service, TrafficPolicy::local, TrafficPolicy::cluster),
                             {slice("web-1", {endpoint("10.0.0.1")})});
    REQUIRE(built.state.size() == 1);
    return built.state[0].cluster == Verdict::forward;
}

TEST_CASE("row 1.5: a load-balancer entry counts with an address of the family and ipMode VIP or none") {
    const auto with_ingress = [](std::string ip, std::string mode) {
        auto service = web();
        service.type = ServiceType::load_balancer;
        service.ingress = {{.ip = std::move(ip), .ip_mode = std::move(mode)}};
        return service;
    };
    CHECK(accessible(with_ingress("192.0.2.1", "")));
    CHECK(accessible(with_ingress("192.0.2.1", "VIP")));
    CHECK_FALSE(accessible(with_ingress("192.0.2.1", "Proxy")));
    CHECK_FALSE(accessible(with_ingress("192.0.2.1", "Unheard")));
    CHECK_FALSE(accessible(with_ingress("2001:db8::1", "")));
    CHECK_FALSE(accessible(with_ingress("", "")));  // host name only
}

TEST_CASE("row 1.6: externalIPs count in their own family") {
    auto service = web();
    service.external_ips = {"192.0.2.1"};
    CHECK(accessible(service));
    service.external_ips = {"2001:db8::1"};
    CHECK_FALSE(accessible(service));
}

TEST_CASE("row 1.7: an unreadable address is dropped and told, the Service stays") {
    auto service = web();
    service.type = ServiceType::load_balancer;
    service.external_ips = {"192.0.2.1", "192.0.2"};
    service.ingress = {{.ip = "300.0.0.1", .ip_mode = ""}};
    const auto built = build(service, {slice("web-1", {endpoint("10.0.0.1")})});
    REQUIRE(built.state.size() == 1);
    CHECK(cluster_set(built.state[0]) == Texts{"10.0.0.1:8080"});
    CHECK(built.problems ==
          std::vector<Problem>{
              {"Service default/web", "spec.externalIPs[1]: not an IP address: 192.0.2"},
              {"Service default/web", "status.loadBalancer.ingress[0].ip: not an IP address: 300.0.0.1"}});

    auto padded = web();
    padded.cluster_ips = {"010.096.000.010"};
    CHECK(only(build(padded, {})).frontends[0].address == address("10.96.0.10"));
}

TEST_CASE("an unreadable ClusterIP leaves the service port without a frontend") {
    struct Row {
        std::vector<std::string> cluster_ips;
        std::vector<Family> families;
        std::string problem;
    };
    for (const auto& [cluster_ips, families, problem] :
         {Row{{"10.96.0"}, {Family::ipv4}, "spec.clusterIPs[0]: not an IP address: 10.96.0"},
          Row{{"fd00::1"}, {Family::ipv4}, "spec.clusterIPs[0]: not an IPv4 address: fd00::1"},
          Row{{}, {}, "spec.clusterIP: not an IP address: 10.96.0"}}) {
        auto service = web();
        service.cluster_ip = "10.96.0";
        service.cluster_ips = cluster_ips;
        service.ip_families = families;
        const auto built = build(service, {});
        REQUIRE(built.state.size() == 1);
        CHECK(built.state[0].frontends.empty());
        CHECK(built.problems == std::vector<Problem>{{"Service default/web", problem}});
    }
}

TEST_CASE("row 1.8: the external policy counts only where somebody outside can reach the Service") {
    const auto effective = [](Service service) {
        const auto built = build(with_policies(std::move(service), TrafficPolicy::cluster, TrafficPolicy::local), {});
        REQUIRE(built.state.size() == 1);
        return built.state[0].external_policy;
    };
    CHECK(effective(web()) == TrafficPolicy::cluster);
    CHECK(effective(node_port_service()) == TrafficPolicy::local);

    auto with_external_ip = web();
    with_external_ip.external_ips = {"192.0.2.1"};
    CHECK(effective(with_external_ip) == TrafficPolicy::local);
    with_external_ip.external_ips = {"2001:db8::1"};
    CHECK(effective(with_external_ip) == TrafficPolicy::cluster);

    auto pending = web();  // its VIP is not there yet
    pending.type = ServiceType::load_balancer;
    CHECK(effective(pending) == TrafficPolicy::cluster);
    pending.ingress = {{.ip = "192.0.2.1", .ip_mode = ""}};
    CHECK(effective(pending) == TrafficPolicy::local);

    auto stray = web();  // a VIP in the status of type ClusterIP opens it, but its policy does not count
    stray.ingress = {{.ip = "192.0.2.1", .ip_mode = ""}};
    CHECK(effective(stray) == TrafficPolicy::cluster);
}

TEST_CASE("row 1.16: what happens to a new flow when a set is empty") {
    struct Row {
        std::string what;
        std::vector<Endpoint> endpoints;
        TrafficPolicy internal;
        Verdict cluster;
        Verdict local;
    };
    const auto here = endpoint("10.0.0.1", "node-a");
    const auto there = endpoint("10.0.0.2", "node-b");
    const std::vector<Row> rows{
        {"no endpoint, Cluster", {}, TrafficPolicy::cluster, Verdict::reject, Verdict::reject},
        {"no endpoint, Local", {}, TrafficPolicy::local, Verdict::reject, Verdict::reject},
        {"not ready, Local", {not_ready(here)}, TrafficPolicy::local, Verdict::reject, Verdict::reject},
        {"here, Local", {here}, TrafficPolicy::local, Verdict::reject, Verdict::forward},
        {"here, Cluster", {here}, TrafficPolicy::cluster, Verdict::forward, Verdict::reject},
        {"elsewhere, Local", {there}, TrafficPolicy::local, Verdict::reject, Verdict::drop},
        {"terminating elsewhere, Local", {terminating(there)}, TrafficPolicy::local, Verdict::reject, Verdict::drop},
        {"terminating here, Local", {terminating(here)}, TrafficPolicy::local, Verdict::reject, Verdict::forward},
    };
    for (const auto& row : rows) {
        const auto state =
            only(build(with_policies(web(), row.internal, TrafficPolicy::cluster), {slice("web-1", row.endpoints)}));
        CAPTURE(row.what);
        CHECK(state.cluster == row.cluster);
        CHECK(state.local == row.local);
        CHECK(state.internal_policy == row.internal);
        CHECK(state.frontends[0].set == row.internal);
    }
}

TEST_CASE("row 1.16: external policy Local drops what has endpoints only elsewhere, and the ClusterIP forwards") {
    const auto state = only(build(with_policies(node_port_service(), TrafficPolicy::cluster, TrafficPolicy::local),
                                  {slice("web-1", {endpoint("10.0.0.2", "node-b")})}));
    CHECK(state.cluster == Verdict::forward);
    CHECK(state.local == Verdict::drop);
    CHECK(state.frontends[0].set == TrafficPolicy::cluster);
}

TEST_CASE("session affinity has its timeout only when it is asked for") {
    auto service = web();
    service.affinity_s = 60;
    CHECK(only(build(service, {})).affinity_s == 0);
    service.client_ip_affinity = true;
    CHECK(only(build(service, {})).affinity_s == 60);
}

TEST_CASE("a node's view is its name and the zone label") {
    Node node{.name = "node-a", .labels = {}, .ips = {}, .pod_cidrs = {}};
    CHECK(node_view(node).name == "node-a");
    CHECK(node_view(node).zone.empty());
    node.labels.emplace(kZoneLabel, "zone-a");
    CHECK(node_view(node).zone == "zone-a");
}

TEST_CASE("building twice is equal") {
    const auto service = with_policies(node_port_service(), TrafficPolicy::local, TrafficPolicy::local);
    const std::vector slices{slice("web-1", {endpoint("10.0.0.1", "node-a"), terminating(endpoint("10.0.0.2"))}),
                             slice("web-2", {endpoint("10.0.0.3"), endpoint("bad")})};
    const auto first = build(service, slices);
    const auto second = build(service, slices);
    CHECK(first.state == second.state);
    CHECK(first.problems == second.problems);
    CHECK_FALSE(first.problems.empty());
}
