// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Rows of source_ranges: there before the frontend that asks for them, gone after it, and read back.
#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "rows.hpp"
#include "support.hpp"

using namespace svclb::test;

namespace {

struct Fixture {
    FakeTables tables;
    Guard guard{tables};
    Reconciler reconciler = *Reconciler::adopt(tables);

    // No frontend that asks for ranges may be without all of `needed` at any time.
    std::vector<svclb::model::Cidr> needed;
    std::string early;

    Fixture() {
        tables.keep_log = true;
        auto checked = tables.observe;
        tables.observe = [this, checked](const Write& write) {
            if (checked) checked(write);
            for (const auto& [key, row] : tables.frontends)
                for (const auto& range : needed)
                    if ((row.flags & SVCLB_FRONTEND_SOURCE_RANGES) != 0 &&
                        !tables.ranges.contains(svclb::reconcile::range_key(row.service, range)))
                        early = to_string(range);
        };
    }
    PassResult apply(const std::vector<ServiceChange>& changes) {
        tables.clear_log();
        auto result = reconciler.apply(changes);
        CHECK(guard.violation() == "");
        CHECK(early == "");
        return result;
    }
    [[nodiscard]] std::vector<std::string> rows() const {
        std::vector<std::string> texts;
        for (const auto& [key, one] : tables.ranges)
            texts.push_back(std::to_string(key.service) + " " + to_string(svclb::reconcile::range_of(key)));
        std::sort(texts.begin(), texts.end());
        return texts;
    }
};

std::vector<ServiceChange> with(const std::vector<std::string>& ranges, const std::string& name = "a") {
    auto vip = frontend(name == "a" ? "9.9.9.9" : "9.9.9.8", 80, FrontendKind::load_balancer);
    vip.source_ranges = !ranges.empty();
    auto state = port(name, "", {vip}, {backend("10.1.0.1")});
    for (const auto& text : ranges) state.source_ranges.push_back(*svclb::model::parse_cidr(text));
    return {{{"default", name}, {state}}};
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE_METHOD(Fixture, "source ranges are there before the frontend that asks for them, and go after it") {
    REQUIRE(apply(with({})).failures == 0);
    needed = {*svclb::model::parse_cidr("10.0.0.0/8")};
    REQUIRE(apply(with({"10.0.0.0/8", "192.0.2.0/24"})).failures == 0);
    CHECK(rows() == Texts{"1 10.0.0.0/8", "1 192.0.2.0/24"});
    REQUIRE(apply(with({"10.0.0.0/8", "198.51.100.0/24"})).failures == 0);
    CHECK(rows() == Texts{"1 10.0.0.0/8", "1 198.51.100.0/24"});
    CHECK(tables.log.size() == 2);  // one row comes, one goes
    CHECK(apply(with({"10.0.0.0/8", "198.51.100.0/24"})).writes == 0);
    REQUIRE(apply(with({})).failures == 0);
    CHECK(rows().empty());
}

TEST_CASE_METHOD(Fixture, "the ranges of a Service that goes are gone before its index is anybody else's") {
    REQUIRE(apply(with({"10.0.0.0/8"})).failures == 0);
    tables.fault = [](const Write& write) { return write.op == Op::remove_range ? EIO : 0; };
    const auto failed = apply({{{"default", "a"}, {}}});
    CHECK(failed.failures == 1);
    REQUIRE(failed.retry.size() == 1);
    tables.fault = nullptr;
    REQUIRE(apply(with({"192.0.2.0/24"}, "b")).failures == 0);
    CHECK(rows() == Texts{"1 10.0.0.0/8", "2 192.0.2.0/24"});
    REQUIRE(apply({{{"default", "a"}, {}}}).failures == 0);
    CHECK(rows() == Texts{"2 192.0.2.0/24"});
    CHECK(tables.service_rows[1].family == 0);
}

TEST_CASE_METHOD(Fixture, "a range that cannot be written leaves the Service as it was") {
    REQUIRE(apply(with({})).failures == 0);
    tables.fault = [](const Write& write) { return write.op == Op::put_range ? ENOSPC : 0; };
    CHECK(apply(with({"10.0.0.0/8"})).retry.size() == 1);
    CHECK(tables.frontends.begin()->second.flags == 0);
    tables.fault = nullptr;
    CHECK(apply(with({"10.0.0.0/8"})).failures == 0);
    CHECK(tables.frontends.begin()->second.flags == SVCLB_FRONTEND_SOURCE_RANGES);
    CHECK(rows() == Texts{"1 10.0.0.0/8"});
}

TEST_CASE_METHOD(Fixture, "source ranges are read back, and rows that are nobody's are removed") {
    REQUIRE(apply(with({"10.0.0.0/8"})).failures == 0);
    auto stray = svclb::reconcile::range_key(7, *svclb::model::parse_cidr("10.0.0.0/8"));
    tables.ranges[stray] = 1;
    stray.service = 4000000;
    tables.ranges[stray] = 1;
    reconciler = *Reconciler::adopt(tables);
    CHECK(reconciler.programmed(ObjectKey{"default", "a"}).at(0).source_ranges.size() == 1);
    CHECK(apply(with({"10.0.0.0/8"})).failures == 0);
    REQUIRE(reconciler.retain_only({ObjectKey{"default", "a"}}).failures == 0);
    CHECK(rows() == Texts{"1 10.0.0.0/8"});
}
