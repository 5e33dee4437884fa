// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which endpoints are behind a service port and in which set: behaviour rows 1.9 to 1.15.
#include <algorithm>

#include "fixtures.hpp"

using namespace svclb::model;
using namespace svclb::model::test;

TEST_CASE("row 1.9: slices are united, those of other Services and families ignored") {
    auto other_service = slice("web-2", {endpoint("10.0.0.2")});
    other_service.service = "api";
    auto unlabelled = slice("web-3", {endpoint("10.0.0.3")});
    unlabelled.service = "";
    auto other_namespace = slice("web-4", {endpoint("10.0.0.4")});
    other_namespace.key.ns = "kube-system";
    auto v6 = slice("web-5", {endpoint("fd00::5")});
    v6.family = Family::ipv6;
    auto names = slice("web-6", {endpoint("web.example.com")});
    names.family.reset();
    const auto state = only(build(web(), {slice("web-1", {endpoint("10.0.0.1")}), other_service, unlabelled,
                                          other_namespace, v6, names, slice("web-7", {endpoint("10.0.0.7")})}));
    CHECK(all(state) == Texts{"10.0.0.1:8080", "10.0.0.7:8080"});
}

TEST_CASE("each family has the endpoints of its own slices") {
    auto service = web();
    service.cluster_ips = {"10.96.0.10", "fd00::10"};
    service.ip_families = {Family::ipv4, Family::ipv6};
    auto v6 = slice("web-6", {endpoint("fd00:1::1")});
    v6.family = Family::ipv6;
    const auto built = build(service, {v6, slice("web-4", {endpoint("10.0.0.1")})});
    REQUIRE(built.state.size() == 2);
    CHECK(all(built.state[0]) == Texts{"10.0.0.1:8080"});
    CHECK(all(built.state[1]) == Texts{"[fd00:1::1]:8080"});
}

TEST_CASE("row 1.10: ports pair by name and protocol") {
    const auto backends = [](const std::string& service_port, EndpointPort slice_port) {
        auto service = web();
        service.ports[0].name = service_port;
        auto one = slice("web-1", {endpoint("10.0.0.1")});
        one.ports.clear();
        one.ports.push_back(std::move(slice_port));
        return all(only(build(service, {one})));
    };
    const Texts found{"10.0.0.1:8080"};
    EndpointPort port;
    port.port = 8080;
    port.name = "";
    CHECK(backends("", port) == found);
    port.name = "http";
    CHECK(backends("http", port) == found);
    CHECK(backends("https", port).empty());
    port.protocol = Protocol::udp;
    CHECK(backends("http", port).empty());
    port.protocol = Protocol::tcp;
    port.port = 0;
    CHECK(backends("http", port).empty());
    port.port.reset();
    CHECK(backends("http", port).empty());
}

TEST_CASE("row 1.10: one name may have another number in each slice, and twice in one") {
    auto one = slice("web-1", {endpoint("10.0.0.1")});
    auto two = slice("web-2", {endpoint("10.0.0.2")});
    two.ports = {{"http", Protocol::tcp, 9090}, {"http", Protocol::tcp, 9091}};
    CHECK(all(only(build(web(), {one, two}))) == Texts{"10.0.0.1:8080", "10.0.0.2:9090", "10.0.0.2:9091"});
}

TEST_CASE("row 1.10: only the first address of an endpoint is used") {
    auto two_addresses = endpoint("10.0.0.1");
    two_addresses.addresses.emplace_back("10.0.0.2");
    CHECK(all(only(build(web(), {slice("web-1", {two_addresses})}))) == Texts{"10.0.0.1:8080"});
}

TEST_CASE("row 1.10: an endpoint without an address and a port without a name are skipped and told") {
    auto none = endpoint("10.0.0.3");
    none.addresses.clear();
    auto one = slice("web-1", {none, endpoint("10.0.0.1")});
    one.ports.push_back({.name = {}, .protocol = Protocol::tcp, .port = 9090});
    one.ports.push_back({.name = "any", .protocol = Protocol::tcp, .port = {}});  // every port: a legal value
    const auto built = build(web(), {one});
    REQUIRE(built.state.size() == 1);
    CHECK(all(built.state[0]) == Texts{"10.0.0.1:8080"});
    CHECK(built.problems == std::vector<Problem>{{"EndpointSlice default/web-1", "ports[1].name: missing"},
                                                 {"EndpointSlice default/web-1", "endpoints[0].addresses: missing"}});
}

TEST_CASE("an endpoint whose address cannot be read, or is of another family, is skipped and told once") {
    auto service = web();
    service.ports.push_back({.name = "again", .protocol = Protocol::tcp, .port = 81});
    auto one = slice("web-1", {endpoint("10.0.0.1"), endpoint("10.0.0"), endpoint("fd00::1")});
    one.ports.push_back({.name = "again", .protocol = Protocol::tcp, .port = 81});
    const auto built = build(service, {one});
    REQUIRE(built.state.size() == 2);
    CHECK(all(built.state[0]) == Texts{"10.0.0.1:81"});
    CHECK(all(built.state[1]) == Texts{"10.0.0.1:8080"});
    CHECK(built.problems ==
          std::vector<Problem>{
              {"EndpointSlice default/web-1", "endpoints[1].addresses[0]: not an IPv4 address: 10.0.0"},
              {"EndpointSlice default/web-1", "endpoints[2].addresses[0]: not an IPv4 address: fd00::1"}});
}

TEST_CASE("row 1.11: absent conditions mean ready, serving and not terminating") {
    struct Row {
        std::optional<bool> ready;
        std::optional<bool> serving;
        std::optional<bool> terminating;
        BackendState state;
        bool keeps_udp;
        bool used;
    };
    const std::vector<Row> rows{
        {{}, {}, {}, BackendState::ready, true, true},
        {true, true, false, BackendState::ready, true, true},
        {true, false, {}, BackendState::ready, true, true},     // publishNotReadyAddresses, row 1.33
        {true, true, true, BackendState::ready, true, true},    // the same, terminating
        {true, false, true, BackendState::ready, true, true},   // the same, and its probes fail
        {false, {}, {}, BackendState::not_ready, true, false},  // serving, but not terminating: never used
        {false, {}, true, BackendState::draining, true, true},  // the last one left
        {false, false, true, BackendState::not_ready, false, false},
        {false, false, {}, BackendState::not_ready, false, false},
    };
    for (const auto& row : rows) {
        auto one = endpoint("10.0.0.1");
        one.ready = row.ready;
        one.serving = row.serving;
        one.terminating = row.terminating;
        const auto state = only(build(web(), {slice("web-1", {one})}));
        REQUIRE(state.backends.size() == 1);
        CAPTURE(row.ready, row.serving, row.terminating);
        CHECK(state.backends[0].state == row.state);
        CHECK(state.backends[0].serving == row.keeps_udp);
        CHECK(state.backends[0].in_cluster == row.used);
    }
}

TEST_CASE("rows 1.32 and 1.33: UDP stays with what serves or is ready, whatever the policy and hints leave of it") {
    auto ready_only = endpoint("10.0.0.1");
    ready_only.serving = false;
    auto serving_only = endpoint("10.0.0.2");
    serving_only.ready = false;
    const auto there = zone_hint(endpoint("10.0.0.3", "node-b"), "zone-b");
    const auto ending = terminating(endpoint("10.0.0.4"));
    const std::vector slices{
        slice("web-1", {ready_only, serving_only, there, ending, not_ready(endpoint("10.0.0.5"))})};
    for (const auto policy : {TrafficPolicy::cluster, TrafficPolicy::local}) {
        const auto state = only(build(with_policies(web(), policy, TrafficPolicy::cluster), slices));
        CHECK(texts(state, [](const Backend& backend) { return backend.serving; }) ==
              Texts{"10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080", "10.0.0.4:8080"});
    }
}

TEST_CASE("row 1.11: local is the own node by name, and no name is never local") {
    auto nowhere = endpoint("10.0.0.3");
    nowhere.node_name.reset();
    auto unnamed = endpoint("10.0.0.4", "");
    const std::vector slices{
        slice("web-1", {endpoint("10.0.0.1", "node-a"), endpoint("10.0.0.2", "node-b"), nowhere, unnamed})};
    const auto service = with_policies(web(), TrafficPolicy::local, TrafficPolicy::cluster);
    CHECK(local_set(only(build(service, slices))) == Texts{"10.0.0.1:8080"});
    CHECK(local_set(only(build(service, slices, NodeView{}))).empty());
}

TEST_CASE("row 1.12: of one address:port the later one counts, unless it is terminating") {
    const auto plain = endpoint("10.0.0.1", "first");
    const auto later = endpoint("10.0.0.1", "second");
    const auto node_of = [](const Endpoint& first, const Endpoint& second) {
        const auto state = only(build(web(), {slice("web-1", {first}), slice("web-2", {second})}));
        REQUIRE(state.backends.size() == 1);
        return state.backends[0].node;
    };
    CHECK(node_of(plain, later) == "second");
    CHECK(node_of(plain, terminating(later)) == "first");
    CHECK(node_of(terminating(plain), later) == "second");
    CHECK(node_of(terminating(plain), terminating(later)) == "first");
    CHECK(node_of(plain, not_ready(later)) == "second");
}

TEST_CASE("row 1.12: one address on two port numbers is two backends") {
    auto two = slice("web-2", {endpoint("10.0.0.1")});
    two.ports[0].port = 9090;
    CHECK(all(only(build(web(), {slice("web-1", {endpoint("10.0.0.1")}), two}))) ==
          Texts{"10.0.0.1:8080", "10.0.0.1:9090"});
}

TEST_CASE("row 1.12: backends are in the order of their text, those of the Local set first") {
    const std::vector endpoints{endpoint("10.0.0.9", "node-a"), endpoint("10.0.0.10", "node-a"),
                                endpoint("10.0.0.2", "node-b"), endpoint("10.0.0.1", "node-b")};
    const std::vector slices{slice("web-1", endpoints)};
    CHECK(all(only(build(web(), slices))) ==
          Texts{"10.0.0.10:8080", "10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.9:8080"});
    const auto local = with_policies(web(), TrafficPolicy::local, TrafficPolicy::cluster);
    CHECK(all(only(build(local, slices))) ==
          Texts{"10.0.0.10:8080", "10.0.0.9:8080", "10.0.0.1:8080", "10.0.0.2:8080"});
}

TEST_CASE("row 1.13: which of the two sets is wanted") {
    const std::vector slices{slice("web-1", {endpoint("10.0.0.1", "node-a"), endpoint("10.0.0.2", "node-b")})};
    const Texts both{"10.0.0.1:8080", "10.0.0.2:8080"};
    const Texts here{"10.0.0.1:8080"};
    struct Row {
        Service service;
        TrafficPolicy internal;
        TrafficPolicy external;
        Texts cluster;
        Texts local;
    };
    constexpr auto kCluster = TrafficPolicy::cluster;
    constexpr auto kLocal = TrafficPolicy::local;
    const std::vector<Row> rows{
        {web(), kCluster, kCluster, both, {}},
        {web(), kCluster, kLocal, both, {}},  // nobody outside can use it
        {web(), kLocal, kCluster, {}, here},
        {web(), kLocal, kLocal, {}, here},
        {node_port_service(), kCluster, kCluster, both, {}},
        {node_port_service(), kCluster, kLocal, both, here},
        {node_port_service(), kLocal, kCluster, both, here},
        {node_port_service(), kLocal, kLocal, both, here},
    };
    for (const auto& row : rows) {
        const auto state = only(build(with_policies(row.service, row.internal, row.external), slices));
        CAPTURE(row.service.type, row.internal, row.external);
        CHECK(cluster_set(state) == row.cluster);
        CHECK(local_set(state) == row.local);
        CHECK(all(state) == both);
    }
}

TEST_CASE("row 1.13: the two sets fall back to terminating endpoints independently") {
    const auto service = with_policies(node_port_service(), TrafficPolicy::cluster, TrafficPolicy::local);
    const auto here = endpoint("10.0.0.1", "node-a");
    const auto there = endpoint("10.0.0.2", "node-b");
    struct Row {
        std::string what;
        std::vector<Endpoint> endpoints;
        Texts cluster;
        Texts local;
    };
    const std::vector<Row> rows{
        {"ready everywhere", {here, there}, {"10.0.0.1:8080", "10.0.0.2:8080"}, {"10.0.0.1:8080"}},
        {"terminating beside ready", {here, terminating(there)}, {"10.0.0.1:8080"}, {"10.0.0.1:8080"}},
        // The Local set is no part of the Cluster set here.
        {"terminating here only", {terminating(here), there}, {"10.0.0.2:8080"}, {"10.0.0.1:8080"}},
        {"terminating everywhere",
         {terminating(here), terminating(there)},
         {"10.0.0.1:8080", "10.0.0.2:8080"},
         {"10.0.0.1:8080"}},
        {"not ready is never used", {not_ready(here), not_ready(there)}, {}, {}},
    };
    for (const auto& row : rows) {
        const auto state = only(build(service, {slice("web-1", row.endpoints)}));
        CAPTURE(row.what);
        CHECK(cluster_set(state) == row.cluster);
        CHECK(local_set(state) == row.local);
    }
}

TEST_CASE("row 1.13: hints are applied neither to the Local set nor to the fallback") {
    const auto service = with_policies(node_port_service(), TrafficPolicy::cluster, TrafficPolicy::local);
    const auto here = zone_hint(endpoint("10.0.0.1", "node-a"), "zone-b");
    const auto there = zone_hint(endpoint("10.0.0.2", "node-b"), "zone-a");
    const auto ready = only(build(service, {slice("web-1", {here, there})}));
    CHECK(cluster_set(ready) == Texts{"10.0.0.2:8080"});
    CHECK(local_set(ready) == Texts{"10.0.0.1:8080"});
    const auto ending = only(build(service, {slice("web-1", {terminating(here), terminating(there)})}));
    CHECK(cluster_set(ending) == Texts{"10.0.0.1:8080", "10.0.0.2:8080"});
}

TEST_CASE("row 1.14: hints filter all or nothing") {
    const auto one = endpoint("10.0.0.1");
    const auto two = endpoint("10.0.0.2");
    const Texts both{"10.0.0.1:8080", "10.0.0.2:8080"};
    const Texts first{"10.0.0.1:8080"};
    const NodeView no_zone{.name = "node-a", .zone = ""};
    struct Row {
        std::string what;
        std::vector<Endpoint> endpoints;
        NodeView node;
        Texts expected;
    };
    const std::vector<Row> rows{
        {"zone: every one has a hint, one names ours",
         {zone_hint(one, "zone-a"), zone_hint(two, "zone-b")},
         node_a,
         first},
        {"zone: one endpoint without a hint spoils it", {zone_hint(one, "zone-a"), two}, node_a, both},
        {"zone: nobody names ours", {zone_hint(one, "zone-b"), zone_hint(two, "zone-c")}, node_a, both},
        {"zone: our node has none", {zone_hint(one, "zone-a"), zone_hint(two, "zone-b")}, no_zone, both},
        {"zone: a hint for no zone is not ours", {zone_hint(one, ""), zone_hint(two, "zone-b")}, no_zone, both},
        {"zone: several hints",
         {zone_hint(zone_hint(one, "zone-b"), "zone-a"), zone_hint(two, "zone-b")},
         node_a,
         first},
        {"zone: one that is not ready needs no hint",
         {zone_hint(one, "zone-a"), not_ready(two), zone_hint(endpoint("10.0.0.3"), "zone-b")},
         node_a,
         first},
        {"zone: one that is not ready gives no hint either",
         {zone_hint(one, "zone-b"), not_ready(zone_hint(two, "zone-a"))},
         node_a,
         first},
        {"node: every one has a hint, one names us",
         {node_hint(one, "node-a"), node_hint(two, "node-b")},
         no_zone,
         first},
        {"node: one endpoint without a hint spoils it", {node_hint(one, "node-a"), two}, node_a, both},
        {"node before zone",
         {node_hint(zone_hint(one, "zone-b"), "node-a"), node_hint(zone_hint(two, "zone-a"), "node-b")},
         node_a,
         first},
        {"zone where no node hint names us",
         {node_hint(zone_hint(one, "zone-a"), "node-b"), node_hint(zone_hint(two, "zone-b"), "node-c")},
         node_a,
         first},
    };
    for (const auto& row : rows) {
        CAPTURE(row.what);
        CHECK(cluster_set(only(build(web(), {slice("web-1", row.endpoints)}, row.node))) == row.expected);
    }
}

TEST_CASE("row 1.14: hints are counted over all slices of the service port") {
    const auto hinted = zone_hint(endpoint("10.0.0.1"), "zone-a");
    const auto state = only(build(web(), {slice("web-1", {hinted}), slice("web-2", {endpoint("10.0.0.2")})}));
    CHECK(cluster_set(state) == Texts{"10.0.0.1:8080", "10.0.0.2:8080"});
}

TEST_CASE("row 1.15: what the controller writes for PreferSameNode keeps to the node, else to the zone") {
    const auto made = [](std::string ip, const std::string& node, const std::string& zone) {
        return node_hint(zone_hint(endpoint(std::move(ip), node), zone), node);
    };
    const std::vector slices{slice("web-1", {made("10.0.0.1", "node-a", "zone-a"), made("10.0.0.2", "node-b", "zone-a"),
                                             made("10.0.0.3", "node-c", "zone-c")})};
    CHECK(cluster_set(only(build(web(), slices, {.name = "node-a", .zone = "zone-a"}))) == Texts{"10.0.0.1:8080"});
    CHECK(cluster_set(only(build(web(), slices, {.name = "node-x", .zone = "zone-a"}))) ==
          Texts{"10.0.0.1:8080", "10.0.0.2:8080"});
    CHECK(cluster_set(only(build(web(), slices, {.name = "node-x", .zone = "zone-x"}))).size() == 3);
}

TEST_CASE("the algorithm annotation of a Service goes before the node's own choice") {
    const auto algorithm = [](const char* text, Algorithm of_node) {
        auto service = web();
        if (text != nullptr) service.annotations.emplace(kAlgorithmAnnotation, text);
        auto node = node_a;
        node.algorithm = of_node;
        const auto built = build(service, {}, node);
        return std::pair(built.state[0].algorithm, built.problems.empty() ? std::string() : built.problems[0].what);
    };
    CHECK(algorithm(nullptr, Algorithm::random) == std::pair(Algorithm::random, std::string()));
    CHECK(algorithm(nullptr, Algorithm::maglev) == std::pair(Algorithm::maglev, std::string()));
    CHECK(algorithm("maglev", Algorithm::random) == std::pair(Algorithm::maglev, std::string()));
    CHECK(algorithm("random", Algorithm::maglev) == std::pair(Algorithm::random, std::string()));
    CHECK(algorithm("Maglev\n", Algorithm::random) ==
          std::pair(Algorithm::random,
                    std::string("metadata.annotations[svclb.io/algorithm]: not random or maglev: Maglev\\x0a")));
}

TEST_CASE("the weight annotation of a slice weighs its endpoints") {
    const auto weight = [](const char* text) {
        auto one = slice("web-1", {endpoint("10.0.0.1")});
        one.annotations.emplace(kWeightAnnotation, text);
        const auto built = build(web(), {one});
        REQUIRE(built.state.size() == 1);
        return std::pair(int{built.state[0].backends[0].weight},
                         built.problems.empty() ? std::string() : built.problems[0].what);
    };
    CHECK(weight("1") == std::pair(1, std::string()));
    CHECK(weight("100") == std::pair(100, std::string()));
    for (const auto* bad : {"0", "101", "-1", "", "1.5", "many", "1 ", "99999999999"}) {
        CHECK(weight(bad) ==
              std::pair(1, fmt::format("metadata.annotations[svclb.io/weight]: not a weight from 1 to 100: {}", bad)));
    }
}

TEST_CASE("the order of slices does not matter") {
    auto weighted = slice("web-3", {endpoint("10.0.0.1", "third"), endpoint("10.0.0.7")});
    weighted.annotations.emplace(kWeightAnnotation, "none");
    std::vector slices{slice("web-1", {endpoint("10.0.0.1", "first"), endpoint("bad-1")}),
                       slice("web-2", {terminating(endpoint("10.0.0.1", "second")), endpoint("10.0.0.2", "node-a")}),
                       weighted, slice("web-4", {zone_hint(endpoint("10.0.0.4"), "zone-a"), endpoint("bad-4")})};
    const auto service = with_policies(node_port_service(), TrafficPolicy::local, TrafficPolicy::local);
    const auto by_name = [](const EndpointSlice& a, const EndpointSlice& b) { return a.key < b.key; };
    const auto expected = build(service, slices);
    REQUIRE(expected.state.size() == 1);
    CHECK(expected.problems.size() == 3);
    while (std::ranges::next_permutation(slices, by_name).found) {
        const auto built = build(service, slices);
        REQUIRE(built.state == expected.state);
        REQUIRE(built.problems == expected.problems);
    }
}
