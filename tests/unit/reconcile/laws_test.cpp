// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Laws that hold for every desired state. Seeds are fixed: a failure names its step and is repeatable.
#include <catch2/catch_test_macros.hpp>
#include <random>

#include "support.hpp"

using namespace svclb::test;

TEST_CASE("law: equal states need no write, after apply and after adoption") {
    std::mt19937 random(1);
    for (int seed = 0; seed < 300; ++seed) {
        INFO("world " << seed);
        const auto wanted = random_world(random);
        FakeTables tables;
        auto reconciler = Reconciler::adopt(tables);
        REQUIRE(reconciler);
        REQUIRE(reconciler->apply(all_of(wanted)).failures == 0);
        CHECK(reconciler->apply(all_of(wanted)).writes == 0);

        auto adopted = Reconciler::adopt(tables);
        REQUIRE(adopted);
        CHECK(adopted->apply(all_of(wanted)).writes == 0);
        CHECK(adopted->retain_only(keys_of(wanted)).writes == 0);
        CHECK(adopted->programmed() == reconciler->programmed());
    }
}

TEST_CASE("law: any history ends in the tables of a fresh start") {
    FakeTables tables({.services = 8, .slots = 64, .backends = 64});
    Guard guard(tables, 11);
    auto reconciler = Reconciler::adopt(tables);
    REQUIRE(reconciler);
    std::mt19937 random(2);
    World now;
    for (int step = 0; step < 1500; ++step) {
        INFO("step " << step);
        const auto next = random_world(random);
        const auto result = reconciler->apply(changes(now, next));
        now = next;
        REQUIRE(result.failures == 0);
        REQUIRE(guard.violation() == "");
        REQUIRE(guard.epochs_due().empty());
        // The comparison costs more than the pass.
        if (step % 7 == 0) REQUIRE(canonical(tables) == fresh_tables(now));
        if (random() % 3 == 0) release(*reconciler, &guard);
        if (random() % 20 == 0) {
            reconciler = Reconciler::adopt(tables);
            guard.released();
            REQUIRE(reconciler);
            // Claims that lost are known again only when their Services are handed in.
            REQUIRE(reconciler->apply(all_of(now)).writes == 0);
        }
    }
}

TEST_CASE("law: tables that may not grow last for ever when runs are released") {
    FakeTables tables({.services = 30, .slots = 900, .backends = 200});
    tables.grow_limits = {30, 900, 200};
    auto reconciler = Reconciler::adopt(tables);
    REQUIRE(reconciler);
    std::mt19937 random(3);
    World now;
    for (int step = 0; step < 800; ++step) {
        INFO("step " << step);
        // Emptied in between: there is room for one world, not for two.
        REQUIRE(reconciler->apply(changes(now, {})).failures == 0);
        release(*reconciler);
        now = random_world(random);
        REQUIRE(reconciler->apply(all_of(now)).failures == 0);
    }
}

TEST_CASE("law: whatever fails, retries lead to the tables of a fresh start") {
    FakeTables tables({.services = 8, .slots = 64, .backends = 64});
    Guard guard(tables, 11);
    auto reconciler = Reconciler::adopt(tables);
    REQUIRE(reconciler);
    std::mt19937 random(4);
    World now;
    for (int step = 0; step < 250; ++step) {
        INFO("step " << step);
        const auto next = random_world(random);
        const auto odds = 2 + random() % 40;
        tables.fault = [&](const Write&) { return random() % odds == 0 ? ENOSPC : 0; };
        auto result = reconciler->apply(changes(now, next));
        now = next;
        while (!result.retry.empty()) {
            REQUIRE(guard.violation() == "");
            REQUIRE(result.failures > 0);
            if (random() % 4 == 0) tables.fault = nullptr;
            if (random() % 3 == 0) release(*reconciler, &guard);
            result = reconciler->apply(retries(result, now));
        }
        tables.fault = nullptr;
        REQUIRE(result.failures == 0);
        REQUIRE(guard.violation() == "");
        REQUIRE(guard.epochs_due().empty());
        REQUIRE(canonical(tables) == fresh_tables(now));
    }
}
