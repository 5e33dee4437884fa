// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Tables as another agent left them, whole and damaged. What is damaged is repaired by the first pass and retain_only.
#include <arpa/inet.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cstring>

#include "rows.hpp"
#include "support.hpp"

using namespace svclb::test;

namespace {

World sample() {
    return world({port("a", "http", {frontend("10.0.0.1", 80)},
                       {backend("10.1.0.1", In::both), backend("10.1.0.2"), backend("10.1.0.3", In::none)}),
                  port("b", "", {frontend("10.0.0.2", 80)}, {backend("10.1.0.2", In::local), backend("10.1.0.4")}),
                  port("c", "", {frontend("fd00::2", 80)}, {backend("fd00::101"), backend("fd00::102")})});
}

struct Fixture {
    FakeTables tables{{.services = 16, .slots = 64, .backends = 64}};

    Fixture() { REQUIRE(Reconciler::adopt(tables)->apply(all_of(sample())).failures == 0); }

    // After adoption, a pass and a clean-up, nothing is left of the damage, and nothing more to write.
    void check_repaired() {
        auto reconciler = Reconciler::adopt(tables);
        REQUIRE(reconciler);
        const auto applied = reconciler->apply(all_of(sample()));
        const auto retained = reconciler->retain_only(keys_of(sample()));
        CHECK(applied.failures + retained.failures == 0);
        CHECK(applied.writes + retained.writes > 0);
        CHECK(canonical(tables) == fresh_tables(sample()));
        CHECK(contradiction(tables) == "");

        auto again = Reconciler::adopt(tables);
        REQUIRE(again);
        CHECK(again->apply(all_of(sample())).writes == 0);
        CHECK(again->retain_only(keys_of(sample())).writes == 0);
    }
    svclb_backend& backend_row(const std::string& at) {
        for (auto& [key, row] : tables.backends)
            if (std::memcmp(key.addr, address(at).bytes.data(), sizeof(key.addr)) == 0) return row;
        FAIL("no such backend");
        return tables.backends.begin()->second;
    }
    [[nodiscard]] svclb_frontend_key key(const std::string& at) const {
        return svclb::reconcile::frontend_key(frontend(at, 80));
    }
};

svclb_string text(const std::string& words) {
    return *svclb::reconcile::string_row(words);
}

}  // namespace

TEST_CASE_METHOD(Fixture, "whole tables need no write, and every id stays") {
    auto reconciler = Reconciler::adopt(tables);
    REQUIRE(reconciler);
    CHECK(reconciler->apply(all_of(sample())).writes == 0);
    CHECK(reconciler->retain_only(keys_of(sample())).writes == 0);
    CHECK_FALSE(reconciler->resting());
    CHECK(reconciler->programmed().size() == 3);
}

TEST_CASE_METHOD(Fixture, "new rows after adoption meet no id, index or slot in use") {
    Guard guard(tables);
    auto reconciler = Reconciler::adopt(tables);
    REQUIRE(reconciler);
    auto more = sample();
    more.merge(
        world({port("d", "", {frontend("10.0.0.4", 80)}, {backend("10.1.0.9"), backend("10.1.0.8", In::local)})}));
    REQUIRE(reconciler->apply(all_of(more)).failures == 0);
    CHECK(guard.violation() == "");
    CHECK(canonical(tables) == fresh_tables(more));
}

TEST_CASE_METHOD(Fixture, "generations go on where the last agent was, unpublished runs included") {
    const auto before = svclb_run_generation(tables.service_rows[1].runs[0]);
    tables.slot_rows[60].service = 1;
    tables.slot_rows[60].generation = static_cast<std::uint16_t>(before + 4);
    auto reconciler = Reconciler::adopt(tables);
    auto next = sample();
    next.at({"default", "a"})[0].backends.pop_back();
    next.at({"default", "a"})[0].backends.pop_back();
    REQUIRE(reconciler->apply(all_of(next)).failures == 0);
    CHECK(svclb_run_generation(tables.service_rows[1].runs[0]) == before + 5);
}

TEST_CASE_METHOD(Fixture, "an epoch that was due is raised") {
    tables.service_rows[1].epoch_due = 1;
    SECTION("by the pass that touches the Service") {
        REQUIRE(Reconciler::adopt(tables)->apply(all_of(sample())).writes == 1);
    }
    SECTION("by retain_only") {
        REQUIRE(Reconciler::adopt(tables)->retain_only(keys_of(sample())).writes == 1);
    }
    CHECK(tables.service_rows[1].epoch_due == 0);
    CHECK(tables.service_rows[1].epoch == 1);
}

TEST_CASE_METHOD(Fixture, "repairs: a service row without a name, its frontend never absent") {
    tables.names.erase(1);
    bool absent = false;
    tables.observe = [&](const Write&) { absent = absent || !tables.frontends.contains(key("10.0.0.1")); };
    check_repaired();
    CHECK_FALSE(absent);
    tables.observe = nullptr;
}

TEST_CASE_METHOD(Fixture, "repairs: a name without a row") {
    tables.names[9] = tables.names.at(1);
    check_repaired();
}

TEST_CASE_METHOD(Fixture, "repairs: a name beyond the table") {
    tables.names[999] = tables.names.at(1);
    check_repaired();
}

TEST_CASE_METHOD(Fixture, "repairs: a backend row of a service that is free or beyond the table") {
    auto row = *tables.backends.begin();
    auto stray = row.first;
    stray.service = GENERATE(9U, 0U, 999U);
    row.second.id = 50;
    tables.backends[stray] = row.second;
    check_repaired();
}

TEST_CASE_METHOD(Fixture, "repairs: a run beyond the slots") {
    tables.service_rows[1].runs[0] = svclb_run(60, 10, 1);
    check_repaired();
}

TEST_CASE_METHOD(Fixture, "repairs: two service ports on one run") {
    tables.service_rows[2].runs[0] = tables.service_rows[1].runs[0];
    check_repaired();
}

TEST_CASE_METHOD(Fixture, "repairs: slots of another owner, generation or backend") {
    auto& slot = tables.slot_rows[svclb_run_base(tables.service_rows[1].runs[0])];
    SECTION("owner") {
        slot.service = 2;
    }
    SECTION("generation") {
        ++slot.generation;
    }
    SECTION("backend") {
        slot.backend = 40;
    }
    SECTION("address") {
        slot.addr[3] = 0;
    }
    check_repaired();
}

TEST_CASE_METHOD(Fixture, "repairs: two indices with one name") {
    tables.names[9] = tables.names.at(1);
    tables.service_rows[9] = tables.service_rows[1];
    tables.frontends[key("10.0.0.1")].service = 9;
    tables.desired[key("10.0.0.1")].service = 9;
    check_repaired();
}

TEST_CASE_METHOD(Fixture, "repairs: a frontend of a service that is free or beyond the table") {
    svclb_frontend row{};
    row.service = GENERATE(9U, 0U, 999U);
    row.kind = SVCLB_FRONTEND_CLUSTER_IP;
    SECTION("that nobody wants") {
        tables.frontends[key("10.9.9.9")] = row;
    }
    SECTION("that somebody wants") {
        tables.frontends[key("10.0.0.1")] = row;
    }
    tables.mark_frontend(key("10.9.9.9"), row.kind);
    check_repaired();
}

TEST_CASE_METHOD(Fixture, "repairs: frontends and the agent's record of them disagree") {
    const auto address_row = svclb::reconcile::address_key(key("10.0.0.1"));
    SECTION("no record") {
        tables.desired.erase(key("10.0.0.1"));
    }
    SECTION("other record") {
        tables.desired[key("10.0.0.1")].set = 1;
    }
    SECTION("a record of nothing") {
        tables.desired[key("10.9.9.9")] = tables.desired[key("10.0.0.1")];
    }
    SECTION("no row") {
        tables.frontends.erase(key("10.0.0.1"));
    }
    SECTION("no address row") {
        tables.frontends.erase(address_row);
    }
    SECTION("no address row in either") {
        tables.frontends.erase(address_row);
        tables.desired.erase(address_row);
    }
    SECTION("an address row of nobody") {
        const auto lonely = svclb::reconcile::address_key(key("10.9.9.9"));
        tables.frontends[lonely] = tables.frontends.at(address_row);
        tables.desired[lonely] = tables.frontends.at(address_row);
    }
    check_repaired();
}

TEST_CASE_METHOD(Fixture, "repairs: strings without a row, with two rows, and without a use") {
    SECTION("two ids") {
        tables.strings[40] = text("zone");
        backend_row("10.1.0.1").zone = 40;
    }
    SECTION("no row") {
        backend_row("10.1.0.1").node = 41;
    }
    SECTION("a row that nothing names") {
        tables.strings[42] = text("node-gone");
    }
    SECTION("an id that is never given out") {
        tables.strings[0] = text("zone");
        tables.strings[UINT32_MAX] = text("node-gone");
    }
    check_repaired();
}

TEST_CASE_METHOD(Fixture, "repairs: backend ids that are none, too large or given twice") {
    SECTION("none") {
        backend_row("10.1.0.1").id = SVCLB_NONE;
    }
    SECTION("too large") {
        backend_row("10.1.0.1").id = 64;
    }
    SECTION("twice") {
        backend_row("10.1.0.1").id = backend_row("10.1.0.3").id;
    }
    check_repaired();
}

TEST_CASE_METHOD(Fixture, "repairs: a row of no family or protocol of ours") {
    SECTION("family") {
        tables.service_rows[1].family = 5;
    }
    SECTION("protocol") {
        tables.service_rows[1].proto = 1;
    }
    check_repaired();
}
