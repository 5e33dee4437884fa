// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What is not translated and asks a ClusterIP, or an address that no Service has: refused, answered or dropped.
#include "conversation.hpp"
#include "fragments.hpp"
#include "ranges.hpp"
#include "refusal.hpp"

using namespace svclb::test;

namespace {

Packet ping(const Ip& from, const Ip& to, std::size_t size = 56) {
    const auto echo = static_cast<std::uint8_t>(from.v4() ? 8 : 128);
    return icmp(from, to, {echo, 0, 0x12340001}, payload_of(size));
}
Packet ping_of(const World& world, std::size_t size = 56) {
    return ping(world.client().addr, world.frontend().addr, size);
}
Packet ping_from_outside(const World& world) {
    return ping(world.stranger().addr, world.frontend().addr);
}

Packet pong_of(const Packet& asked) {
    Packet answer = asked;
    std::swap(answer.to_mac, answer.from_mac);
    std::swap(answer.source, answer.destination);
    answer.ttl = 64;
    std::get<Icmp>(answer.transport).type = asked.source.v4() ? 0 : 129;
    return answer;
}

Datapath& answering_pings() {
    DatapathOptions options;
    options.settings.ping_reply = 1;
    Datapath& datapath = datapath_with(options);
    set_service_cidrs(datapath);
    return datapath;
}

// A ClusterIP may be dialled from outside.
Datapath& open_to_outside(bool ping_reply) {
    DatapathOptions options;
    options.settings.ping_reply = ping_reply ? 1 : 0;
    options.settings.external_cluster_ip = 1;
    Datapath& datapath = datapath_with(options);
    set_service_cidrs(datapath);
    return datapath;
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

TEST_CASE("cluster ip: from outside nobody's address meets silence for every protocol", "[cluster_ip]") {
    World world = one_world();
    world.bare = GENERATE(false, true);
    const bool allowed = GENERATE(false, true);
    CAPTURE(world, allowed);
    Datapath& datapath = allowed ? open_to_outside(true) : answering_pings();
    datapath.bare_uplinks(world.bare);
    Packet packet = ping_from_outside(world);
    CHECK_RUN(datapath.from_uplink(packet), dropped, packet);
    CHECK_RUN(datapath.to_uplink(packet), next, packet);
    packet.transport = OtherProtocol{IPPROTO_GRE};
    CHECK_RUN(datapath.from_uplink(packet), dropped, packet);
    packet.transport = Icmp{static_cast<std::uint8_t>(world.family == 4 ? 3 : 135), 0, 0};
    CHECK_RUN(datapath.from_uplink(packet), next, packet);
    const Packet elsewhere = ping(world.stranger().addr, world.backend().addr);
    CHECK_RUN(datapath.from_uplink(elsewhere), next, elsewhere);
    CHECK(datapath.reason(SVCLB_REASON_UNALLOCATED_DROPPED).packets == 2);
    CHECK(datapath.reasons() == 2);
}

TEST_CASE("cluster ip: fragments to an address that no Service has are dropped, all of them", "[cluster_ip]") {
    const World world = udp_world();
    const bool from_pod = GENERATE(false, true);
    const bool pings = GENERATE(false, true);
    CAPTURE(world, from_pod, pings);
    Datapath& datapath = answering_pings();
    const Endpoint client = from_pod ? world.client() : world.stranger();
    const Packet whole =
        pings ? ping(client.addr, world.frontend().addr, 2000) : udp(client, world.frontend(), payload_of(2000));
    for (const Packet& packet : fragments_of(whole)) {
        CHECK_RUN(from_pod ? datapath.from_pod(packet) : datapath.from_uplink(packet), dropped, packet);
    }
    CHECK(datapath.reason(SVCLB_REASON_UNALLOCATED_DROPPED).packets == datapath.reasons());
    CHECK(datapath.reasons() >= 2);
}

TEST_CASE("cluster ip: a ping from outside is dropped, and as a pod's where a ClusterIP may be dialled from there",
          "[cluster_ip]") {
    World world = one_world();
    const bool reply = GENERATE(false, true);
    const bool allowed = GENERATE(false, true);
    CAPTURE(world, reply, allowed);
    Datapath& datapath = allowed ? open_to_outside(reply) : reply ? answering_pings() : fresh_datapath();
    expect_cut_packets(datapath);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    mark_cluster_ip(datapath, world.frontend().addr);
    const Packet packet = ping_from_outside(world);
    const Run run = datapath.from_uplink(packet);
    if (!allowed) {
        CHECK_RUN(run, dropped, packet);
        CHECK(datapath.reason(SVCLB_REASON_CLUSTER_IP_FROM_OUTSIDE).packets == 1);
    } else if (reply) {
        CHECK_RUN(run, redirected, pong_of(packet));
        CHECK(datapath.reason(SVCLB_REASON_PING_ANSWERED).packets == 1);
    } else {
        CHECK_RUN(run, redirected, unreachable_for(packet));
        CHECK(datapath.reason(SVCLB_REASON_UNKNOWN_PORT_REJECTED).packets == 1);
    }
    CHECK(datapath.reasons() == 1);
}
