// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "runs.hpp"

#include <catch2/catch_test_macros.hpp>
#include <random>
#include <vector>

using svclb::reconcile::RunAllocator;
using svclb::reconcile::Span;

TEST_CASE("entry 0 is never part of a run") {
    RunAllocator runs(10);
    CHECK(runs.take(9) == Span{1, 9});
    CHECK_FALSE(runs.take(1));
}

TEST_CASE("the smallest gap that is long enough is taken") {
    RunAllocator runs(20);
    REQUIRE(runs.take(19));
    runs.give_back({1, 6});
    runs.give_back({10, 3});
    CHECK(runs.take(3) == Span{10, 3});
    CHECK(runs.take(3) == Span{1, 3});
}

TEST_CASE("neighbours are joined on both sides") {
    RunAllocator runs(10);
    REQUIRE(runs.take(9));
    runs.give_back({1, 3});
    runs.give_back({7, 3});
    CHECK_FALSE(runs.take(4));
    runs.give_back({4, 3});
    CHECK(runs.take(9) == Span{1, 9});
}

TEST_CASE("growth joins the free end") {
    RunAllocator runs(5);
    runs.extend(9);
    CHECK(runs.limit() == 9);
    CHECK(runs.take(8) == Span{1, 8});
}

TEST_CASE("a run is reserved whole or not at all") {
    RunAllocator runs(10);
    CHECK(runs.reserve({4, 3}));
    CHECK_FALSE(runs.reserve({6, 2}));
    CHECK_FALSE(runs.reserve({3, 2}));
    CHECK_FALSE(runs.reserve({8, 3}));
    CHECK_FALSE(runs.reserve({0, 1}));
    CHECK_FALSE(runs.reserve({9, UINT32_MAX}));
    CHECK(runs.free_entries() == 6);
    CHECK(runs.reserve({7, 3}));
    CHECK(runs.reserve({1, 3}));
    CHECK(runs.free_entries() == 0);
}

TEST_CASE("a retired run rests until a ticket taken after it is released") {
    RunAllocator runs(3);
    const auto early = runs.ticket();
    runs.retire(*runs.take(2));
    runs.release(early);
    CHECK(runs.resting());
    CHECK_FALSE(runs.take(1));
    const auto late = runs.ticket();
    runs.release(late);
    CHECK_FALSE(runs.resting());
    CHECK(runs.take(2) == Span{1, 2});
}

TEST_CASE("a random history never overlaps and never leaks") {
    std::mt19937 random(7);
    RunAllocator runs(500);
    std::vector<bool> used(500);
    std::vector<Span> held;
    for (int step = 0; step < 20000; ++step) {
        if (random() % 2 == 0) {
            const auto run = runs.take(1 + static_cast<std::uint32_t>(random() % 20));
            if (!run) continue;
            for (auto at = run->base; at < run->base + run->count; ++at) {
                REQUIRE_FALSE(used.at(at));
                used[at] = true;
            }
            held.push_back(*run);
        } else if (!held.empty()) {
            std::swap(held[random() % held.size()], held.back());
            const auto run = held.back();
            for (auto at = run.base; at < run.base + run.count; ++at) used[at] = false;
            runs.give_back(run);
            held.pop_back();
        }
    }
    for (const auto& run : held) runs.give_back(run);
    CHECK(runs.take(499) == Span{1, 499});
}
