// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "cluster.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <string>
#include <vector>

#include "svclb/model/keys.hpp"

namespace svclb::agent {
namespace {

using model::ObjectKey;

const ObjectKey kWeb{"default", "web"};
const ObjectKey kDns{"default", "dns"};

model::Service service(const ObjectKey& key, const std::string& ip) {
    model::Service made;
    made.key = key;
    made.cluster_ip = ip;
    made.cluster_ips = {ip};
    made.ip_families = {model::Family::ipv4};
    made.ports = {{.name = "p", .protocol = model::Protocol::tcp, .port = 80}};
    return made;
}

model::EndpointSlice slice(const std::string& name, const ObjectKey& owner, const std::string& ip) {
    model::EndpointSlice made;
    made.key = {owner.ns, name};
    made.service = owner.name;
    made.family = model::Family::ipv4;
    made.ports = {{.name = "p", .protocol = model::Protocol::tcp, .port = 8080}};
    model::Endpoint endpoint;
    endpoint.addresses = {ip};
    endpoint.zone = "zone-a";
    endpoint.zone_hints = {"zone-a"};
    made.endpoints = {endpoint};
    return made;
}

kube::Change changed(std::vector<model::Object> objects) {
    kube::Change change;
    change.changed = std::move(objects);
    return change;
}

std::vector<reconcile::ServiceChange> take(Cluster& cluster) {
    std::vector<reconcile::ServiceChange> changes;
    for (auto& [change, problems, health] : cluster.take_changes([](const auto&) { return false; })) {
        CHECK(problems.empty());
        changes.push_back(std::move(change));
    }
    return changes;
}

std::vector<std::string> backends(const reconcile::ServiceChange& change) {
    std::vector<std::string> addresses;
    for (const auto& port : change.state)
        for (const auto& backend : port.backends) addresses.push_back(to_string(backend.address));
    return addresses;
}

TEST_CASE("only the Service whose slice changed is built anew") {
    Cluster cluster{"node-a"};
    cluster.apply(
        changed({service(kWeb, "10.96.0.10"), service(kDns, "10.96.0.11"), slice("web-1", kWeb, "10.0.0.1")}));
    CHECK(take(cluster).size() == 2);
    CHECK(take(cluster).empty());

    cluster.apply(changed({slice("web-2", kWeb, "10.0.0.2")}));
    const auto changes = take(cluster);
    REQUIRE(changes.size() == 1);
    CHECK(changes[0].service == kWeb);
    CHECK(backends(changes[0]) == std::vector<std::string>{"10.0.0.1", "10.0.0.2"});
}

TEST_CASE("what comes again as it was, or with another trigger time only, builds nothing") {
    Cluster cluster{"node-a"};
    auto web = slice("web-1", kWeb, "10.0.0.1");
    web.annotations.emplace(model::kTriggerTimeAnnotation, "2024-05-06T07:09:00Z");
    cluster.apply(changed({service(kWeb, "10.96.0.10"), web}));
    CHECK(take(cluster).size() == 1);

    web.annotations.insert_or_assign(std::string{model::kTriggerTimeAnnotation}, "2024-05-06T07:10:00Z");
    cluster.apply(changed({service(kWeb, "10.96.0.10"), web}));
    CHECK(take(cluster).empty());
    CHECK(cluster.trigger_time(web.key) == "2024-05-06T07:10:00Z");

    web.annotations.emplace(model::kWeightAnnotation, "2");
    cluster.apply(changed({web}));
    CHECK(take(cluster).size() == 1);
    cluster.apply(changed({service(kWeb, "10.96.0.11")}));
    CHECK(take(cluster).size() == 1);
}

TEST_CASE("a slice that arrives before its Service is found when the Service comes") {
    Cluster cluster{"node-a"};
    cluster.apply(changed({slice("web-1", kWeb, "10.0.0.1")}));
    const auto before = take(cluster);
    REQUIRE(before.size() == 1);
    CHECK(before[0].state.empty());

    cluster.apply(changed({service(kWeb, "10.96.0.10")}));
    CHECK(backends(take(cluster).at(0)) == std::vector<std::string>{"10.0.0.1"});
}

TEST_CASE("a slice that is relabelled moves from one Service to the other") {
    Cluster cluster{"node-a"};
    cluster.apply(changed({service(kWeb, "10.96.0.10"), service(kDns, "10.96.0.11"), slice("s", kWeb, "10.0.0.1")}));
    take(cluster);

    cluster.apply(changed({slice("s", kDns, "10.0.0.1")}));
    const auto changes = take(cluster);
    REQUIRE(changes.size() == 2);
    CHECK(changes[0].service == kDns);
    CHECK(backends(changes[0]) == std::vector<std::string>{"10.0.0.1"});
    CHECK(backends(changes[1]).empty());
}

// An API server with our selectors tells of a label as if the object came or went; a manifest shows it.
TEST_CASE("row 1.1: a live Service that gets the label of another proxy goes, and comes back without it") {
    const bool selected = GENERATE(false, true);
    CAPTURE(selected);
    auto labelled = service(kWeb, "10.96.0.10");
    labelled.labels.emplace(model::kProxyNameLabel, "");
    Cluster cluster{"node-a"};
    cluster.apply(changed({service(kWeb, "10.96.0.10"), slice("web-1", kWeb, "10.0.0.1")}));
    CHECK(backends(take(cluster).at(0)) == std::vector<std::string>{"10.0.0.1"});

    kube::Change gone;
    gone.gone_services = {kWeb};
    cluster.apply(selected ? gone : changed({labelled}));
    const auto without = take(cluster);
    REQUIRE(without.size() == 1);
    CHECK(without[0].state.empty());

    cluster.apply(changed({service(kWeb, "10.96.0.10")}));
    CHECK(backends(take(cluster).at(0)) == std::vector<std::string>{"10.0.0.1"});
}

TEST_CASE("row 1.1: a live slice that gets the headless label goes, and comes back without it") {
    const bool selected = GENERATE(false, true);
    CAPTURE(selected);
    auto labelled = slice("web-1", kWeb, "10.0.0.1");
    labelled.labels.emplace(model::kHeadlessLabel, "");
    Cluster cluster{"node-a"};
    cluster.apply(changed({service(kWeb, "10.96.0.10"), slice("web-1", kWeb, "10.0.0.1")}));
    take(cluster);

    kube::Change gone;
    gone.gone_slices = {labelled.key};
    cluster.apply(selected ? gone : changed({labelled}));
    CHECK(backends(take(cluster).at(0)).empty());
    cluster.apply(changed({slice("web-1", kWeb, "10.0.0.1")}));
    CHECK(backends(take(cluster).at(0)) == std::vector<std::string>{"10.0.0.1"});
}

TEST_CASE("row 1.9: a slice replaces the one of its name, and changes told together are built once") {
    Cluster cluster{"node-a"};
    cluster.apply(changed({service(kWeb, "10.96.0.10"), slice("web-1", kWeb, "10.0.0.1")}));
    cluster.apply(changed({slice("web-1", kWeb, "10.0.0.2"), slice("web-2", kWeb, "10.0.0.3")}));
    const auto changes = take(cluster);
    REQUIRE(changes.size() == 1);
    CHECK(backends(changes[0]) == std::vector<std::string>{"10.0.0.2", "10.0.0.3"});
}

TEST_CASE("a Service that is gone is handed on without ports, a slice that is gone leaves its Service") {
    Cluster cluster{"node-a"};
    cluster.apply(
        changed({service(kWeb, "10.96.0.10"), service(kDns, "10.96.0.11"), slice("dns-1", kDns, "10.0.0.1")}));
    take(cluster);

    kube::Change change;
    change.gone_services = {kWeb};
    change.gone_slices = {{"default", "dns-1"}};
    cluster.apply(change);
    const auto changes = take(cluster);
    REQUIRE(changes.size() == 2);
    CHECK(changes[0].service == kDns);
    CHECK(changes[0].state.size() == 1);
    CHECK(backends(changes[0]).empty());
    CHECK(changes[1].service == kWeb);
    CHECK(changes[1].state.empty());
    CHECK(cluster.service_keys() == std::set<ObjectKey>{kDns});
}

TEST_CASE("the own node leaves when it says so or is gone, and may come back") {
    Cluster cluster{"node-a"};
    const auto told = [&](const std::string& name, bool leaving) {
        model::Node node;
        node.name = name;
        node.leaving = leaving;
        cluster.apply(changed({node}));
        return cluster.node_leaving();
    };
    CHECK(told("node-b", true) == std::nullopt);
    CHECK(told("node-a", false) == false);
    CHECK(told("node-a", true) == true);
    CHECK(told("node-a", false) == false);
    kube::Change gone;
    gone.gone_nodes = {"node-b"};
    cluster.apply(gone);
    CHECK(cluster.node_leaving() == false);
    gone.gone_nodes = {"node-a"};
    cluster.apply(gone);
    CHECK(cluster.node_leaving() == true);
}

TEST_CASE("row 1.14: the own node's zone decides, from the moment its label changes") {
    auto there = slice("web-2", kWeb, "10.0.0.2");
    there.endpoints[0].zone_hints = {"zone-b"};
    const auto in_cluster = [](Cluster& cluster) {
        std::vector<std::string> addresses;
        const auto changes = take(cluster);
        for (const auto& backend : changes.at(0).state.at(0).backends)
            if (backend.in_cluster) addresses.push_back(to_string(backend.address));
        return addresses;
    };
    Cluster cluster{"node-a"};
    cluster.apply(changed({service(kWeb, "10.96.0.10"), slice("web-1", kWeb, "10.0.0.1"), there}));
    CHECK(in_cluster(cluster).size() == 2);
    model::Node node;
    node.name = "node-a";
    node.labels[std::string{model::kZoneLabel}] = "zone-b";
    cluster.apply(changed({node}));
    CHECK(in_cluster(cluster) == std::vector<std::string>{"10.0.0.2"});
    kube::Change gone;
    gone.gone_nodes = {"node-a"};
    cluster.apply(gone);
    CHECK(in_cluster(cluster).size() == 2);
}

TEST_CASE("the own node's zone concerns every Service, another node's none") {
    Cluster cluster{"node-a"};
    cluster.apply(changed({service(kWeb, "10.96.0.10"), service(kDns, "10.96.0.11")}));
    take(cluster);

    model::Node node;
    node.name = "node-b";
    node.labels[std::string{model::kZoneLabel}] = "zone-a";
    cluster.apply(changed({node}));
    CHECK(take(cluster).empty());
    node.name = "node-a";
    cluster.apply(changed({node}));
    CHECK(take(cluster).size() == 2);
    cluster.apply(changed({node}));
    CHECK(take(cluster).empty());
}

TEST_CASE("row 1.24: the node's addresses concern Services with node ports or source ranges, and no others") {
    Cluster cluster{"node-a"};
    auto web = service(kWeb, "10.96.0.10");
    web.ports[0].node_port = 30080;
    cluster.apply(changed({web, service(kDns, "10.96.0.11")}));
    take(cluster);
    const auto frontends = [](const reconcile::ServiceChange& change) {
        std::vector<std::string> texts;
        for (const auto& frontend : change.state.at(0).frontends)
            texts.push_back(model::endpoint_text(frontend.address, frontend.port));
        return texts;
    };
    using Texts = std::vector<std::string>;

    model::Node node{.name = "node-a", .labels = {}, .ips = {"192.168.0.1"}, .pod_cidrs = {}};
    cluster.apply(changed({node}));
    auto changes = take(cluster);
    REQUIRE(changes.size() == 1);
    CHECK(frontends(changes[0]) == Texts{"10.96.0.10:80", "192.168.0.1:30080"});
    // What the devices have does not matter as long as the primary address serves.
    CHECK_FALSE(cluster.set_local_addresses({*model::parse_address("192.168.0.2")}));
    CHECK(take(cluster).empty());
    // A Node that says nothing of its addresses, or goes, takes none away.
    node.ips.clear();
    cluster.apply(changed({node}));
    kube::Change gone;
    gone.gone_nodes = {"node-a"};
    cluster.apply(std::move(gone));
    CHECK(take(cluster).empty());
    node.ips = {"192.168.0.2"};
    cluster.apply(changed({node}));
    CHECK(frontends(take(cluster).at(0)) == Texts{"10.96.0.10:80", "192.168.0.2:30080"});
}

TEST_CASE("row 1.24: node ports follow the addresses of the devices that are asked for, and the operator's own") {
    const auto a = *model::parse_address("192.168.0.1");
    const auto b = *model::parse_address("192.168.0.2");
    Cluster cluster{"node-a", {}, *model::parse_node_port_addresses(std::vector<std::string>{"192.168.0.0/16"})};
    auto web = service(kWeb, "10.96.0.10");
    web.ports[0].node_port = 30080;
    cluster.apply(changed({web}));
    CHECK(take(cluster).at(0).state.at(0).frontends.size() == 1);
    CHECK(cluster.set_local_addresses({a, b}));
    CHECK(take(cluster).at(0).state.at(0).frontends.size() == 3);
    CHECK_FALSE(cluster.set_local_addresses({a, b}));
    CHECK(cluster.set_local_addresses({b}));
    CHECK(take(cluster).at(0).state.at(0).frontends.size() == 2);

    Cluster told{"node-a", {b}};
    CHECK(told.node().node_port_addresses == std::vector{b});
    told.apply(
        changed({model::Node{.name = "node-a", .labels = {}, .ips = {"192.168.0.1", "fd00::1"}, .pod_cidrs = {}}}));
    CHECK(told.node().node_port_addresses == std::vector{b, *model::parse_address("fd00::1")});
}

}  // namespace
}  // namespace svclb::agent
