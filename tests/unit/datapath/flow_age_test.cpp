// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "flow_age.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cstring>

namespace svclb::datapath {
namespace {

constexpr std::uint64_t kNow = 1'000'000;

__be32 v4(std::uint8_t last) {
    return htonl(0x0a000000U + last);
}

svclb_flow flow_to(std::uint8_t address, std::uint16_t port, std::uint16_t client_port, svclb_flow_kind kind) {
    svclb_flow flow{};
    flow.addr[2] = htonl(SVCLB_V4_MAPPED_PREFIX);
    flow.addr[3] = v4(address);
    flow.port = htons(port);
    flow.client_port = htons(client_port);
    flow.kind = static_cast<std::uint8_t>(kind);
    return flow;
}

svclb_flow_key4 key(std::uint8_t source, std::uint16_t sport, std::uint8_t destination, std::uint16_t dport,
                    svclb_direction direction) {
    return {.saddr = v4(source),
            .daddr = v4(destination),
            .sport = htons(sport),
            .dport = htons(dport),
            .proto = IPPROTO_TCP,
            .direction = static_cast<std::uint8_t>(direction),
            .pad = 0};
}

template <class Key>
bool same(const std::optional<Key>& a, const Key& b) {
    return a && std::memcmp(&*a, &b, sizeof(Key)) == 0;
}

svclb_flow seen(std::uint64_t ago_s, bool answered) {
    svclb_flow flow{};
    flow.kind = SVCLB_FLOW_FORWARD;
    flow.seen_s = static_cast<std::uint32_t>(kNow - ago_s);
    flow.answered = answered ? 1 : 0;
    return flow;
}

// Client 1:1000 dials frontend 9:80 and is led to backend 2:8080, which sees client port 1001.
const svclb_flow_key4 kForwardKey = key(1, 1000, 9, 80, SVCLB_FROM_POD);
const svclb_flow kForward = flow_to(2, 8080, 1001, SVCLB_FLOW_FORWARD);
const svclb_flow_key4 kReplyKey = key(2, 8080, 1, 1001, SVCLB_TO_POD);
const svclb_flow kReply = flow_to(9, 80, 1000, SVCLB_FLOW_REPLY);

// Pod 2 dials the same frontend and is led to itself: the backend sees the frontend as its client.
const svclb_flow_key4 kHairpinKey = key(2, 1000, 9, 80, SVCLB_FROM_POD);
const svclb_flow kHairpin = flow_to(2, 8080, 1001, SVCLB_FLOW_HAIRPIN);
const svclb_flow_key4 kHairpinReplyKey = key(2, 8080, 9, 1001, SVCLB_FROM_POD);
const svclb_flow kHairpinReply = flow_to(9, 80, 1000, SVCLB_FLOW_HAIRPIN_REPLY);

// Client 1:1000, from outside and already on its way to backend 2:8080 of another node, leaves as node 7:61000.
const svclb_flow_key4 kSourceKey = key(1, 1000, 2, 8080, SVCLB_TO_WIRE);
const svclb_flow kSource = flow_to(7, 61000, 8080, SVCLB_FLOW_SOURCE);
const svclb_flow_key4 kSourceReplyKey = key(2, 8080, 7, 61000, SVCLB_FROM_WIRE);
const svclb_flow kSourceReply = flow_to(1, 1000, 8080, SVCLB_FLOW_SOURCE_REPLY);

}  // namespace

TEST_CASE("the two directions of a flow are each other's partner") {
    CHECK(same(partner_key(kForwardKey, kForward), kReplyKey));
    CHECK(same(partner_key(kReplyKey, kReply), kForwardKey));
}

TEST_CASE("a flow from outside has its partner at the same device") {
    const auto forward = key(1, 1000, 9, 80, SVCLB_FROM_WIRE);
    const auto reply = key(2, 8080, 1, 1001, SVCLB_TO_WIRE);
    CHECK(same(partner_key(forward, kForward), reply));
    CHECK(same(partner_key(reply, kReply), forward));
    CHECK(same(partner_key(kSourceKey, kSource), kSourceReplyKey));
    CHECK(same(partner_key(kSourceReplyKey, kSourceReply), kSourceKey));
}

TEST_CASE("the two directions of a hairpin flow are each other's partner") {
    CHECK(same(partner_key(kHairpinKey, kHairpin), kHairpinReplyKey));
    CHECK(same(partner_key(kHairpinReplyKey, kHairpinReply), kHairpinKey));
}

TEST_CASE("an IPv6 flow's partners carry whole addresses") {
    svclb_flow_key6 forward{};
    REQUIRE(inet_pton(AF_INET6, "fd00::1:2:3:1", forward.saddr) == 1);
    REQUIRE(inet_pton(AF_INET6, "fd00:9::9", forward.daddr) == 1);
    forward.sport = htons(1000);
    forward.dport = htons(53);
    forward.proto = IPPROTO_UDP;
    forward.direction = SVCLB_FROM_POD;
    svclb_flow flow{};
    flow.kind = SVCLB_FLOW_FORWARD;
    REQUIRE(inet_pton(AF_INET6, "fd00::1:2:3:2", flow.addr) == 1);
    flow.port = htons(5353);
    flow.client_port = htons(1001);

    svclb_flow_key6 reply{};
    std::memcpy(reply.saddr, flow.addr, sizeof(reply.saddr));
    std::memcpy(reply.daddr, forward.saddr, sizeof(reply.daddr));
    reply.sport = htons(5353);
    reply.dport = htons(1001);
    reply.proto = IPPROTO_UDP;
    reply.direction = SVCLB_TO_POD;
    CHECK(same(partner_key(forward, flow), reply));
}

TEST_CASE("a direct conversation has no partner, nor has a flow whose answers pass elsewhere") {
    CHECK_FALSE(partner_key(kReplyKey, flow_to(9, 80, 1000, SVCLB_FLOW_DIRECT)));
    CHECK_FALSE(partner_key(kForwardKey, flow_to(2, 8080, 1000, SVCLB_FLOW_ENCAPSULATED)));
}

TEST_CASE("a flow whose answers pass elsewhere rests for a quarter of an hour when its client has closed") {
    const FlowTimeouts timeouts;
    svclb_flow flow = seen(900, true);
    flow.kind = SVCLB_FLOW_ENCAPSULATED;
    CHECK_FALSE(is_dead(IPPROTO_TCP, flow, nullptr, kNow + 1, timeouts, true));
    flow.client_fin = 1;
    CHECK_FALSE(is_dead(IPPROTO_TCP, flow, nullptr, kNow, timeouts, false));
    CHECK(is_dead(IPPROTO_TCP, flow, nullptr, kNow + 1, timeouts, false));
    flow.seen_s = static_cast<std::uint32_t>(kNow - timeouts.tcp_closing_s);
    CHECK_FALSE(is_dead(IPPROTO_TCP, flow, nullptr, kNow, timeouts, true));
    CHECK(is_dead(IPPROTO_TCP, flow, nullptr, kNow + 1, timeouts, true));
}

TEST_CASE("a flow dies one second after the timeout of its state") {
    const FlowTimeouts timeouts;
    svclb_flow reset = seen(0, true);
    reset.reset = 1;
    svclb_flow closed = seen(0, true);
    closed.client_fin = 1;
    closed.backend_fin = 1;
    svclb_flow half_closed = seen(0, true);
    half_closed.client_fin = 1;
    struct Case {
        std::uint8_t proto;
        svclb_flow flow;
        std::uint32_t timeout_s;
    };
    const auto [proto, flow, timeout_s] = GENERATE_COPY(
        Case{IPPROTO_TCP, seen(0, true), timeouts.tcp_established_s},
        Case{IPPROTO_TCP, seen(0, false), timeouts.tcp_half_open_s}, Case{IPPROTO_TCP, reset, timeouts.tcp_closing_s},
        Case{IPPROTO_TCP, closed, timeouts.tcp_closing_s}, Case{IPPROTO_TCP, half_closed, timeouts.tcp_established_s},
        Case{IPPROTO_UDP, seen(0, true), timeouts.udp_answered_s}, Case{IPPROTO_UDP, seen(0, false), timeouts.udp_s},
        Case{IPPROTO_SCTP, seen(0, true), timeouts.tcp_established_s});

    CHECK_FALSE(is_dead(proto, flow, nullptr, kNow + timeout_s, timeouts));
    CHECK(is_dead(proto, flow, nullptr, kNow + timeout_s + 1, timeouts));
}

TEST_CASE("a pair lives while either direction is seen, in whichever order they are asked") {
    const FlowTimeouts timeouts;
    const svclb_flow idle = seen(timeouts.tcp_established_s + 10, true);
    const svclb_flow busy = seen(1, true);
    CHECK(is_dead(IPPROTO_TCP, idle, nullptr, kNow, timeouts));
    CHECK_FALSE(is_dead(IPPROTO_TCP, idle, &busy, kNow, timeouts));
    CHECK_FALSE(is_dead(IPPROTO_TCP, busy, &idle, kNow, timeouts));
}

TEST_CASE("what one direction has seen of the end counts for both") {
    const FlowTimeouts timeouts;
    svclb_flow forward = seen(timeouts.tcp_closing_s + 1, true);
    forward.client_fin = 1;
    svclb_flow reply = seen(timeouts.tcp_closing_s + 1, false);
    CHECK_FALSE(is_dead(IPPROTO_TCP, forward, &reply, kNow, timeouts));
    reply.backend_fin = 1;
    CHECK(is_dead(IPPROTO_TCP, forward, &reply, kNow, timeouts));
}

TEST_CASE("in a crowded table what both ends closed makes room at once, and nothing else does") {
    const FlowTimeouts timeouts;
    svclb_flow closed = seen(3, true);
    closed.client_fin = 1;
    closed.backend_fin = SVCLB_FIN_FIRST;
    svclb_flow reset = closed;
    reset.reset = 1;
    svclb_flow half_closed = seen(3, true);
    half_closed.backend_fin = SVCLB_FIN_FIRST;
    CHECK_FALSE(is_dead(IPPROTO_TCP, closed, nullptr, kNow, timeouts, false));
    CHECK_FALSE(is_fresh(IPPROTO_TCP, closed, kNow, timeouts, true));
    CHECK(is_dead(IPPROTO_TCP, closed, nullptr, kNow, timeouts, true));
    for (const svclb_flow& other : {reset, half_closed, seen(3, true), seen(3, false)})
        CHECK_FALSE(is_dead(IPPROTO_TCP, other, nullptr, kNow, timeouts, true));
    closed.seen_s = static_cast<std::uint32_t>(kNow - 2);  // its last acknowledgment may be asked for again
    CHECK_FALSE(is_dead(IPPROTO_TCP, closed, nullptr, kNow, timeouts, true));
}

TEST_CASE("a tuple rests for longer in the tables than the backend remembers it") {
    svclb_flow closed = seen(60, true);
    closed.client_fin = 1;
    closed.backend_fin = SVCLB_FIN_FIRST;
    CHECK_FALSE(is_dead(IPPROTO_TCP, closed, nullptr, kNow, FlowTimeouts{}));
}

TEST_CASE("a packet that is later than our clock keeps its flow") {
    svclb_flow flow = seen(0, false);
    flow.seen_s += 5;
    CHECK_FALSE(is_dead(IPPROTO_UDP, flow, nullptr, kNow, FlowTimeouts{}));
    CHECK(is_fresh(IPPROTO_UDP, flow, kNow, FlowTimeouts{}));
}

TEST_CASE("what is fresh is never dead, whatever its partner says") {
    const FlowTimeouts timeouts;
    const std::uint8_t proto = GENERATE(std::uint8_t{IPPROTO_TCP}, std::uint8_t{IPPROTO_UDP});
    const std::uint64_t idle_s = GENERATE(0U, 29U, 30U, 31U, 60U, 61U, 121U, 100000U);
    svclb_flow partner = seen(100000, true);
    partner.reset = 1;
    const svclb_flow flow = seen(idle_s, GENERATE(true, false));
    if (is_fresh(proto, flow, kNow, timeouts)) {
        CHECK_FALSE(is_dead(proto, flow, &partner, kNow, timeouts));
        CHECK_FALSE(is_dead(proto, flow, nullptr, kNow, timeouts));
    } else {
        CHECK(idle_s > std::min({timeouts.udp_s, timeouts.tcp_half_open_s}));
    }
}

}  // namespace svclb::datapath
