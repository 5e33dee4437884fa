// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "svclb/model/maglev.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

using namespace svclb::model;

namespace {

// Each seed is another service: other addresses.
std::vector<MaglevMember> members_of(std::size_t count, unsigned seed) {
    std::vector<MaglevMember> members;
    for (std::size_t i = 0; i < count; ++i) {
        const auto text = seed % 2 == 0 ? fmt::format("10.{}.{}.{}", seed, i / 250, i % 250 + 1)
                                        : fmt::format("fd00:{:x}::{:x}", seed, i + 1);
        members.push_back({*parse_address(text), 8080, 1});
    }
    return members;
}

std::vector<MaglevMember> owners(const std::vector<MaglevMember>& members) {
    std::vector<MaglevMember> slots;
    for (const auto member : maglev_table(members)) slots.push_back(members[member]);
    return slots;
}

bool same(const MaglevMember& a, const MaglevMember& b) {
    return std::pair(a.address, a.port) == std::pair(b.address, b.port);
}

std::vector<std::size_t> counts(const std::vector<std::uint32_t>& table, std::size_t members) {
    std::vector<std::size_t> counts(members);
    for (const auto member : table) ++counts[member];
    return counts;
}

std::vector<std::size_t> shares(const std::vector<MaglevMember>& members) {
    return counts(maglev_table(members), members.size());
}

// Slots of the larger table whose flows meet another member when `at` goes, without those of `at` itself. By the same
// way back they come again with it.
std::size_t moved_of_others(const std::vector<std::uint32_t>& with, const std::vector<std::uint32_t>& without,
                            std::size_t at) {
    std::size_t moved = 0;
    for (std::size_t slot = 0; slot < with.size(); ++slot) {
        const auto after = without[slot * without.size() / with.size()];
        if (with[slot] != at && with[slot] != (after < at ? after : after + 1)) ++moved;
    }
    return moved;
}

}  // namespace

TEST_CASE("maglev: a table has 1,024 to 2,048 slots for each member") {
    CHECK(maglev_size(1) == 1024);
    CHECK(maglev_size(2) == 2048);
    CHECK(maglev_size(3) == 4096);
    CHECK(maglev_size(4) == 4096);
    CHECK(maglev_size(5) == 8192);
    CHECK(maglev_size(256) == 262144);
    CHECK(maglev_size(257) == kLargestMaglevTable);
    CHECK(maglev_size(kMostMaglevMembers) == kLargestMaglevTable);
}

TEST_CASE("maglev: no members, no table; one member has all of it") {
    CHECK(maglev_table({}).empty());
    CHECK(shares(members_of(1, 1)) == std::vector<std::size_t>{1024});
}

// The very slots: a node of another release, or of another byte order, must agree.
TEST_CASE("maglev: the table of three members is this one") {
    const std::vector<MaglevMember> members{
        {*parse_address("10.0.0.1"), 80, 1}, {*parse_address("10.0.0.2"), 80, 1}, {*parse_address("fd00::1"), 81, 3}};
    const auto table = maglev_table(members);
    std::uint64_t digest = 0;
    for (const auto member : table) digest = digest * 31 + member;
    CHECK(digest == 9418890449227468618U);
    CHECK(std::vector(table.begin(), table.begin() + 16) ==
          std::vector<std::uint32_t>{0, 0, 0, 2, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2});
}

TEST_CASE("law: maglev: the order of the members does not matter") {
    auto members = members_of(50, 2);
    for (std::size_t i = 0; i < members.size(); ++i) members[i].weight = static_cast<std::uint32_t>(1 + i % 3);
    const auto before = owners(members);
    std::ranges::reverse(members);
    CHECK(std::ranges::equal(before, owners(members), same));
}

// What moves when one goes moves back when it comes: each step is looked at from both its ends.
TEST_CASE("law: maglev: one that goes, of any number, moves its share and at most a fifth of that") {
    const auto [seed, most, least] =
        GENERATE(std::tuple(1U, 520U, 508U), std::tuple(1U, 262U, 2U), std::tuple(2U, 130U, 2U));
    auto members = members_of(most, seed);
    auto table = maglev_table(members);
    std::size_t at = seed;
    for (auto count = members.size(); count >= least; --count) {
        CAPTURE(seed, count);
        const auto each = counts(table, count);
        at = (at + 619) % count;
        members.erase(members.begin() + static_cast<std::ptrdiff_t>(at));
        const auto rest = maglev_table(members);
        const auto moved = moved_of_others(table, rest, at);
        // All pairs are split: no number of members changes anything more.
        REQUIRE(moved <= (count > 512 ? 0 : each[at] / 5));
        // No more than the average and a fifth of it.
        REQUIRE(*std::ranges::max_element(each) * count * 5 <= table.size() * 6);
        REQUIRE(*std::ranges::min_element(each) * count * 5 >= table.size() * 4);
        table = rest;
    }
}

TEST_CASE("law: maglev: one of several weights that goes moves its share and at most a quarter of the average one") {
    const auto heaviest = GENERATE(10U, 100U);
    const auto weight_of = [&](std::size_t i) { return heaviest == 10 ? 1 + i * 7 % 10 : i % 10 == 0 ? heaviest : 1; };
    auto members = members_of(200, 3);
    for (std::size_t i = 0; i < members.size(); ++i) members[i].weight = static_cast<std::uint32_t>(weight_of(i));
    auto table = maglev_table(members);
    std::size_t at = 0;
    for (auto count = members.size(); count > 1; --count) {
        CAPTURE(heaviest, count);
        at = (at + 79) % count;
        members.erase(members.begin() + static_cast<std::ptrdiff_t>(at));
        const auto rest = maglev_table(members);
        REQUIRE(moved_of_others(table, rest, at) * count <= table.size() / 4);
        table = rest;
    }
}

TEST_CASE("law: maglev: one whose weight changes moves only what it gains or loses") {
    const auto count = GENERATE(std::size_t{2}, 7, 100);
    const auto weight = GENERATE(1U, 4U, 6U, 100U);
    CAPTURE(count, weight);
    auto members = members_of(count, 2);
    for (auto& member : members) member.weight = 5;
    const auto before = maglev_table(members);
    members[1].weight = weight;
    const auto after = maglev_table(members);
    REQUIRE(after.size() == before.size());
    std::size_t gained = 0;
    std::size_t lost = 0;
    std::size_t others = 0;
    for (std::size_t slot = 0; slot < before.size(); ++slot) {
        if (before[slot] == after[slot]) continue;
        ++(after[slot] == 1 ? gained : before[slot] == 1 ? lost : others);
    }
    CHECK(others == 0);
    CHECK((weight < 5 ? gained : lost) == 0);
    CHECK((weight < 5 ? lost : gained) > 0);
}

TEST_CASE("maglev: shares follow the weights, those that are equal also without being 1") {
    auto members = members_of(8, 5);
    for (std::size_t i = 0; i < members.size(); ++i) members[i].weight = i < 4 ? 1 : 3;
    const auto each = shares(members);
    for (std::size_t i = 0; i < each.size(); ++i) {
        const double fair = 8192.0 * members[i].weight / 16;
        CAPTURE(i, each[i], fair);
        CHECK(std::abs(static_cast<double>(each[i]) - fair) <= fair * 0.2);
    }
    for (auto& member : members) member.weight = 50;
    CHECK(shares(members) == shares(members_of(8, 5)));
    members[0].weight = 0;
    for (std::size_t i = 1; i < members.size(); ++i) members[i].weight = 1;
    CHECK(shares(members) == shares(members_of(8, 5)));
}
