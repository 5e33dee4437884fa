// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "snapshot.hpp"

#include <arpa/inet.h>

#include <catch2/catch_test_macros.hpp>
#include <cstring>

#include "tables_fixture.hpp"

namespace svclb::ctl {
namespace {

using test::address;

svclb_flow_key4 key4(std::string_view source, std::uint16_t sport, std::string_view destination, std::uint16_t dport,
                     std::uint8_t proto) {
    svclb_flow_key4 key{};
    ::inet_pton(AF_INET, std::string(source).c_str(), &key.saddr);
    ::inet_pton(AF_INET, std::string(destination).c_str(), &key.daddr);
    key.sport = htons(sport);
    key.dport = htons(dport);
    key.proto = proto;
    return key;
}

svclb_flow entry(svclb_flow_kind kind, std::string_view target, std::uint16_t port, std::uint16_t client_port) {
    svclb_flow flow{};
    const Address where = address(target);
    std::memcpy(flow.addr, where.bytes.data(), sizeof flow.addr);
    flow.port = htons(port);
    flow.client_port = htons(client_port);
    flow.service = 3;
    flow.backend = 9;
    flow.seen_s = 100;
    flow.kind = static_cast<__u8>(kind);
    return flow;
}

FlowState state_of(std::uint8_t proto, bool answered, bool client_fin, bool backend_fin, bool reset) {
    svclb_flow flow = entry(SVCLB_FLOW_FORWARD, "10.1.0.1", 8080, 40000);
    flow.answered = answered ? 1 : 0;
    flow.client_fin = client_fin ? 1 : 0;
    flow.backend_fin = backend_fin ? 1 : 0;
    flow.reset = reset ? 1 : 0;
    FlowRow row;
    REQUIRE(flow_row(key4("10.1.0.7", 40000, "10.96.0.10", 80, proto), flow, 100, row));
    return row.state;
}

TEST_CASE("a forward entry is the flow as its client sees it") {
    FlowRow row;
    REQUIRE(flow_row(key4("10.1.0.7", 40000, "10.96.0.10", 80, IPPROTO_TCP),
                     entry(SVCLB_FLOW_FORWARD, "10.1.0.1", 8080, 1024), 130, row));
    CHECK(row == FlowRow{.client = address("10.1.0.7"),
                         .frontend = address("10.96.0.10"),
                         .backend = address("10.1.0.1"),
                         .client_port = 40000,
                         .frontend_port = 80,
                         .backend_port = 8080,
                         .translated_port = 1024,
                         .service = 3,
                         .backend_id = 9,
                         .idle_s = 30,
                         .proto = IPPROTO_TCP,
                         .kind = SVCLB_FLOW_FORWARD,
                         .state = FlowState::syn_sent});
}

TEST_CASE("a direct entry is keyed by the backend's replies and has no frontend") {
    svclb_flow_key6 key{};
    ::inet_pton(AF_INET6, "fd00::1", key.saddr);
    ::inet_pton(AF_INET6, "fd00::7", key.daddr);
    key.sport = htons(8080);
    key.dport = htons(40000);
    key.proto = IPPROTO_UDP;
    FlowRow row;
    REQUIRE(flow_row(key, entry(SVCLB_FLOW_DIRECT, "::", 0, 0), 99, row));
    CHECK(row.client == address("fd00::7"));
    CHECK(row.client_port == 40000);
    CHECK(row.backend == address("fd00::1"));
    CHECK(row.backend_port == 8080);
    CHECK(row.translated_port == 40000);
    CHECK(row.idle_s == 0);  // seen after the clock was read
    CHECK_FALSE(is_live(row));
}

TEST_CASE("entries of replies are no flows of their own") {
    FlowRow row;
    const auto key = key4("10.1.0.1", 8080, "10.1.0.7", 40000, IPPROTO_TCP);
    CHECK_FALSE(flow_row(key, entry(SVCLB_FLOW_REPLY, "10.96.0.10", 80, 40000), 100, row));
    CHECK_FALSE(flow_row(key, entry(SVCLB_FLOW_HAIRPIN_REPLY, "10.96.0.10", 80, 40000), 100, row));
    CHECK(row == FlowRow{});
}

TEST_CASE("TCP states come from the answer, the FINs and the RST") {
    CHECK(state_of(IPPROTO_TCP, false, false, false, false) == FlowState::syn_sent);
    CHECK(state_of(IPPROTO_TCP, true, false, false, false) == FlowState::established);
    CHECK(state_of(IPPROTO_TCP, true, true, false, false) == FlowState::closing);
    CHECK(state_of(IPPROTO_TCP, true, false, true, false) == FlowState::closing);
    CHECK(state_of(IPPROTO_TCP, true, true, true, false) == FlowState::closed);
    CHECK(state_of(IPPROTO_TCP, false, false, false, true) == FlowState::closed);
}

TEST_CASE("other protocols know only whether the backend has answered") {
    CHECK(state_of(IPPROTO_UDP, false, false, false, false) == FlowState::unreplied);
    CHECK(state_of(IPPROTO_UDP, true, false, false, false) == FlowState::assured);
    CHECK(state_of(IPPROTO_SCTP, true, false, false, false) == FlowState::assured);
}

TEST_CASE("a closed flow is no connection, a hairpin one is") {
    FlowRow row{.kind = SVCLB_FLOW_HAIRPIN, .state = FlowState::established};
    CHECK(is_live(row));
    row.state = FlowState::closed;
    CHECK_FALSE(is_live(row));
}

TEST_CASE("nothing below a directory is one line") {
    const auto snapshot = read_snapshot("/nonexistent/svclb", {});
    REQUIRE_FALSE(snapshot);
    CHECK(snapshot.error().message() == "no svclb state at /nonexistent/svclb");
}

}  // namespace
}  // namespace svclb::ctl
