// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "status_row.hpp"

#include <catch2/catch_test_macros.hpp>
#include <string>

namespace svclb::agent {
namespace {

using std::chrono::seconds;

const RealTime kNow{seconds(1000)};
constexpr std::uint64_t kSecond = 1000000000;

kube::SourceState state(bool connected, const std::string& error = "") {
    kube::SourceState made;
    made.connected = connected;
    made.error = error;
    made.bytes_received = 77;
    kube::ResourceState services;
    services.name = "services";
    services.synced = true;
    services.connected = connected;
    services.age = seconds(3);
    services.objects = 5;
    made.resources = {services, {}};
    return made;
}

}  // namespace

TEST_CASE("the row tells where the socket hooks are, and what this kernel keeps them from") {
    svclb_agent_status row{};
    show_sockets(row, "/sys/fs/cgroup", "this kernel ends no UDP socket");
    CHECK(std::string(row.sockets) == "/sys/fs/cgroup; this kernel ends no UDP socket");
    show_sockets(row, "/sys/fs/cgroup", "");
    CHECK(std::string(row.sockets) == "/sys/fs/cgroup");
}

TEST_CASE("the row tells since when the source is connected, or not, and why") {
    svclb_agent_status row{};
    show_source(row, state(true), kNow);
    CHECK(row.source_connected == 1);
    CHECK(row.source_since_ns == 1000 * kSecond);
    show_source(row, state(true), kNow + seconds(5));
    CHECK(row.source_since_ns == 1000 * kSecond);
    show_source(row, state(false, "no route"), kNow + seconds(6));
    CHECK(row.source_connected == 0);
    CHECK(row.source_since_ns == 1006 * kSecond);
    CHECK(std::string{row.source_error} == "no route");
    show_source(row, state(true, "no route"), kNow + seconds(9));
    CHECK(row.source_since_ns == 1009 * kSecond);
    CHECK(std::string{row.source_error}.empty());
}

TEST_CASE("the row tells how each kind of objects fares") {
    svclb_agent_status row{};
    show_source(row, state(true), kNow);
    REQUIRE(row.source_parts == 2);
    CHECK(row.source_bytes == 77);
    CHECK(std::string{row.source_part[0].name} == "services");
    CHECK(row.source_part[0].heard_ns == 997 * kSecond);
    CHECK(row.source_part[0].objects == 5);
    CHECK(row.source_part[0].connected == 1);
    CHECK(row.source_part[1].heard_ns == 0);
}

TEST_CASE("passes add up") {
    svclb_agent_status row{};
    PassReport report;
    report.began = kNow;
    report.ended = kNow + seconds(1);
    report.writes = 3;
    report.failures = 1;
    report.complete = true;
    report.held_services = 2;
    report.conflicts = 4;
    show_pass(row, report);
    report.writes = 0;
    show_pass(row, report);
    CHECK(row.passes == 2);
    CHECK(row.writes == 3);
    CHECK(row.last_writes == 0);
    CHECK(row.failures == 2);
    CHECK(row.complete == 1);
    CHECK(row.held_services == 2);
    CHECK(row.conflicts == 4);
    CHECK(row.pass_ns == kSecond);
}

TEST_CASE("problems are escaped, cut to their fields and limited in number") {
    const auto rows =
        problem_rows(std::vector{Warning{"Service default/\x1b[31m", "InvalidField", std::string(999, 'x')}});
    REQUIRE(rows.size() == 1);
    CHECK(std::string{rows[0].object} == "Service default/\\x1b[31m");
    CHECK(std::string{rows[0].reason} == "InvalidField");
    CHECK(std::string{rows[0].text}.size() == SVCLB_STRING_SIZE - 1);
    CHECK(problem_rows(std::vector<Warning>(SVCLB_PROBLEMS + 1)).size() == SVCLB_PROBLEMS);
}

}  // namespace svclb::agent
