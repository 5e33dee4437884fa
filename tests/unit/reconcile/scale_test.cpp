// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Work in proportion to what changed, counted in writes; the times are told and not judged.
#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <ctime>

#include "support.hpp"

using namespace svclb::test;
namespace model = svclb::model;

namespace {

double cpu_ms() {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

model::Address numbered(std::uint8_t net, std::uint32_t number) {
    model::Address made;
    made.bytes = {0,
                  0,
                  0,
                  0,
                  0,
                  0,
                  0,
                  0,
                  0,
                  0,
                  0xff,
                  0xff,
                  net,
                  static_cast<std::uint8_t>(number >> 16),
                  static_cast<std::uint8_t>(number >> 8),
                  static_cast<std::uint8_t>(number)};
    return made;
}

constexpr std::uint32_t kServices = 10000;
constexpr std::uint32_t kBackends = 5;  // of each of two ports

ServiceChange service(std::uint32_t number, std::uint32_t backends) {
    ServiceChange made{{"default", fmt::format("service-{:05}", number)}, {}};
    for (const std::string name : {"http", "metrics"}) {
        ServicePortState one;
        one.id.service = made.service;
        one.id.port_name = name;
        one.created = "2024-01-01T00:00:00Z";
        Frontend at;
        at.address = numbered(10, number);
        at.port = name == "http" ? 80 : 9090;
        one.frontends = {at};
        one.cluster = model::Verdict::forward;
        for (std::uint32_t host = 0; host < backends; ++host) {
            Backend to;
            to.address = numbered(172, number * 16 + host);
            to.port = name == "http" ? 8080 : 9090;
            to.node = fmt::format("node-{}", host * 97 % 200);
            to.zone = fmt::format("zone-{}", host % 3);
            to.in_cluster = true;
            one.backends.push_back(to);
        }
        made.state.push_back(std::move(one));
    }
    return made;
}

}  // namespace

TEST_CASE("20,000 service ports with 100,000 backends cost what they hold, one changed slice what it changed") {
    std::vector<ServiceChange> all;
    for (std::uint32_t number = 0; number < kServices; ++number) all.push_back(service(number, kBackends));
    FakeTables tables({.services = 4096, .slots = 16384, .backends = 16384});
    auto reconciler = *Reconciler::adopt(tables);

    auto begin = cpu_ms();
    const auto first = reconciler.apply(all);
    const auto first_ms = cpu_ms() - begin;
    REQUIRE(first.failures == 0);
    CHECK(tables.grown == 1);
    CHECK(reconciler.programmed().size() == std::size_t{kServices} * 2);
    CHECK(tables.backends.size() == std::size_t{kServices} * 2 * kBackends);

    constexpr std::uint32_t kChanges = 1000;
    std::vector<std::vector<ServiceChange>> smaller;
    for (std::uint32_t number = 0; number < kChanges; ++number) smaller.push_back({service(number, kBackends - 1)});
    begin = cpu_ms();
    for (const auto& change : smaller) {
        // Of each port: a fresh run, the row, one backend, the epoch.
        if (reconciler.apply(change).writes != 8) FAIL("a change of one slice wrote more than it changed");
    }
    const auto change_us = (cpu_ms() - begin) * 1e3 / kChanges;

    begin = cpu_ms();
    auto adopted = *Reconciler::adopt(tables);
    const auto adopt_ms = cpu_ms() - begin;
    for (std::uint32_t number = 0; number < kChanges; ++number) all[number] = smaller[number][0];
    begin = cpu_ms();
    CHECK(adopted.apply(all).writes == 0);
    const auto same_ms = cpu_ms() - begin;
    WARN(
        fmt::format("CPU: first sync {:.0f} ms for {} writes, one changed slice of two ports {:.1f} us, adoption "
                    "{:.0f} ms, nothing changed {:.0f} ms",
                    first_ms, first.writes, change_us, adopt_ms, same_ms));
}
