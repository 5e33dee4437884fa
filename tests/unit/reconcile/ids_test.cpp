// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "ids.hpp"

#include <catch2/catch_test_macros.hpp>

using svclb::reconcile::IdPool;

TEST_CASE("ids start at 1 and end before the limit") {
    IdPool pool(3);
    CHECK(pool.take() == 1);
    CHECK(pool.take() == 2);
    CHECK_FALSE(pool.take());
}

TEST_CASE("the id given back longest ago comes first") {
    IdPool pool(4);
    for (int i = 0; i < 3; ++i) REQUIRE(pool.take());
    pool.give_back(2);
    pool.give_back(1);
    CHECK(pool.take() == 2);
    CHECK(pool.take() == 1);
}

TEST_CASE("an id given back waits until all new ones are given out") {
    IdPool pool(4);
    pool.give_back(*pool.take());
    CHECK(pool.take() == 2);
    CHECK(pool.take() == 3);
    CHECK(pool.take() == 1);
}

TEST_CASE("adopted ids are not given out again") {
    IdPool pool(6, {false, false, true, false, true});
    CHECK(pool.take() == 5);
    CHECK(pool.take() == 1);
    CHECK(pool.take() == 3);
    CHECK_FALSE(pool.take());
}

TEST_CASE("a larger limit brings new ids") {
    IdPool pool(2);
    REQUIRE(pool.take());
    REQUIRE_FALSE(pool.take());
    pool.extend(3);
    CHECK(pool.take() == 2);
}

TEST_CASE("entries that a larger limit brought are untouched until they were given out once") {
    IdPool pool(2);
    CHECK_FALSE(pool.next_is_untouched());  // who knows what was there
    REQUIRE(pool.take());
    pool.extend(3);
    CHECK(pool.next_is_untouched());
    pool.give_back(*pool.take());
    CHECK_FALSE(pool.next_is_untouched());
    CHECK(pool.take() == 2);
}
