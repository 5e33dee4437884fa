// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "svclb/reconcile/reconciler.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "rows.hpp"
#include "support.hpp"

using namespace svclb::test;

namespace {

struct Fixture {
    FakeTables tables{{.services = 64, .slots = 64, .backends = 64}};
    Guard guard{tables};
    Reconciler reconciler = *Reconciler::adopt(tables);

    Fixture() { tables.keep_log = true; }
    PassResult apply(const std::vector<ServicePortState>& ports) {
        tables.clear_log();
        auto result = reconciler.apply(all_of(world(ports)));
        CHECK(guard.violation() == "");
        return result;
    }
    PassResult remove(const std::string& service) {
        tables.clear_log();
        auto result = reconciler.apply({{{"default", service}, {}}});
        CHECK(guard.violation() == "");
        return result;
    }
    [[nodiscard]] const svclb_service& row(std::uint32_t index = 1) const { return tables.service_rows[index]; }
    [[nodiscard]] std::vector<Op> ops() const {
        std::vector<Op> made;
        for (const auto& write : tables.log) made.push_back(write.op);
        return made;
    }
};

ServicePortState web(std::vector<Backend> backends) {
    return port("web", "http", {frontend("10.0.0.1", 80)}, std::move(backends));
}

}  // namespace

TEST_CASE_METHOD(Fixture, "a new service port is written in the order that packets need") {
    REQUIRE(apply({web({backend("10.1.0.1")})}).failures == 0);
    CHECK(ops() == std::vector{Op::reset_service_counter, Op::put_name, Op::put_string, Op::put_string,
                               Op::reset_backend_counter, Op::put_backend, Op::write_slots, Op::publish,
                               Op::put_desired, Op::put_frontend, Op::put_desired, Op::put_frontend});
}

TEST_CASE_METHOD(Fixture, "fill tells the rows in use, and that a removed Service gave them back") {
    CHECK(reconciler.fill().services == 0);
    REQUIRE(apply({web({backend("10.1.0.1"), backend("10.1.0.2")})}).failures == 0);
    const auto full = reconciler.fill();
    CHECK(full.services == 1);
    CHECK(full.frontends == 2);  // the address has a row of its own
    CHECK(full.backends == 2);
    CHECK(full.slots == 2);
    REQUIRE(remove("web").failures == 0);
    CHECK(reconciler.fill().slots == 2);  // they rest
    reconciler.release(reconciler.ticket());
    const auto empty = reconciler.fill();
    CHECK(empty.services == 0);
    CHECK(empty.frontends == 0);
    CHECK(empty.backends == 0);
    CHECK(empty.slots == 0);
}

TEST_CASE_METHOD(Fixture, "a removed service port goes in the reverse order, epoch after backends") {
    REQUIRE(apply({web({backend("10.1.0.1")})}).failures == 0);
    REQUIRE(remove("web").failures == 0);
    CHECK(ops() == std::vector{Op::remove_frontend, Op::remove_desired, Op::remove_frontend, Op::remove_desired,
                               Op::publish, Op::remove_backend, Op::publish, Op::remove_name, Op::remove_string,
                               Op::remove_string});
    svclb_service empty{};
    empty.epoch = 1;
    CHECK(svclb::reconcile::same_bytes(row(), empty));
}

TEST_CASE_METHOD(Fixture, "all service ports are added before any is removed") {
    REQUIRE(apply({port("a", "", {frontend("10.0.0.9", 80)}, {backend("10.1.0.9")})}).failures == 0);
    tables.clear_log();
    REQUIRE(reconciler.apply({{{"default", "a"}, {}}, {{"default", "web"}, {web({backend("10.1.0.1")})}}}).failures ==
            0);
    const auto made = ops();
    const auto removal = [](Op op) {
        return op == Op::remove_frontend || op == Op::remove_backend || op == Op::remove_desired ||
               op == Op::remove_name || op == Op::remove_string;
    };
    const auto first = std::find_if(made.begin(), made.end(), removal);
    CHECK(std::none_of(first, made.end(), [](Op op) {
        return op == Op::put_frontend || op == Op::put_backend || op == Op::write_slots || op == Op::put_name;
    }));
}

TEST_CASE_METHOD(Fixture, "a backend more costs its rows, a fresh run and one publish, and no epoch") {
    REQUIRE(apply({web({backend("10.1.0.1")})}).failures == 0);
    const auto before = row();
    REQUIRE(apply({web({backend("10.1.0.1"), backend("10.1.0.2")})}).failures == 0);
    CHECK(ops() ==
          std::vector{Op::put_string, Op::reset_backend_counter, Op::put_backend, Op::write_slots, Op::publish});
    CHECK(row().epoch == before.epoch);
    CHECK(svclb_run_generation(row().runs[0]) == svclb_run_generation(before.runs[0]) + 1);
    CHECK(reconciler.resting());
}

TEST_CASE_METHOD(Fixture, "a backend less is published first, then its row goes, then the epoch rises") {
    REQUIRE(apply({web({backend("10.1.0.1"), backend("10.1.0.2")})}).failures == 0);
    REQUIRE(apply({web({backend("10.1.0.1")})}).failures == 0);
    REQUIRE(ops() == std::vector{Op::write_slots, Op::publish, Op::remove_backend, Op::publish, Op::remove_string});
    CHECK(tables.log[1].service.epoch == 0);
    CHECK(tables.log[1].service.epoch_due == 1);
    CHECK(tables.log[3].service.epoch == 1);
    CHECK(tables.log[3].service.epoch_due == 0);
}

TEST_CASE_METHOD(Fixture, "a backend that is ready no more keeps its row and its id") {
    REQUIRE(apply({web({backend("10.1.0.1"), backend("10.1.0.2")})}).failures == 0);
    const auto rows = tables.backends;
    REQUIRE(apply({web({backend("10.1.0.1"), backend("10.1.0.2", In::none)})}).failures == 0);
    CHECK(ops() == std::vector{Op::write_slots, Op::publish, Op::put_backend, Op::publish});
    for (const auto& [key, value] : tables.backends) CHECK(value.id == rows.at(key).id);
    CHECK(row().epoch == 1);
}

TEST_CASE_METHOD(Fixture, "a change of the zone alone rewrites the backend row and nothing else of the port") {
    auto one = backend("10.1.0.1");
    REQUIRE(apply({web({one})}).failures == 0);
    one.zone = "elsewhere";
    REQUIRE(apply({web({one})}).failures == 0);
    CHECK(ops() == std::vector{Op::put_string, Op::put_backend, Op::remove_string});
}

TEST_CASE_METHOD(Fixture, "a change of weights costs their rows, a fresh run and one publish, and no epoch") {
    REQUIRE(apply({web({backend("10.1.0.1"), backend("10.1.0.2")})}).failures == 0);
    const auto epoch = row().epoch;
    const auto weighted = web({backend("10.1.0.1", In::cluster, 3), backend("10.1.0.2")});
    REQUIRE(apply({weighted}).failures == 0);
    CHECK(ops() == std::vector{Op::put_backend, Op::write_slots, Op::publish});
    CHECK(svclb_run_count(row().runs[SVCLB_SET_CLUSTER]) == 4);
    CHECK(row().epoch == epoch);
    CHECK(apply({weighted}).writes == 0);
}

TEST_CASE_METHOD(Fixture, "Local shares the Cluster run where it is its beginning") {
    REQUIRE(apply({web({backend("10.1.0.1"), backend("10.1.0.2", In::both)})}).failures == 0);
    CHECK(tables.count(Op::write_slots) == 1);
    CHECK(svclb_run_base(row().runs[0]) == svclb_run_base(row().runs[1]));
    CHECK(svclb_run_count(row().runs[0]) == 2);
    CHECK(svclb_run_count(row().runs[1]) == 1);
    CHECK(svclb_run_generation(row().runs[0]) == svclb_run_generation(row().runs[1]));
}

TEST_CASE_METHOD(Fixture, "where only Local changes, the Cluster run stays") {
    auto state = web({backend("10.1.0.1"), backend("10.1.0.2", In::local)});
    REQUIRE(apply({state}).failures == 0);
    const auto before = row();
    CHECK(svclb_run_base(before.runs[0]) != svclb_run_base(before.runs[1]));
    REQUIRE(
        apply({web({backend("10.1.0.1"), backend("10.1.0.2", In::local), backend("10.1.0.3", In::local)})}).failures ==
        0);
    CHECK(tables.count(Op::write_slots) == 1);
    CHECK(row().runs[0] == before.runs[0]);
    CHECK(row().runs[1] != before.runs[1]);
}

TEST_CASE_METHOD(Fixture, "the epoch of an index outlives its owner") {
    tables.grow_limits.services = 64;
    REQUIRE(apply({web({backend("10.1.0.1")})}).failures == 0);
    REQUIRE(remove("web").failures == 0);
    // Until the pool comes back to index 1.
    for (int other = 0; other < 62; ++other) {
        REQUIRE(apply({web({})}).failures == 0);
        REQUIRE(remove("web").failures == 0);
    }
    REQUIRE(apply({web({backend("10.1.0.1")})}).failures == 0);
    REQUIRE(row(1).family == 4);
    CHECK(row(1).epoch == 1);
    CHECK(svclb_run_generation(row(1).runs[0]) == 2);
}

TEST_CASE_METHOD(Fixture, "a retired run is written again only after its ticket is released") {
    REQUIRE(apply({web({backend("10.1.0.1")})}).failures == 0);
    const auto first = svclb_run_base(row().runs[0]);
    REQUIRE(apply({web({backend("10.1.0.2")})}).failures == 0);
    const auto ticket = reconciler.ticket();
    REQUIRE(apply({web({backend("10.1.0.3")})}).failures == 0);
    CHECK(svclb_run_base(row().runs[0]) != first);
    reconciler.release(ticket);
    guard.released();
    CHECK(reconciler.resting());  // the second run was retired after the ticket
    REQUIRE(apply({web({backend("10.1.0.4")})}).failures == 0);
    CHECK(svclb_run_base(row().runs[0]) == first);
}

TEST_CASE_METHOD(Fixture, "maps that are full grow to twice their size") {
    std::vector<ServicePortState> ports;
    for (int at = 0; at < 70; ++at)
        ports.push_back(port("s" + std::to_string(at), "", {}, {backend("10.1.0.1"), backend("10.1.0.2")}));
    CHECK(apply(ports).failures == 0);
    CHECK(tables.service_rows.size() == 128);
    CHECK(tables.slot_rows.size() == 256);
    CHECK(tables.backend_capacity == 256);
}

TEST_CASE_METHOD(Fixture, "a map that cannot grow fails the service ports that need it, and no other") {
    tables.grow_limits.slots = 64;
    REQUIRE(apply({web({backend("10.1.0.1")})}).failures == 0);
    std::vector<Backend> many;
    for (int host = 1; host <= 70; ++host) many.push_back(backend("10.2.0." + std::to_string(host)));
    const auto result = apply({web(many), port("small", "", {frontend("10.0.0.2", 80)}, {backend("10.1.0.2")})});
    CHECK(result.failures == 1);
    REQUIRE(result.errors.size() == 1);
    CHECK(result.errors[0].message() ==
          "service port default/web:http (TCP, IPv4): slots: all 64 entries are in use or rest: grow to 256 entries: "
          "Cannot allocate memory");
    CHECK(result.retry == std::vector<ObjectKey>{{"default", "web"}});
    CHECK(svclb_run_count(row().runs[0]) == 1);
    CHECK(tables.service_rows[2].family == 4);
    // What was taken for the attempt is free again.
    CHECK(apply({web({backend("10.1.0.1"), backend("10.1.0.2")})}).failures == 0);
    CHECK(tables.backends.size() == 3);
}

TEST_CASE_METHOD(Fixture, "a failed write keeps the old state and names the service port and the row") {
    REQUIRE(apply({web({backend("10.1.0.1")})}).failures == 0);
    const auto before = row();
    tables.fault = [](const Write& write) { return write.op == Op::put_backend ? ENOSPC : 0; };
    const auto result = apply({web({backend("10.1.0.2")})});
    REQUIRE(result.errors.size() == 1);
    CHECK(
        result.errors[0].message() ==
        "service port default/web:http (TCP, IPv4): put backends row 10.1.0.2:8080: injected: No space left on device");
    CHECK(svclb::reconcile::same_bytes(row(), before));
    CHECK(tables.backends.size() == 1);
    tables.fault = nullptr;
    CHECK(apply({web({backend("10.1.0.2")})}).failures == 0);
    CHECK(canonical(tables) == fresh_tables(world({web({backend("10.1.0.2")})})));
}

TEST_CASE_METHOD(Fixture, "a name or a string that is too long is told with its field") {
    auto state = web({backend("10.1.0.1")});
    state.id.port_name = std::string(64, 'x');
    const auto result = apply({state});
    REQUIRE(result.errors.size() == 1);
    CHECK(result.errors[0].message().find("port name: longer than 63 bytes") != std::string::npos);
    CHECK(tables.names.empty());

    auto other = web({backend("10.1.0.1")});
    other.backends[0].node = std::string(256, 'x');
    const auto second = apply({other});
    REQUIRE(second.errors.size() == 1);
    CHECK(second.errors[0].message() ==
          "service port default/web:http (TCP, IPv4): backend 10.1.0.1:8080: node: longer than 255 bytes");
}

TEST_CASE_METHOD(Fixture, "of a Service handed in twice the last state counts") {
    REQUIRE(reconciler.apply({{{"default", "web"}, {web({})}}, {{"default", "web"}, {}}}).failures == 0);
    CHECK(reconciler.programmed().empty());
}

TEST_CASE_METHOD(Fixture, "a pass reports a handful of errors and counts them all") {
    tables.fault = [](const Write& write) { return write.op == Op::put_name ? ENOSPC : 0; };
    std::vector<ServicePortState> ports;
    for (int at = 0; at < 30; ++at) ports.push_back(port("s" + std::to_string(at), "", {}, {}));
    const auto result = apply(ports);
    CHECK(result.failures == 30);
    CHECK(result.errors.size() == 8);
    CHECK(result.retry.size() == 30);
}

TEST_CASE_METHOD(Fixture, "retain_only removes what is not known and nothing else") {
    REQUIRE(apply({web({backend("10.1.0.1")}), port("old", "", {frontend("10.0.0.9", 80)}, {backend("10.1.0.9")})})
                .failures == 0);
    REQUIRE(reconciler.retain_only({{"default", "web"}}).failures == 0);
    CHECK(canonical(tables) == fresh_tables(world({web({backend("10.1.0.1")})})));
    CHECK(reconciler.retain_only({{"default", "web"}}).writes == 0);
}
