// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The rules of safety, over tables in memory.
#include "sync.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "harness/fake_tables.hpp"
#include "svclb/model/keys.hpp"

namespace svclb::agent {
namespace {

using model::ObjectKey;
using Names = std::vector<std::string>;

const ObjectKey kWeb{"default", "web"};
const ObjectKey kDns{"default", "dns"};
const RealTime kNow{std::chrono::hours(1)};

model::Service service(const ObjectKey& key, const std::string& ip,
                       const std::string& created = "2024-01-01T00:00:00Z") {
    model::Service made;
    made.key = key;
    made.created = created;
    made.cluster_ip = ip;
    made.cluster_ips = {ip};
    made.ip_families = {ip.find(':') == std::string::npos ? model::Family::ipv4 : model::Family::ipv6};
    made.ports = {{.name = "https", .protocol = model::Protocol::tcp, .port = 443}};
    return made;
}

model::EndpointSlice slice(const ObjectKey& owner, const std::vector<std::string>& addresses,
                           const std::string& changed = "") {
    model::EndpointSlice made;
    made.key = {owner.ns, owner.name + "-1"};
    made.service = owner.name;
    made.family = addresses.empty() || addresses.front().find(':') == std::string::npos ? model::Family::ipv4
                                                                                        : model::Family::ipv6;
    made.ports = {{.name = "https", .protocol = model::Protocol::tcp, .port = 6443}};
    if (!changed.empty()) made.annotations[std::string{model::kTriggerTimeAnnotation}] = changed;
    for (const auto& address : addresses) made.endpoints.emplace_back().addresses = {address};
    return made;
}

kube::Change change(std::vector<model::Object> objects, bool complete = true) {
    kube::Change made;
    made.changed = std::move(objects);
    made.complete = complete;
    return made;
}

// One node's tables, and the agents that come and go over them.
struct Node {
    test::FakeTables tables{{.services = 64, .slots = 256, .backends = 256}};
    ApiSeed seed;
    std::optional<reconcile::Reconciler> reconciler;
    std::optional<Sync> sync;

    Node() { start(); }
    void start() {
        sync.reset();
        reconciler.emplace(*reconcile::Reconciler::adopt(tables));
        sync.emplace(SyncOptions{.node_name = "node-a", .api = seed}, *reconciler);
    }
    PassReport tell(kube::Change what) {
        sync->take(std::move(what), kNow);
        return sync->pass(kNow);
    }
    [[nodiscard]] Names backends(const ObjectKey& key) const {
        Names found;
        for (const auto& port : reconciler->programmed(key))
            for (const auto& backend : port.backends)
                if (backend.in_cluster) found.push_back(to_string(backend.address));
        return found;
    }
    [[nodiscard]] bool has(const ObjectKey& key) const { return !reconciler->programmed(key).empty(); }
    [[nodiscard]] Names reasons() const {
        Names found;
        for (const auto& warning : sync->warnings()) found.push_back(warning.object + " " + warning.reason);
        return found;
    }
};

const auto kTwoServices = [] {
    return change({service(kWeb, "10.96.0.10"), service(kDns, "10.96.0.11"), slice(kWeb, {"10.0.0.1", "10.0.0.2"}),
                   slice(kDns, {"10.0.0.3"})});
};

}  // namespace

TEST_CASE("sync: the room that objects need is told before any of it is built") {
    auto web = service(kWeb, "10.96.0.10");
    web.cluster_ips.emplace_back("fd00:10:96::10");
    web.ports.push_back({.name = "http", .protocol = model::Protocol::tcp, .port = 80});
    auto ends = slice(kWeb, {"10.0.0.1", "10.0.0.2", "10.0.0.3"});
    ends.ports.push_back({.name = "http", .protocol = model::Protocol::tcp, .port = 80});
    const auto rooms = rooms_for(change({web, service(kDns, "10.96.0.11"), ends, slice(kDns, {"10.0.0.4"})}));
    std::map<datapath::Sized, std::uint32_t> entries;
    for (const auto& room : rooms) entries[room.map] = room.entries;
    // And entry 0 of each, which is nobody's.
    CHECK(entries == std::map<datapath::Sized, std::uint32_t>{{datapath::Sized::services, 4 + 1 + 1},
                                                              {datapath::Sized::backends, 6 + 1 + 1}});
}

TEST_CASE("a node that starts anew on a partial view programs what is new to it") {
    Node node;
    const auto report = node.tell(change({service(kWeb, "10.96.0.10"), slice(kWeb, {"10.0.0.1"})}, false));
    CHECK_FALSE(report.complete);
    CHECK(node.backends(kWeb) == Names{"10.0.0.1"});
}

TEST_CASE("on a partial view what a former agent left neither shrinks nor goes, however often it changes") {
    Node node;
    node.tell(kTwoServices());
    node.start();
    const auto partial = change({service(kWeb, "10.96.0.10"), slice(kWeb, {"10.0.0.1"})}, false);
    CHECK(node.tell(partial).writes == 0);
    CHECK(node.tell(partial).held_services == 2);
    CHECK(node.backends(kWeb) == Names{"10.0.0.1", "10.0.0.2"});
    CHECK(node.backends(kDns) == Names{"10.0.0.3"});
    CHECK(node.sync->warnings().empty());

    SECTION("with the first whole view it is what the input says") {
        const auto report = node.tell(change({}));
        CHECK(report.complete);
        CHECK(report.held_services == 0);
        CHECK(node.backends(kWeb) == Names{"10.0.0.1"});
        CHECK_FALSE(node.has(kDns));
    }
}

TEST_CASE("an agent that starts anew and is told the same writes nothing") {
    Node node;
    node.tell(kTwoServices());
    node.start();
    CHECK(node.tell(change({}, false)).writes == 0);
    CHECK(node.tell(kTwoServices()).writes == 0);
    CHECK(node.tell(kTwoServices()).writes == 0);
}

TEST_CASE("a Service that cannot be read stays as it is programmed until it can be, or is gone") {
    Node node;
    node.tell(kTwoServices());
    node.start();
    auto unreadable = change({service(kDns, "10.96.0.11"), slice(kDns, {"10.0.0.3"}), slice(kWeb, {"10.0.0.1"})});
    unreadable.kept_services = {kWeb};
    const auto report = node.tell(unreadable);
    CHECK(report.complete);
    CHECK(report.held_services == 1);
    CHECK(node.backends(kWeb) == Names{"10.0.0.1", "10.0.0.2"});
    CHECK(node.reasons() == Names{"Service default/web Held"});

    SECTION("readable again: it is what the input says") {
        node.tell(change({service(kWeb, "10.96.0.10"), slice(kWeb, {"10.0.0.9"})}));
        CHECK(node.backends(kWeb) == Names{"10.0.0.9"});
        CHECK(node.reasons().empty());
    }
    SECTION("gone") {
        auto gone = change({});
        gone.gone_services = {kWeb};
        node.tell(gone);
        CHECK_FALSE(node.has(kWeb));
        CHECK(node.reasons().empty());
    }
    SECTION("gone without having been told: it was never known") {
        Node other;
        other.tell(kTwoServices());
        other.start();
        auto never = change({service(kDns, "10.96.0.11"), slice(kDns, {"10.0.0.3"})});
        never.kept_services = {kWeb};
        other.tell(never);
        CHECK(other.has(kWeb));
        other.tell(change({}));
        CHECK_FALSE(other.has(kWeb));
        CHECK(other.has(kDns));
    }
}

TEST_CASE("a Service that was never programmed is programmed with what can be read of it, and follows changes") {
    Node node;
    auto first = change({service(kWeb, "10.96.0.10"), slice(kWeb, {"10.0.0.1"})});
    first.kept_endpoints = {kWeb};
    node.tell(first);
    CHECK(node.backends(kWeb) == Names{"10.0.0.1"});
    auto second = change({slice(kWeb, {"10.0.0.2"})});
    second.kept_endpoints = {kWeb};
    node.tell(second);
    CHECK(node.backends(kWeb) == Names{"10.0.0.2"});
    CHECK(node.reasons().empty());
}

namespace {

// What is told while one slice of kWeb cannot be read.
kube::Change with_unreadable(std::vector<model::Object> objects) {
    auto made = change(std::move(objects));
    made.kept_endpoints = {kWeb};
    return made;
}

model::EndpointSlice second_slice(const std::vector<std::string>& addresses) {
    auto made = slice(kWeb, addresses);
    made.key.name = "web-2";
    return made;
}

}  // namespace

TEST_CASE("with a slice that cannot be read, a Service keeps what no other slice names and follows the others") {
    struct Family {
        std::string ip;
        std::vector<std::string> at;
    };
    const auto family = GENERATE(Family{"10.96.0.10", {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}},
                                 Family{"fd00::10", {"fd01::1", "fd01::2", "fd01::3", "fd01::4"}});
    const auto& [ip, at] = family;
    Node node;
    node.tell(change({service(kWeb, ip), slice(kWeb, {at[0], at[1]}), second_slice({at[2]})}));
    node.start();
    // The first view does not shrink: web-2 cannot be read, at[1] went meanwhile, or moved there.
    auto report = node.tell(with_unreadable({service(kWeb, ip), slice(kWeb, {at[0]})}));
    CHECK(report.held_services == 0);
    CHECK_FALSE(report.pending);
    CHECK(report.writes == 0);
    CHECK(node.backends(kWeb) == Names{at[0], at[1], at[2]});
    CHECK(node.reasons() == Names{"Service default/web EndpointsKept"});
    // What a readable slice names, or has named, follows it.
    node.tell(with_unreadable({slice(kWeb, {at[1], at[3]})}));
    CHECK(node.backends(kWeb) == Names{at[1], at[2], at[3]});
    node.tell(with_unreadable({slice(kWeb, {at[3]})}));
    CHECK(node.backends(kWeb) == Names{at[2], at[3]});

    SECTION("the slice is readable") {
        node.tell(change({second_slice({at[0]})}));
        CHECK(node.backends(kWeb) == Names{at[0], at[3]});
        CHECK(node.reasons().empty());
    }
    SECTION("the slice is gone") {
        node.tell(change({}));
        CHECK(node.backends(kWeb) == Names{at[3]});
        CHECK(node.reasons().empty());
    }
    SECTION("the Service is gone") {
        auto gone = with_unreadable({});
        gone.gone_services = {kWeb};
        node.tell(gone);
        CHECK_FALSE(node.has(kWeb));
        CHECK(node.reasons().empty());
        node.tell(with_unreadable({service(kWeb, ip)}));
        CHECK(node.backends(kWeb) == Names{at[3]});
    }
    SECTION("the Service went while no agent ran") {
        node.start();
        node.tell(with_unreadable({slice(kWeb, {at[3]})}));
        CHECK_FALSE(node.has(kWeb));
    }
    SECTION("another agent") {
        node.start();
        node.tell(with_unreadable({service(kWeb, ip), slice(kWeb, {at[0]})}));
        CHECK(node.backends(kWeb) == Names{at[0], at[2], at[3]});
    }
    SECTION("a Pod with another port is not behind the old one") {
        auto moved = slice(kWeb, {at[2]});
        moved.ports[0].port = 7443;
        node.tell(with_unreadable({moved}));
        CHECK(node.backends(kWeb) == Names{at[2]});
    }
}

TEST_CASE("endpoints that are kept for want of their slice keep their condition, place, weight and hints") {
    auto kept = second_slice({"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"});
    kept.annotations[std::string{model::kWeightAnnotation}] = "7";
    for (auto& endpoint : kept.endpoints) endpoint.zone_hints = {"b"};
    kept.endpoints[0].node_name = "node-a";
    kept.endpoints[0].zone = "a";
    kept.endpoints[0].zone_hints = {"a"};
    kept.endpoints[2].ready = false;
    kept.endpoints[2].terminating = true;
    kept.endpoints[3].ready = kept.endpoints[3].serving = false;
    auto read = slice(kWeb, {"10.0.0.9"});
    read.endpoints[0].zone_hints = {"a"};
    model::Node own{.name = "node-a", .labels = {{std::string{model::kZoneLabel}, "a"}}, .ips = {}, .pod_cidrs = {}};

    Node node;
    node.tell(change({own, service(kWeb, "10.96.0.10"), kept, read}));
    REQUIRE(node.backends(kWeb) == Names{"10.0.0.1", "10.0.0.9"});
    const auto before = node.reconciler->programmed(kWeb);
    node.start();
    CHECK(node.tell(with_unreadable({own, service(kWeb, "10.96.0.10"), read})).writes == 0);
    CHECK(node.reconciler->programmed(kWeb) == before);

    SECTION("without a hint on one of them none counts") {
        node.tell(with_unreadable({slice(kWeb, {"10.0.0.9"})}));
        CHECK(node.backends(kWeb) == Names{"10.0.0.1", "10.0.0.2", "10.0.0.9"});
    }
    SECTION("those that terminate serve when no other does") {
        node.tell(with_unreadable({slice(kWeb, {"10.0.0.1", "10.0.0.2"})}));
        node.tell(with_unreadable({slice(kWeb, {})}));
        CHECK(node.backends(kWeb) == Names{"10.0.0.3"});
    }
    SECTION("of a Local policy the ones on this node count") {
        auto local = service(kWeb, "10.96.0.10");
        local.internal_policy = model::TrafficPolicy::local;
        node.tell(with_unreadable({local}));
        const auto port = node.reconciler->programmed(kWeb).at(0);
        CHECK(port.local == model::Verdict::forward);
        CHECK(port.backends.at(0).in_local);
        CHECK(to_string(port.backends.at(0).address) == "10.0.0.1");
    }
}

TEST_CASE("the API server's own Service keeps its last usable endpoints, whatever the source says") {
    const auto& api = api_service_key();
    Node node;
    node.tell(change({service(api, "10.96.0.1"), slice(api, {"192.0.2.1", "192.0.2.2"})}));
    REQUIRE(node.backends(api) == Names{"192.0.2.1", "192.0.2.2"});

    SECTION("a slice without endpoints") {
        node.tell(change({slice(api, {})}));
    }
    SECTION("no slice") {
        auto gone = change({});
        gone.gone_slices = {slice(api, {}).key};
        node.tell(gone);
    }
    SECTION("no Service") {
        auto gone = change({});
        gone.gone_services = {api};
        gone.gone_slices = {slice(api, {}).key};
        node.tell(gone);
    }
    SECTION("an agent that starts anew and finds no endpoints") {
        node.start();
        node.tell(change({service(api, "10.96.0.1")}));
    }
    SECTION("an agent that starts anew and finds nothing") {
        node.start();
        node.tell(change({}));
    }
    CHECK(node.backends(api) == Names{"192.0.2.1", "192.0.2.2"});
    CHECK(node.reasons() == Names{"Service default/kubernetes LastEndpointsKept"});
    CHECK(node.tell(change({service(api, "10.96.0.1"), slice(api, {"192.0.2.3"})})).failures == 0);
    CHECK(node.backends(api) == Names{"192.0.2.3"});
    CHECK(node.reasons().empty());
}

TEST_CASE("a seed makes the API server's own Service work before anything is known, and the real slices replace it") {
    const auto& api = api_service_key();
    Node node;
    const auto at = [](const char* text) { return *model::parse_address_port(text); };
    node.seed = {.endpoints = {at("192.0.2.1:6443"), at("[fd00::1]:6443"), at("192.0.2.2:6443")},
                 .frontends = {at("10.96.0.1:443"), at("[fd00:96::1]:443"), at("192.0.2.1:6443")}};
    node.start();
    node.sync->pass(kNow);
    CHECK(node.backends(api) == Names{"192.0.2.1", "192.0.2.2", "fd00::1"});
    CHECK(node.reconciler->programmed(api).size() == 2);

    SECTION("the whole view has no endpoints yet: they stay") {
        node.tell(change({service(api, "10.96.0.1")}));
        CHECK(node.backends(api) == Names{"192.0.2.1", "192.0.2.2"});
        CHECK(node.sync->warnings().at(0).note.find("--api-endpoint") != std::string::npos);
    }
    SECTION("the whole view knows better") {
        node.tell(change({service(api, "10.96.0.1"), slice(api, {"192.0.2.9"})}));
        CHECK(node.backends(api) == Names{"192.0.2.9"});
        CHECK(node.reasons().empty());
    }
    SECTION("an agent that starts anew leaves what is programmed") {
        node.tell(change({service(api, "10.96.0.1"), slice(api, {"192.0.2.9"})}));
        node.start();
        CHECK(node.sync->pass(kNow).writes == 0);
        CHECK(node.backends(api) == Names{"192.0.2.9"});
    }
}

TEST_CASE("of two Services with one address the loser is told by name, until it is no longer so") {
    Node node;
    node.tell(change({service(kWeb, "10.96.0.10", "2025-01-01T00:00:00Z"), service(kDns, "10.96.0.10")}));
    const auto told = node.sync->warnings();
    REQUIRE(told.size() == 1);
    CHECK(told[0].object == "Service default/web");
    CHECK(told[0].reason == "FrontendConflict");
    CHECK(told[0].note.find("default/dns:https") != std::string::npos);

    CHECK(node.tell(change({slice(kWeb, {"10.0.0.1"})})).conflicts == 1);
    CHECK(node.sync->warnings() == told);

    auto gone = change({});
    gone.gone_services = {kDns};
    CHECK(node.tell(gone).conflicts == 0);
    CHECK(node.reasons().empty());
}

TEST_CASE("a field that cannot be used is told until the Service is built without it") {
    Node node;
    auto bad = service(kWeb, "10.96.0.10");
    bad.external_ips = {"10.0.0"};
    node.tell(change({bad}));
    CHECK(node.reasons() == Names{"Service default/web InvalidField"});
    node.tell(change({service(kWeb, "10.96.0.10")}));
    CHECK(node.reasons().empty());
}

TEST_CASE("a Service whose rows could not be written is part of the next pass") {
    Node node;
    node.tables.fault = [](const test::Write& write) { return write.op == test::Op::put_frontend ? ENOSPC : 0; };
    const auto failed = node.tell(change({service(kWeb, "10.96.0.10"), slice(kWeb, {"10.0.0.1"})}));
    CHECK(failed.failures != 0);
    CHECK(failed.pending);
    CHECK_FALSE(node.sync->errors().empty());
    node.tables.fault = nullptr;
    REQUIRE(node.sync->wants_retry());
    node.sync->retry();
    CHECK(node.sync->due());
    const auto done = node.sync->pass(kNow);
    CHECK(done.failures == 0);
    CHECK_FALSE(done.pending);
    CHECK(node.sync->errors().empty());
}

TEST_CASE("nothing new is no pass") {
    Node node;
    CHECK(node.sync->due());  // the seed of the API server's own Service
    node.tell(change({}));
    node.sync->take(change({}), kNow);
    CHECK_FALSE(node.sync->due());
    node.sync->take(change({service(kWeb, "10.96.0.10")}), kNow);
    CHECK(node.sync->due());
}

TEST_CASE("whatever arrives while a pass runs is one more pass, and only one") {
    Node node;
    node.tell(kTwoServices());
    CHECK_FALSE(node.sync->due());
    constexpr int kEvents = 100;
    int told = 0;
    node.tables.observe = [&](const auto&) {
        for (; told < kEvents; ++told) node.sync->take(change({slice(kWeb, {"10.0.1." + std::to_string(told)})}), kNow);
    };
    const auto first = node.tell(change({slice(kWeb, {"10.0.0.9"})}));
    node.tables.observe = nullptr;
    CHECK(told == kEvents);
    CHECK(first.changes.endpoint_slices == 1);
    CHECK(node.backends(kWeb) == Names{"10.0.0.9"});

    REQUIRE(node.sync->due());
    const auto second = node.sync->pass(kNow);
    CHECK(second.changes.endpoint_slices == kEvents);
    CHECK(second.services_built == 1);
    CHECK(node.backends(kWeb) == Names{"10.0.1.99"});
    CHECK_FALSE(node.sync->due());
}

TEST_CASE("changed slices tell their trigger times once, those of the first whole view do not") {
    Node node;
    const auto at = [](int second) { return "1970-01-01T00:59:" + std::to_string(second) + "Z"; };
    node.tell(change({service(kWeb, "10.96.0.10"), slice(kWeb, {"10.0.0.1"}, at(10))}));
    CHECK(node.sync->take_triggers().empty());
    node.tell(change({slice(kWeb, {"10.0.0.2"}, at(11))}));
    CHECK(node.sync->take_triggers() ==
          std::vector{Sync::Trigger{model::Family::ipv4, kNow - std::chrono::seconds(49)}});
    node.tell(change({slice(kWeb, {"10.0.0.3"}, at(11))}));  // the same cause
    node.tell(change({slice(kWeb, {"10.0.0.4"}, "yesterday")}));
    node.tell(change({slice(kWeb, {"10.0.0.5"}, "2030-01-01T00:00:00Z")}));  // a clock that is ahead
    CHECK(node.sync->take_triggers().empty());

    node.tables.fault = [](const test::Write& write) { return write.op == test::Op::put_backend ? ENOSPC : 0; };
    node.tell(change({slice(kWeb, {"10.0.0.6"}, at(12))}));
    CHECK(node.sync->take_triggers().empty());  // nothing is programmed yet
    node.tables.fault = nullptr;
    node.sync->retry();
    node.sync->pass(kNow);
    CHECK(node.sync->take_triggers().size() == 1);
}

}  // namespace svclb::agent
