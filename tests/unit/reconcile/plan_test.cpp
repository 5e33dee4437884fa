// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "plan.hpp"

#include <catch2/catch_test_macros.hpp>

#include "support.hpp"
#include "svclb/model/maglev.hpp"

using namespace svclb::test;
using namespace svclb::reconcile;

namespace {

std::vector<std::uint32_t> slots_each(const std::vector<Share>& shares) {
    std::vector<std::uint32_t> slots;
    for (const auto& share : shares) slots.push_back(share.slots);
    return slots;
}

BackendRow programmed(const std::string& at, __u8 flags) {
    BackendRow row{.address = address(at), .port = 8080};
    row.row.id = 7;
    row.row.flags = flags;
    row.present = true;
    return row;
}

Target target(std::uint8_t flags) {
    Target made{.wanted = true};
    made.row.id = 7;
    made.row.flags = flags;
    return made;
}

constexpr std::uint8_t kCluster = SVCLB_BACKEND_IN_CLUSTER;
constexpr std::uint8_t kLocal = SVCLB_BACKEND_IN_LOCAL;

}  // namespace

TEST_CASE("equal weights give one slot each") {
    const std::vector backends{backend("10.0.0.1", In::cluster, 50), backend("10.0.0.2", In::cluster, 50)};
    const auto layout = layout_of(backends);
    REQUIRE(layout);
    CHECK(slots_each(layout->cluster) == std::vector<std::uint32_t>{1, 1});
}

TEST_CASE("slots are in proportion to weights, reduced") {
    const std::vector backends{backend("10.0.0.1", In::cluster, 20), backend("10.0.0.2", In::cluster, 30),
                               backend("10.0.0.3", In::none, 7)};
    const auto layout = layout_of(backends);
    REQUIRE(layout);
    CHECK(slots_each(layout->cluster) == std::vector<std::uint32_t>{2, 3});
    CHECK(layout->cluster_slots == 5);
}

TEST_CASE("a weight of 0 counts as 1") {
    const std::vector backends{backend("10.0.0.1", In::cluster, 0)};
    CHECK(layout_of(backends)->cluster_slots == 1);
}

TEST_CASE("Local shares the Cluster run where its members are the first ones there") {
    const auto local = port("a", "", {}, {backend("10.0.0.1"), backend("10.0.0.2", In::both, 2)}).backends;
    const auto layout = layout_of(local);
    REQUIRE(layout);
    CHECK(layout->shared);
    CHECK(layout->cluster_slots == 3);
    CHECK(layout->local_slots == 2);
}

TEST_CASE("Local has a run of its own where one of its members is not in Cluster") {
    const auto backends = port("a", "", {}, {backend("10.0.0.1", In::both), backend("10.0.0.2", In::local)}).backends;
    const auto layout = layout_of(backends);
    REQUIRE(layout);
    CHECK_FALSE(layout->shared);
    CHECK(layout->local_slots == 2);
    CHECK(layout->cluster_slots == 1);
}

TEST_CASE("Maglev: the run is the table, in its order, whatever the order of the backends") {
    const std::vector backends{backend("10.0.0.2", In::cluster), backend("10.0.0.1", In::cluster, 2),
                               backend("10.0.0.3", In::none)};
    const auto layout = layout_of(backends, svclb::model::Algorithm::maglev);
    REQUIRE(layout);
    const std::vector<svclb::model::MaglevMember> members{{address("10.0.0.2"), 8080, 1},
                                                          {address("10.0.0.1"), 8080, 2}};
    const auto table = svclb::model::maglev_table(members);
    CHECK(layout->cluster_slots == table.size());
    const std::vector<std::uint32_t> ids{5, 6, 7};
    const auto slots = slots_of(layout->cluster, backends, ids, 3, 9);
    REQUIRE(slots.size() == table.size());
    std::size_t wrong = 0;
    for (std::size_t at = 0; at < table.size(); ++at) wrong += slots[at].backend == ids[table[at]] ? 0U : 1U;
    CHECK(wrong == 0);
    CHECK(run_holds(slots, layout->cluster, backends, ids, 3, 9));
}

TEST_CASE("Maglev: Local shares the Cluster table where both have the same members, and else has its own") {
    const auto same = layout_of(std::vector{backend("10.0.0.1", In::both), backend("10.0.0.2", In::both)},
                                svclb::model::Algorithm::maglev);
    REQUIRE(same);
    CHECK(same->shared);
    CHECK(same->local_slots == same->cluster_slots);
    const std::vector some{backend("10.0.0.1", In::both), backend("10.0.0.2", In::cluster)};
    const auto prefix = layout_of(some, svclb::model::Algorithm::maglev);
    REQUIRE(prefix);
    CHECK_FALSE(prefix->shared);
    CHECK(slots_each(prefix->local) == std::vector<std::uint32_t>{prefix->local_slots});
    const auto none = layout_of(std::vector{backend("10.0.0.1", In::none)}, svclb::model::Algorithm::maglev);
    REQUIRE(none);
    CHECK(none->cluster_slots == 0);
    CHECK(none->local_slots == 0);
}

TEST_CASE("Maglev: more backends than a table can share are an error") {
    const std::vector<Backend> backends(32769, backend("10.0.0.1", In::cluster));
    const auto layout = layout_of(backends, svclb::model::Algorithm::maglev);
    REQUIRE_FALSE(layout);
    CHECK(layout.error().message() == "Cluster set: 32769 backends, more than the 32768 of a Maglev table");
}

TEST_CASE("a run that no row can describe is an error") {
    std::vector<Backend> backends;
    for (int host = 0; host < 18; ++host) backends.push_back(backend("10.0.0.1", In::cluster, 65535));
    backends[0].weight = 1;
    const auto layout = layout_of(backends);
    REQUIRE_FALSE(layout);
    CHECK(layout.error().message() ==
          "Cluster set: 18 backends and their weights need 1114096 slots, more than 1048575");
}

TEST_CASE("law: the difference of equal backends is empty") {
    const std::vector rows{programmed("10.0.0.1", kCluster), programmed("10.0.0.2", 0)};
    const std::vector targets{target(kCluster), target(0)};
    const auto plan = backend_plan(rows, targets);
    CHECK(plan.before.empty());
    CHECK(plan.after.empty());
    CHECK_FALSE(plan.epoch_due);
}

TEST_CASE("a new backend is written before, and no flow needs to check") {
    const std::vector rows{BackendRow{.address = address("10.0.0.1"), .port = 8080}};
    const auto plan = backend_plan(rows, std::vector{target(kCluster)});
    CHECK(plan.before.size() == 1);
    CHECK(plan.after.empty());
    CHECK_FALSE(plan.epoch_due);
}

TEST_CASE("a backend that loses a flag is written after") {
    const auto plan = backend_plan(std::vector{programmed("10.0.0.1", kCluster)}, std::vector{target(0)});
    CHECK(plan.before.empty());
    CHECK(plan.after.size() == 1);
    CHECK(plan.epoch_due);
}

TEST_CASE("a backend that gains one flag and loses another is written twice") {
    const auto plan = backend_plan(std::vector{programmed("10.0.0.1", kCluster)}, std::vector{target(kLocal)});
    REQUIRE(plan.before.size() == 1);
    REQUIRE(plan.after.size() == 1);
    CHECK(plan.before[0].row.flags == (kCluster | kLocal));
    CHECK(plan.after[0].row.flags == kLocal);
    CHECK(plan.epoch_due);
}

TEST_CASE("a backend that is wanted no more is removed after") {
    const auto plan = backend_plan(std::vector{programmed("10.0.0.1", kCluster)}, std::vector{Target{}});
    REQUIRE(plan.after.size() == 1);
    CHECK(plan.after[0].remove);
    CHECK(plan.epoch_due);
}

TEST_CASE("rows of both sides are merged in order, each desired backend knows its row") {
    std::vector rows{programmed("10.0.0.2", 0), programmed("10.0.0.4", 0)};
    const std::vector desired{backend("10.0.0.4"), backend("10.0.0.1"), backend("10.0.0.3"), backend("10.0.0.1")};
    const auto position = merge_rows(rows, desired);
    CHECK(position == std::vector<std::uint32_t>{3, 0, 2, 0});
    REQUIRE(rows.size() == 4);
    CHECK_FALSE(rows[0].present);
    CHECK(rows[1].present);
    CHECK_FALSE(rows[2].present);
    CHECK(rows[3].present);
}

TEST_CASE("slots carry owner, generation and backend id") {
    const std::vector backends{backend("10.0.0.1"), backend("10.0.0.2")};
    const std::vector<std::uint32_t> ids{5, 6};
    const std::vector<Share> shares{{0, 1}, {1, 2}};
    const auto slots = slots_of(shares, backends, ids, 3, 9);
    REQUIRE(slots.size() == 3);
    CHECK(slots[0].backend == 5);
    CHECK(slots[2].backend == 6);
    CHECK(slots[2].service == 3);
    CHECK(slots[2].generation == 9);
    CHECK(run_holds(slots, shares, backends, ids, 3, 9));
    CHECK_FALSE(run_holds(slots, shares, backends, ids, 3, 8));
    CHECK_FALSE(run_holds(slots, shares, backends, ids, 4, 9));
    CHECK_FALSE(run_holds(slots, std::vector<Share>{{0, 1}, {1, 1}}, backends, ids, 3, 9));
    CHECK_FALSE(run_holds(slots, std::vector<Share>{{0, 1}, {1, 3}}, backends, ids, 3, 9));
}
