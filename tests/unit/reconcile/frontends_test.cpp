// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "frontends.hpp"

#include <arpa/inet.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "support.hpp"

using namespace svclb::test;

namespace {

constexpr auto kOld = "2024-01-01T00:00:00Z";
constexpr auto kNew = "2025-01-01T00:00:00Z";

struct Fixture {
    FakeTables tables;
    Guard guard{tables};
    Reconciler reconciler = *Reconciler::adopt(tables);

    Fixture() { tables.keep_log = true; }
    PassResult apply(const std::vector<ServiceChange>& changes) {
        tables.clear_log();
        auto result = reconciler.apply(changes);
        CHECK(guard.violation() == "");
        return result;
    }
    // The Service that has the frontend, "" = nobody.
    [[nodiscard]] std::string owner(const Frontend& of) const {
        const auto row = tables.frontends.find(svclb::reconcile::frontend_key(of));
        return row == tables.frontends.end() ? "" : tables.names.at(row->second.service).name;
    }
    [[nodiscard]] bool has_address(const Frontend& of) const {
        return tables.frontends.contains(svclb::reconcile::address_key(svclb::reconcile::frontend_key(of)));
    }
};

const auto kVip = [] { return frontend("10.0.0.1", 80); };

}  // namespace

TEST_CASE_METHOD(Fixture, "a frontend that moves to another service port in one pass is never removed") {
    REQUIRE(apply(all_of(world({port("a", "", {kVip()}, {})}))).failures == 0);
    CHECK(apply({{{"default", "a"}, {}}, {{"default", "b"}, {port("b", "", {kVip()}, {})}}}).failures == 0);
    CHECK(owner(kVip()) == "b");
    CHECK(tables.count(Op::remove_frontend) == 0);
    CHECK(tables.count(Op::put_frontend) == 1);
}

TEST_CASE_METHOD(Fixture, "the older of two service ports has the frontend, the other is told") {
    const auto result = apply(all_of(world({port("a", "", {kVip()}, {}, kNew), port("b", "web", {kVip()}, {}, kOld)})));
    CHECK(owner(kVip()) == "b");
    REQUIRE(result.conflicts.size() == 1);
    CHECK(result.conflicts[0].object == "Service default/a");
    CHECK(result.conflicts[0].what ==
          "service port default/a (TCP, IPv4): service port default/b:web (TCP, IPv4) has the frontend "
          "10.0.0.1:80/TCP, and is older");
}

TEST_CASE_METHOD(Fixture, "of two service ports of one age the lower id has the frontend") {
    REQUIRE(apply(all_of(world({port("b", "", {kVip()}, {})}))).failures == 0);
    REQUIRE(apply(all_of(world({port("a", "", {kVip()}, {})}))).conflicts.size() == 1);
    CHECK(owner(kVip()) == "a");
}

TEST_CASE_METHOD(Fixture, "the other service port gets the frontend when the first is removed, unasked") {
    REQUIRE(apply(all_of(world({port("a", "", {kVip()}, {}, kOld), port("b", "", {kVip()}, {}, kNew)}))).failures == 0);
    REQUIRE(owner(kVip()) == "a");
    CHECK(apply({{{"default", "a"}, {}}}).conflicts.empty());
    CHECK(owner(kVip()) == "b");
    CHECK(tables.count(Op::remove_frontend) == 0);
}

TEST_CASE_METHOD(Fixture, "of any kind of address the oldest has it, and when it goes the next oldest") {
    using enum FrontendKind;
    const auto kind = GENERATE(cluster_ip, external_ip, load_balancer, node_port);
    const auto* const text = GENERATE("10.0.0.1", "fd00::1");
    CAPTURE(text, static_cast<int>(kind));
    const auto place = frontend(text, 80, kind);
    const auto claim = [&](const char* name, const char* created) { return port(name, "", {place}, {}, created); };
    const auto result = apply(all_of(world({claim("a", kNew), claim("b", kOld), claim("c", "2024-06-01T00:00:00Z")})));
    CHECK(owner(place) == "b");
    REQUIRE(result.conflicts.size() == 2);
    CHECK(result.conflicts[0].object == "Service default/a");
    CHECK(result.conflicts[1].object == "Service default/c");
    const auto left = apply({{{"default", "b"}, {}}}).conflicts;
    CHECK(owner(place) == "c");
    REQUIRE(left.size() == 1);
    CHECK(left[0].object == "Service default/a");
    CHECK(tables.count(Op::remove_frontend) == 0);
    CHECK(apply({{{"default", "c"}, {}}}).conflicts.empty());
    CHECK(owner(place) == "a");
    CHECK(apply({{{"default", "b"}, {claim("b", kOld)}}}).conflicts.size() == 1);
    CHECK(owner(place) == "b");
}

TEST_CASE_METHOD(Fixture, "after adoption the owner keeps its frontend until its age is known") {
    const auto both = world({port("a", "", {kVip()}, {}, kNew), port("b", "", {kVip()}, {}, kOld)});
    REQUIRE(apply({{{"default", "a"}, both.at({"default", "a"})}}).failures == 0);
    reconciler = *Reconciler::adopt(tables);
    REQUIRE(apply({{{"default", "b"}, both.at({"default", "b"})}}).conflicts.size() == 1);
    CHECK(owner(kVip()) == "a");
    REQUIRE(apply({{{"default", "a"}, both.at({"default", "a"})}}).conflicts.size() == 1);
    CHECK(owner(kVip()) == "b");
}

TEST_CASE_METHOD(Fixture, "a ClusterIP address has one row while any frontend is there") {
    const auto second = frontend("10.0.0.1", 81);
    REQUIRE(apply(all_of(world({port("a", "x", {kVip()}, {}), port("a", "y", {second}, {})}))).failures == 0);
    CHECK(tables.frontends.size() == 3);
    REQUIRE(apply(all_of(world({port("a", "y", {second}, {})}))).failures == 0);
    CHECK(has_address(kVip()));
    REQUIRE(apply({{{"default", "a"}, {}}}).failures == 0);
    CHECK(tables.frontends.empty());
    CHECK(tables.desired.empty());
}

TEST_CASE_METHOD(Fixture, "no port of an address is unknown on its way in or out") {
    const auto second = frontend("10.0.0.1", 81);
    const World both = world({port("a", "x", {kVip()}, {}), port("a", "y", {second}, {})});
    // The port that is without a frontend while there is an address row is refused as one that no Service has.
    const auto addresses = [&](Op op) {
        std::vector<bool> is_address;
        for (const Write& write : tables.log)
            if (write.op == op) is_address.push_back(svclb::reconcile::is_address_key(write.frontend_key));
        return is_address;
    };
    REQUIRE(apply(all_of(both)).failures == 0);
    CHECK(addresses(Op::put_frontend) == std::vector{false, false, true});
    REQUIRE(apply({{{"default", "a"}, {}}}).failures == 0);
    CHECK(addresses(Op::remove_frontend) == std::vector{true, false, false});
}

TEST_CASE_METHOD(Fixture, "only ClusterIPs have an address row") {
    const auto node_port = frontend("192.168.0.1", 30080, FrontendKind::node_port);
    REQUIRE(apply(all_of(world({port("a", "", {node_port}, {})}))).failures == 0);
    CHECK(owner(node_port) == "a");
    CHECK_FALSE(has_address(node_port));
}

TEST_CASE_METHOD(Fixture, "a key that one service port names twice is written once, with the first kind") {
    auto state = port(
        "a", "",
        {frontend("9.9.9.9", 80, FrontendKind::load_balancer), frontend("9.9.9.9", 80, FrontendKind::external_ip)}, {});
    const auto result = apply({{{"default", "a"}, {state}}});
    CHECK(result.conflicts.empty());
    REQUIRE(tables.frontends.size() == 1);
    CHECK(tables.frontends.begin()->second.kind == SVCLB_FRONTEND_EXTERNAL_IP);
    CHECK(apply({{{"default", "a"}, {state}}}).writes == 0);
}

TEST_CASE_METHOD(Fixture, "a frontend that cannot be handed over keeps its old service port serving") {
    REQUIRE(apply(all_of(world({port("a", "", {kVip()}, {backend("10.1.0.1")})}))).failures == 0);
    tables.fault = [](const Write& write) { return write.op == Op::put_frontend ? E2BIG : 0; };
    const World next = world({port("b", "", {kVip()}, {backend("10.1.0.1")})});
    const auto failed = apply(changes(world({port("a", "", {kVip()}, {})}), next));
    CHECK(failed.failures == 1);
    CHECK(failed.retry == std::vector<ObjectKey>{{"default", "a"}, {"default", "b"}});
    CHECK(owner(kVip()) == "a");
    tables.fault = nullptr;
    CHECK(apply(retries(failed, next)).failures == 0);
    CHECK(canonical(tables) == fresh_tables(next));
}

TEST_CASE_METHOD(Fixture, "a ClusterIP goes before an older external address, and that before an older node port") {
    const auto claim = [](FrontendKind kind) { return frontend("10.0.0.1", 80, kind); };
    const auto node = port("node", "", {claim(FrontendKind::node_port)}, {}, "2021-01-01T00:00:00Z");
    const auto external = port("external", "", {claim(FrontendKind::external_ip)}, {}, "2022-01-01T00:00:00Z");
    const auto balancer = port("balancer", "", {claim(FrontendKind::load_balancer)}, {}, "2023-01-01T00:00:00Z");
    const auto cluster = port("cluster", "", {claim(FrontendKind::cluster_ip)}, {}, "2024-01-01T00:00:00Z");
    REQUIRE(apply(all_of(world({node}))).conflicts.empty());
    CHECK(owner(kVip()) == "node");
    auto result = apply(all_of(world({balancer})));
    CHECK(owner(kVip()) == "balancer");
    REQUIRE(result.conflicts.size() == 1);
    CHECK(result.conflicts[0].object == "Service default/node");
    CHECK(result.conflicts[0].what ==
          "service port default/node (TCP, IPv4): service port default/balancer (TCP, IPv4) has the frontend "
          "10.0.0.1:80/TCP, and a node port gives way");
    REQUIRE(apply(all_of(world({external}))).conflicts.size() == 2);
    CHECK(owner(kVip()) == "external");
    CHECK_FALSE(has_address(kVip()));
    result = apply(all_of(world({cluster})));
    CHECK(owner(kVip()) == "cluster");
    CHECK(has_address(kVip()));
    REQUIRE(result.conflicts.size() == 3);
    CHECK(result.conflicts[1].what ==
          "service port default/external (TCP, IPv4): service port default/cluster (TCP, IPv4) has the frontend "
          "10.0.0.1:80/TCP, and has it as its ClusterIP");
    REQUIRE(apply({{{"default", "cluster"}, {}}}).conflicts.size() == 2);
    CHECK(owner(kVip()) == "external");
    CHECK_FALSE(has_address(kVip()));
    CHECK(tables.count(Op::remove_frontend) == 1);  // the ClusterIP's row for its other ports
}

TEST_CASE_METHOD(
    Fixture, "a frontend's row says what is used from outside, whether source ranges hold, and how it is answered") {
    auto vip = frontend("9.9.9.9", 80, FrontendKind::load_balancer);
    vip.outside_set = TrafficPolicy::local;
    vip.source_ranges = true;
    vip.dsr = true;
    auto state = port("a", "", {vip}, {});
    state.source_ranges = {*svclb::model::parse_cidr("10.0.0.0/8")};
    REQUIRE(apply({{{"default", "a"}, {state}}}).failures == 0);
    REQUIRE(tables.frontends.size() == 1);
    const auto row = tables.frontends.begin()->second;
    CHECK(row.set == SVCLB_SET_CLUSTER);
    CHECK(row.outside_set == SVCLB_SET_LOCAL);
    CHECK(row.flags == (SVCLB_FRONTEND_SOURCE_RANGES | SVCLB_FRONTEND_DSR));
    reconciler = *Reconciler::adopt(tables);
    CHECK(reconciler.programmed(ObjectKey{"default", "a"}).at(0).frontends == std::vector{vip});
    CHECK(apply({{{"default", "a"}, {state}}}).writes == 0);
}
