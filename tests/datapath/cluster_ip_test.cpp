// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What is not translated and asks a ClusterIP, or an address that no Service has: refused, answered or dropped.
#include <cstring>

#include "conversation.hpp"
#include "refusal.hpp"

using namespace svclb::test;

namespace {

Packet ping_of(const World& world, std::size_t size = 56) {
    const auto echo = static_cast<std::uint8_t>(world.family == 4 ? 8 : 128);
    return icmp(world.client().addr, world.frontend().addr, {echo, 0, 0x12340001}, payload_of(size));
}

Packet pong_of(const Packet& ping) {
    Packet answer = ping;
    std::swap(answer.to_mac, answer.from_mac);
    std::swap(answer.source, answer.destination);
    answer.ttl = 64;
    std::get<Icmp>(answer.transport).type = ping.source.v4() ? 0 : 129;
    return answer;
}

Datapath& answering_pings() {
    DatapathOptions options;
    options.settings.ping_reply = 1;
    Datapath& datapath = datapath_with(options);
    const auto cidr = [](const Ip& base, std::size_t prefix) {
        svclb_cidr row{};
        std::memcpy(row.addr, base.bytes.data(), sizeof(row.addr));
        std::array<std::uint8_t, 16> mask{};
        for (std::size_t i = 0; i < prefix; i++) mask[i / 8] = static_cast<std::uint8_t>(mask[i / 8] | 0x80u >> i % 8);
        std::memcpy(row.mask, mask.data(), sizeof(row.mask));
        return row;
    };
    auto& ranges = datapath.service_cidrs();
    ranges.cidr[0] = cidr(ip("10.96.0.0"), 96 + 20);
    ranges.cidr[1] = cidr(ip("fd00:96::"), 116);
    ranges.used = 2u << 16;
    return datapath;
}

// One range for each family: 10.96.0.0/20 and fd00:96::/116.
void set_service_cidrs(Datapath& datapath) {
    const auto cidr = [](const Ip& base, std::size_t prefix) {
        svclb_cidr row{};
        std::memcpy(row.addr, base.bytes.data(), sizeof(row.addr));
        std::array<std::uint8_t, 16> mask{};
        for (std::size_t i = 0; i < prefix; i++) mask[i / 8] = static_cast<std::uint8_t>(mask[i / 8] | 0x80u >> i % 8);
        std::memcpy(row.mask, mask.data(), sizeof(row.mask));
        return row;
    };
    auto& ranges = datapath.service_cidrs();
    ranges.cidr[0] = cidr(ip("10.96.0.0"), 96 + 20);
    ranges.cidr[1] = cidr(ip("fd00:96::"), 116);
    ranges.used = 2u << 16;
}

World one_world() {
    return GENERATE(World{4, IPPROTO_TCP}, World{6, IPPROTO_TCP});
}

}  // namespace

TEST_CASE("cluster ip: a ping is rejected", "[cluster_ip]") {
    const World world = one_world();
    const std::size_t size = GENERATE(0u, 1u, 56u, 600u);
    CAPTURE(world, size);
    Datapath& datapath = fresh_datapath();
    expect_cut_packets(datapath);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    mark_cluster_ip(datapath, world.frontend().addr);
    const Packet ping = ping_of(world, size);
    CHECK_RUN(datapath.from_pod(ping), redirected, unreachable_for(ping));
    CHECK(datapath.reason(SVCLB_REASON_UNKNOWN_PORT_REJECTED).packets == 1);
    CHECK(datapath.reasons() == 1);
}

TEST_CASE("cluster ip: a ping is answered where that is asked for", "[cluster_ip]") {
    const World world = one_world();
    const std::size_t size = GENERATE(0u, 1u, 56u, 1400u);
    const bool headers_between = GENERATE(false, true);
    CAPTURE(world, size, headers_between);
    Datapath& datapath = answering_pings();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    mark_cluster_ip(datapath, world.frontend().addr);
    Packet ping = ping_of(world, size);
    ping.trailer = size == 0 ? 18 : 0;
    if (headers_between) {
        ping.vlans = {3, 4};
        ping.ip_options = Bytes(4, 1);
        ping.extensions = {{IPPROTO_DSTOPTS, Bytes(6)}};
    }
    CHECK_RUN(datapath.from_pod(ping), redirected, pong_of(ping));
    CHECK(datapath.reason(SVCLB_REASON_PING_ANSWERED).packets == 1);
    CHECK(datapath.reasons() == 1);
}

TEST_CASE("cluster ip: a protocol that it does not serve is rejected", "[cluster_ip]") {
    const World world = one_world();
    const auto proto = GENERATE(std::uint8_t{IPPROTO_GRE}, std::uint8_t{IPPROTO_ESP}, std::uint8_t{IPPROTO_AH});
    CAPTURE(world, proto);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    mark_cluster_ip(datapath, world.frontend().addr);
    Packet packet = ping_of(world);
    packet.transport = OtherProtocol{proto};
    CHECK_RUN(datapath.from_pod(packet), redirected, unreachable_for(packet));
    CHECK(datapath.reason(SVCLB_REASON_UNKNOWN_PORT_REJECTED).packets == 1);
}

TEST_CASE("cluster ip: ICMP that asks for nothing goes on untouched", "[cluster_ip]") {
    const World world = one_world();
    CAPTURE(world);
    Datapath& datapath = answering_pings();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    mark_cluster_ip(datapath, world.frontend().addr);
    std::uint64_t passed = 0;
    // An answer, an error, a redirect; and the neighbour discovery of a pod to whom the ClusterIP is on its link.
    for (const unsigned type :
         world.family == 4 ? std::vector<unsigned>{0, 3, 5} : std::vector<unsigned>{129, 1, 137, 135}) {
        CAPTURE(type);
        Packet packet = ping_of(world);
        std::get<Icmp>(packet.transport).type = static_cast<std::uint8_t>(type);
        CHECK_RUN(datapath.from_pod(packet), next, packet);
        CHECK(datapath.reason(SVCLB_REASON_UNSUPPORTED_PROTOCOL).packets == ++passed);
    }
    CHECK(datapath.reasons() == passed);
}

TEST_CASE("cluster ip: an address that no Service has is dropped for every protocol", "[cluster_ip]") {
    const World world = one_world();
    CAPTURE(world);
    Datapath& datapath = answering_pings();
    set_service_cidrs(datapath);
    Packet packet = ping_of(world);
    CHECK_RUN(datapath.from_pod(packet), dropped, packet);
    packet.transport = OtherProtocol{IPPROTO_GRE};
    CHECK_RUN(datapath.from_pod(packet), dropped, packet);
    packet.transport = Icmp{static_cast<std::uint8_t>(world.family == 4 ? 3 : 135), 0, 0};
    CHECK_RUN(datapath.from_pod(packet), next, packet);
    CHECK(datapath.reason(SVCLB_REASON_UNALLOCATED_DROPPED).packets == 2);
    CHECK(datapath.reasons() == 2);
}

TEST_CASE("cluster ip: an address that no Service has is dropped from outside, too", "[cluster_ip]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = answering_pings();
    const Packet packet = world.first(world.stranger(), world.frontend());
    CHECK_RUN(datapath.from_uplink(packet), dropped, packet);
    CHECK(datapath.reason(SVCLB_REASON_UNALLOCATED_DROPPED).packets == 1);
    if (world.tcp_flow()) {
        const Packet later = world.data(world.stranger(), world.frontend());
        CHECK_RUN(datapath.from_uplink(later), next, later);
    }
    const Packet other = world.first(world.stranger(), world.backend());
    CHECK_RUN(datapath.from_uplink(other), next, other);
    CHECK(datapath.reasons() == 1);
}
