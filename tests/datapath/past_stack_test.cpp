// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What XDP leaves of a connection that only passes through the node: tc sends it on by itself, errors about it too, but
// for what the stack has to answer.
#include "icmp_errors.hpp"
#include "turned_flow.hpp"

using namespace svclb::test;

TEST_CASE("past stack: what XDP leaves of a connection goes past the stack, and datagrams do not", "[xdp]") {
    const World world = any_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    Datapath& datapath = turned.datapath;
    const Packet packets[] = {turned.out(), turned.back()};
    const auto half_way = [&](const Packet& packet) {
        return packet.source == turned.flow.client.addr ? with_destination(packet, turned.flow.backend)
                                                        : with_destination(packet, turned.flow.forwarded);
    };
    const auto check = [&](const Packet& packet, bool goes_past) {
        Packet expected = half_way(packet);
        if (goes_past) expected.ttl--;
        CHECK_RUN(datapath.from_uplink(packet), goes_past ? redirected : next, expected);
    };
    turned.serve(true);
    for (Packet packet : packets) {
        const bool tcp = world.tcp_flow();
        check(packet, tcp);
        Packet large = packet;
        large.payload = payload_of(kMtu - (packet.frame().size() - packet.payload.size() - 14));
        check(large, tcp);
        large.payload.push_back(1);
        check(large, false);  // the stack answers it
        packet.ttl = 2;
        check(packet, tcp);
        packet.ttl = 1;
        check(packet, false);
    }
    REQUIRE(RoutedNetns::run("neigh del " + to_string(world.net("10.0.0.254", "fd00:77::fe")) + " dev uplink"));
    check(packets[0], world.tcp_flow());
    REQUIRE(RoutedNetns::run(world.family == 4 ? "route del default" : "-6 route del default"));
    check(packets[0], false);
    turned.serve(false);
    check(packets[1], false);
}

TEST_CASE("past stack: a connection with a VLAN tag stays the stack's", "[xdp]") {
    const World world = tcp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    turned.serve(true);
    Packet packet = turned.out();
    packet.vlans = {7};
    CHECK_RUN(turned.datapath.from_uplink(packet), next, with_destination(packet, turned.flow.backend));
}

TEST_CASE("past stack: a super-packet goes past the stack as far as its segments fit", "[xdp]") {
    const World world = tcp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    turned.serve(true);
    Packet packet = turned.out();
    const auto fits = static_cast<std::uint32_t>(kMtu - (packet.frame().size() - packet.payload.size() - 14));
    packet.payload = payload_of(std::size_t{2} * fits);
    Packet expected = with_destination(packet, turned.flow.backend);
    CHECK_RUN(turned.datapath.from_uplink(packet, {.size = fits + 1, .segments = 2}), next, expected);
    expected.ttl--;
    CHECK_RUN(turned.datapath.from_uplink(packet, {.size = fits, .segments = 2}), redirected, expected);
}

// On an uplink that takes in whatever passes by, behind a switch that floods: every node has the same load balancer's
// addresses, and one is meant.
TEST_CASE("past stack: a frame for somebody else's hardware address stays the stack's, which drops it", "[xdp]") {
    const World world = any_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    turned.serve(true);
    for (Packet packet : {turned.out(), turned.back()}) {
        packet.to_mac[5] ^= 1U;
        const Packet there = with_destination(packet, turned.flow.backend);
        const Packet back = with_destination(packet, turned.flow.forwarded);
        CHECK_RUN(turned.datapath.from_uplink(packet), next, packet.source == turned.flow.client.addr ? there : back);
    }
}

TEST_CASE("past stack: errors about a connection go past the stack as its packets do, those about datagrams do not",
          "[xdp]") {
    const World world = any_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    Datapath& datapath = turned.datapath;
    const Outside& flow = turned.flow;
    const Icmp too_big = world.family == 4 ? Icmp{3, 4, 1300} : Icmp{2, 0, 1300};
    const Ip router = world.stranger().addr + 9;
    const auto check = [&](const Packet& error, Packet expected, bool goes_past) {
        if (goes_past) expected.ttl--;
        CHECK_RUN(datapath.from_uplink(error), goes_past ? redirected : next, expected);
    };
    const Packet there = world.data(flow.forwarded, flow.backend);
    const Packet back = world.data(flow.backend, flow.forwarded);
    turned.serve(true);
    for (const bool from_receiver : {false, true}) {
        // About what went to the backend, for the client; and about an answer, for the backend.
        const Ip first = from_receiver ? flow.backend.addr : router;
        const Ip second = from_receiver ? flow.client.addr : router;
        const Packet about_there = error_about(first, turned.out_translated(turned.out()), too_big);
        const Packet about_back = error_about(second, turned.back_translated(turned.back()), too_big);
        CHECK(datapath.from_wire(about_there.frame()).verdict == xdp_pass);
        CHECK(datapath.from_wire(about_back.frame()).verdict == xdp_pass);
        check(about_there, error_about(first, there, too_big), world.tcp_flow());
        check(about_back, error_about(second, back, too_big), world.tcp_flow());
        CHECK_RUN(datapath.to_uplink(error_about(first, there, too_big)), next,
                  error_about(from_receiver ? flow.dialled.addr : router, turned.out(), too_big));
        CHECK_RUN(datapath.to_uplink(error_about(second, back, too_big)), next,
                  error_about(from_receiver ? flow.node.addr : router, turned.back(), too_big));
    }
    Packet error = error_about(router, turned.out_translated(turned.out()), too_big);
    Packet translated = error_about(router, there, too_big);
    error.ttl = translated.ttl = 1;
    check(error, translated, false);  // the stack's to answer, or to be silent about
    error.ttl = translated.ttl = 63;
    turned.serve(false);
    check(error, translated, false);
    // Somebody else's.
    const Packet other = error_about(router, world.data({flow.node.addr, 40000}, flow.backend), too_big);
    turned.serve(true);
    CHECK_RUN(datapath.from_uplink(other), next, other);
    CHECK(datapath.reasons() == 0);
}
