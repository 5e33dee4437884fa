// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "svclb/model/maglev.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cmath>
#include <map>
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

std::vector<std::size_t> shares(const std::vector<MaglevMember>& members) {
    std::vector<std::size_t> counts(members.size());
    for (const auto member : maglev_table(members)) ++counts[member];
    return counts;
}

}  // namespace

TEST_CASE("maglev: a table has 256 to 1,024 slots for each member") {
    CHECK(maglev_size(1) == 1024);
    CHECK(maglev_size(4) == 1024);
    CHECK(maglev_size(5) == 4096);
    CHECK(maglev_size(16) == 4096);
    CHECK(maglev_size(64) == 16384);
    CHECK(maglev_size(256) == 65536);
    CHECK(maglev_size(1024) == 262144);
    CHECK(maglev_size(1025) == kLargestMaglevTable);
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
    CHECK(digest == 15357852050800339783U);
    CHECK(std::vector(table.begin(), table.begin() + 16) ==
          std::vector<std::uint32_t>{2, 0, 1, 2, 2, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2});
}

TEST_CASE("law: maglev: the order of the members does not matter") {
    auto members = members_of(50, 2);
    for (std::size_t i = 0; i < members.size(); ++i) members[i].weight = static_cast<std::uint32_t>(1 + i % 3);
    const auto before = owners(members);
    std::ranges::reverse(members);
    CHECK(std::ranges::equal(before, owners(members), same));
}

TEST_CASE(
    "law: maglev: a member that goes moves its own slots and no others, one that comes takes no more than its own") {
    const auto count = GENERATE(std::size_t{2}, 3, 10, 50, 200);
    const auto seed = GENERATE(1U, 2U);
    const bool weighted = GENERATE(false, true);
    CAPTURE(count, seed, weighted);
    auto members = members_of(count, seed);
    if (weighted)
        for (std::size_t i = 0; i < count; ++i) members[i].weight = static_cast<std::uint32_t>(1 + i * 7 % 10);
    const auto before = owners(members);
    for (std::size_t at = 0; at < count; at += 1 + count / 3) {
        auto rest = members;
        rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(at));
        REQUIRE(maglev_size(rest.size()) == before.size());
        const auto after = owners(rest);
        std::size_t moved_of_others = 0;
        for (std::size_t slot = 0; slot < before.size(); ++slot)
            if (!same(before[slot], members[at]) && !same(before[slot], after[slot])) ++moved_of_others;
        CHECK(moved_of_others == 0);
    }
}

TEST_CASE("maglev: no member has more than its share and a fifth of it") {
    const auto count = GENERATE(std::size_t{2}, 3, 5, 10, 33, 50, 100, 200);
    const auto seed = GENERATE(1U, 2U, 3U, 4U);
    CAPTURE(count, seed);
    const auto members = members_of(count, seed);
    const auto each = shares(members);
    const double fair = static_cast<double>(maglev_size(count)) / static_cast<double>(count);
    CHECK(static_cast<double>(*std::ranges::max_element(each)) <= fair * 1.2);
    CHECK(static_cast<double>(*std::ranges::min_element(each)) >= fair * 0.8);
}

TEST_CASE("maglev: shares follow the weights, those that are equal also without being 1") {
    auto members = members_of(8, 5);
    for (std::size_t i = 0; i < members.size(); ++i) members[i].weight = i < 4 ? 1 : 3;
    const auto each = shares(members);
    for (std::size_t i = 0; i < each.size(); ++i) {
        const double fair = 4096.0 * members[i].weight / 16;
        CAPTURE(i, each[i], fair);
        CHECK(std::abs(static_cast<double>(each[i]) - fair) <= fair * 0.2);
    }
    for (auto& member : members) member.weight = 50;
    CHECK(shares(members) == shares(members_of(8, 5)));
    members[0].weight = 0;
    for (std::size_t i = 1; i < members.size(); ++i) members[i].weight = 1;
    CHECK(shares(members) == shares(members_of(8, 5)));
}
