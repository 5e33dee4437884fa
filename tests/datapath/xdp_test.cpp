// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// XDP turns round what the two programs of tc would translate step by step, and nothing else: the same frames, but for
// what the stack between the two does (hop limit, hardware addresses). What it passes up has not changed by a bit.
#include <functional>

#include "turned_flow.hpp"

using namespace svclb::test;

namespace {

World xdp_world() {
    return any_world();
}

Packet forwarded(Packet packet) {
    packet.ttl--;
    packet.to_mac = kGateway;
    packet.from_mac = kUplink;
    return packet;
}

void check_passed(TurnedFlow& turned, const Bytes& frame) {
    const Run run = turned.wire(frame);
    CHECK(run.verdict == xdp_pass);
    CHECK(difference(frame, run.frame) == std::string());
}
void check_passed(TurnedFlow& turned, const Packet& packet) {
    check_passed(turned, packet.frame());
}

}  // namespace

TEST_CASE("xdp: a packet to another node and its answer are turned round as tc translates them", "[xdp]") {
    const World world = xdp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    for (const Packet& packet : {turned.out(), turned.back()}) {
        CHECK_RUN(turned.wire(packet.frame()), xdp_redirect, forwarded(turned.translated(packet)));
    }
    CHECK(turned.datapath.reasons() == 0);
}

TEST_CASE("xdp: the last hop is left, and what has none goes up", "[xdp]") {
    const World world = xdp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    Packet packet = turned.out();
    packet.ttl = 2;
    CHECK_RUN(turned.wire(packet.frame()), xdp_redirect, forwarded(turned.translated(packet)));
    for (const int ttl : {0, 1}) {
        packet.ttl = static_cast<std::uint8_t>(ttl);
        check_passed(turned, packet);
    }
}

TEST_CASE("xdp: what the exit cannot carry goes up", "[xdp]") {
    const World world = xdp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    Packet packet = turned.out();
    const std::size_t headers = packet.frame().size() - packet.payload.size() - 14;
    packet.payload = payload_of(kMtu - headers);
    CHECK_RUN(turned.wire(packet.frame()), xdp_redirect, forwarded(turned.translated(packet)));
    packet.payload.push_back(1);
    check_passed(turned, packet);
}

TEST_CASE("xdp: Ethernet's padding stays", "[xdp]") {
    const World world = xdp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    Packet packet = turned.out();
    packet.trailer = 5;
    CHECK_RUN(turned.wire(packet.frame()), xdp_redirect, forwarded(turned.translated(packet)));
}

TEST_CASE("xdp: the uplink by which a packet came may be its exit", "[xdp]") {
    // No IPv6 route leads to the loopback device, by which test-run's packets come; tests/e2e/xdp.sh has both.
    const World world = GENERATE(World{4, IPPROTO_TCP}, World{4, IPPROTO_UDP});
    CAPTURE(world);
    const RoutedNetns netns;
    REQUIRE(RoutedNetns::run("route add 10.244.2.0/24 dev lo"));
    REQUIRE(RoutedNetns::run("neigh add 10.244.2.20 lladdr 02:00:00:00:00:fe dev lo nud permanent"));
    TurnedFlow turned(world);
    Packet expected = forwarded(turned.translated(turned.out()));
    expected.from_mac = {};
    CHECK_RUN(turned.wire(turned.out().frame()), xdp_tx, expected);
}

TEST_CASE("xdp: a frame for somebody else's hardware address goes up", "[xdp]") {
    const World world = xdp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    for (std::size_t at = 0; at < 6; ++at) {
        Packet packet = turned.out();
        packet.to_mac[at] ^= 1U;
        check_passed(turned, packet);
    }
}

TEST_CASE("xdp: only uplinks that it serves alike exchange frames", "[xdp]") {
    const World world = xdp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    const std::uint32_t exit = TurnedFlow::uplink();
    turned.put_link(exit, kUplink, SVCLB_XDP_GENERIC);
    check_passed(turned, turned.out());
    turned.put_link(kEntry, Packet{}.to_mac, SVCLB_XDP_GENERIC);
    CHECK(turned.wire(turned.out().frame()).verdict == xdp_redirect);
    turned.links.erase(exit);
    check_passed(turned, turned.out());
    turned.put_link(exit, kUplink);
    turned.links.erase(kEntry);
    check_passed(turned, turned.out());
}

TEST_CASE("xdp: without a route or a neighbour it is the stack's", "[xdp]") {
    const World world = xdp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    const std::string gateway = to_string(world.net("10.0.0.254", "fd00:77::fe"));
    REQUIRE(RoutedNetns::run("neigh del " + gateway + " dev uplink"));
    check_passed(turned, turned.out());
    REQUIRE(RoutedNetns::run(world.family == 4 ? "route del default" : "-6 route del default"));
    check_passed(turned, turned.out());
}

TEST_CASE("xdp: a checksum that a device was to fill in goes up", "[xdp]") {
    const World world = xdp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    for (const Packet& packet : {turned.out(), turned.back()}) {
        Bytes frame = packet.frame();
        const std::size_t l4 = world.family == 4 ? 34 : 54;
        std::uint64_t sum = world.proto + frame.size() - l4;
        for (std::size_t at = world.family == 4 ? 26 : 22; at < l4; at += 2) sum += frame[at] * 256U + frame[at + 1];
        while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
        const std::size_t check = l4 + (world.tcp_flow() ? 16 : 6);
        frame[check] = static_cast<std::uint8_t>(sum >> 8);
        frame[check + 1] = static_cast<std::uint8_t>(sum);
        check_passed(turned, frame);
    }
}

TEST_CASE("xdp: a wrong checksum stays wrong", "[xdp]") {
    const World world = xdp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    Bytes frame = turned.out().frame();
    frame.back() ^= 0x40;
    const Run run = turned.wire(frame);
    CHECK(run.verdict == xdp_redirect);
    CHECK(wrong_checksums(run.frame) == "transport checksum\n");
}

TEST_CASE("xdp: a datagram without a checksum stays without; in IPv6 it goes up", "[xdp]") {
    const World world = udp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    Packet packet = turned.out();
    std::get<Udp>(packet.transport).without_checksum = true;
    if (world.family == 6) return check_passed(turned, packet);
    CHECK_RUN(turned.wire(packet.frame()), xdp_redirect, forwarded(turned.translated(packet)));
}

TEST_CASE("xdp: a UDP checksum that computes to zero is sent as 0xffff", "[xdp]") {
    const World world = udp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    Packet packet = turned.out();
    packet.payload = payload_of(32);
    packet.payload[0] = packet.payload[1] = 0;
    const Bytes probe = turned.translated(packet).frame();
    const std::size_t at = probe.size() - packet.payload.size() - 2;
    std::copy_n(probe.begin() + static_cast<std::ptrdiff_t>(at), 2, packet.payload.begin());
    const Packet expected = forwarded(turned.translated(packet));
    REQUIRE(expected.frame()[at] == 0xff);
    REQUIRE(expected.frame()[at + 1] == 0xff);
    CHECK_RUN(turned.wire(packet.frame()), xdp_redirect, expected);
}

TEST_CASE("xdp: what begins or ends a connection goes up", "[xdp]") {
    const World world = tcp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    for (const unsigned flags : {unsigned{syn}, syn | ack, fin | ack, unsigned{rst}, rst | ack})
        for (Packet packet : {turned.out(), turned.back()}) {
            packet.tcp().flags = static_cast<std::uint8_t>(flags);
            check_passed(turned, packet);
        }
}

TEST_CASE("xdp: unusual headers go up", "[xdp]") {
    const World world = xdp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    const Packet packet = turned.out();
    Packet odd = packet;
    odd.vlans = {7};
    check_passed(turned, odd);
    odd = packet;
    if (world.family == 4) {
        odd.ip_options = {1, 1, 1, 0};
        check_passed(turned, odd);
        odd = packet;
        odd.fragment_field = 0x2000;
        check_passed(turned, odd);
        odd.fragment_field = 8;
        check_passed(turned, odd);
    } else {
        odd.extensions = {{60, Bytes(6)}};
        check_passed(turned, odd);
        odd.extensions = {{44, {0, 1, 0, 0, 0, 7}}};
        check_passed(turned, odd);
    }
    Bytes frame = packet.frame();
    for (std::size_t size = 14; size < frame.size(); ++size)
        check_passed(turned, Bytes(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size)));
    if (world.tcp_flow()) return;
    frame[frame.size() - packet.payload.size() - 3]--;  // its own length; IP's stays
    check_passed(turned, frame);
}

TEST_CASE("xdp: a flow that tc has not met in this tick, or that was reset, goes up", "[xdp]") {
    const World world = xdp_world();
    const bool second_step = GENERATE(false, true);
    const bool reset = GENERATE(false, true);
    CAPTURE(world, second_step, reset);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    const Packet packet = turned.out();
    const auto key = second_step ? flow_key(turned.flow.client, turned.flow.backend, world.proto, SVCLB_TO_WIRE)
                                 : flow_key(turned.flow.client, turned.flow.dialled, world.proto, SVCLB_FROM_WIRE);
    const Run run = turned.within_a_tick([&] {
        auto entry = turned.datapath.find_flow(key);
        REQUIRE(entry);
        if (reset)
            entry->flow.reset = 1;
        else
            entry->flow.tick--;
        turned.datapath.put_flow(*entry);
        return turned.datapath.from_wire(packet.frame());
    });
    CHECK(run.verdict == xdp_pass);
    CHECK(difference(packet.frame(), run.frame) == std::string());
}

TEST_CASE("xdp: flows that are not established, or whose backend is here, go up", "[xdp]") {
    const World world = wire_world();
    const Seen seen = anywhere();
    CAPTURE(world, seen);
    const RoutedNetns netns;
    const NodePort at(world, seen);
    const auto check = [&](const Packet& packet) {
        put_xdp_link(at.datapath, kEntry, packet.to_mac);
        put_xdp_link(at.datapath, TurnedFlow::uplink(), kUplink);
        const Run run = at.datapath.from_wire(packet.frame());
        remove_xdp_link(at.datapath, kEntry);
        CHECK(run.verdict == xdp_pass);
        CHECK(difference(packet.frame(), run.frame) == std::string());
    };
    const Endpoint client = outside_client(world);
    const Packet packet = world.data(client, node_port(world));
    check(packet);
    const Outside flow = dial(at, client);
    if (seen != Seen::node_elsewhere || world.proto != IPPROTO_UDP) check(packet);
    check(data_from(world, flow));
    check_reply(at.datapath, flow, answer_of(world, flow));
    check(packet);
    if (seen == Seen::node_elsewhere && world.proto != IPPROTO_SCTP) return;
    check_in(at.datapath, flow, packet);
    check(packet);
    check(data_from(world, flow));
    CHECK(at.datapath.xdp_counter().packets == 0);
}

TEST_CASE("xdp: datagrams without an answer are turned round, until there is one", "[xdp]") {
    const World world = GENERATE(World{4, IPPROTO_UDP}, World{6, IPPROTO_UDP});
    CAPTURE(world);
    const RoutedNetns netns;
    const NodePort at(world, Seen::node_elsewhere);
    const Outside flow = dial(at, outside_client(world));
    const Packet packet = world.data(flow.client, flow.dialled);
    const auto first = flow_key(flow.client, flow.dialled, world.proto, SVCLB_FROM_WIRE);
    const auto second = flow_key(flow.client, flow.backend, world.proto, SVCLB_TO_WIRE);
    const auto by_xdp = [&] {
        put_xdp_link(at.datapath, kEntry, packet.to_mac);
        put_xdp_link(at.datapath, TurnedFlow::uplink(), kUplink);
        const Run run = at.datapath.from_wire(packet.frame());
        remove_xdp_link(at.datapath, kEntry);
        return run;
    };
    Run run;
    for (bool within_a_tick = false; !within_a_tick;) {  // which may end at any time
        check_in(at.datapath, flow, packet);
        const auto tick = at.datapath.find_flow(first)->flow.tick;
        run = by_xdp();
        check_in(at.datapath, flow, packet);
        within_a_tick = at.datapath.find_flow(second)->flow.tick == tick;
    }
    CHECK_RUN(run, xdp_redirect, forwarded(with_source(with_destination(packet, flow.backend), flow.node)));

    // Once a half of it has lost the entry of its answers, whoever restores that is to see the packet.
    for (const auto& lost : {flow_key(flow.backend, flow.client, world.proto, SVCLB_TO_WIRE),
                             flow_key(flow.backend, flow.node, world.proto, SVCLB_FROM_WIRE)}) {
        REQUIRE(at.datapath.find_flow(lost));
        at.datapath.remove_flow(lost, false);
        CHECK_RUN(by_xdp(), xdp_pass, packet);
        check_in(at.datapath, flow, packet);
        REQUIRE(at.datapath.find_flow(lost));
    }

    check_reply(at.datapath, flow, answer_of(world, flow));
    CHECK_RUN(by_xdp(), xdp_pass, packet);
    check_in(at.datapath, flow, packet);
    CHECK(at.datapath.find_flow(first)->established);
    CHECK(at.datapath.find_flow(second)->established);
}

TEST_CASE("xdp: datagrams whose backend no longer serves go up at once, and move", "[xdp]") {
    const World world = udp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    CHECK(turned.wire(turned.out().frame()).verdict == xdp_redirect);
    turned.port.service.publish({world.backend(1)});
    turned.port.service.remove_backend(world.backend(0));
    turned.serve(true);
    const Run run = turned.datapath.from_wire(turned.out().frame());
    CHECK(run.verdict == xdp_pass);
    CHECK_RUN(turned.datapath.from_uplink(turned.out()), next, with_destination(turned.out(), world.backend(1)));
}

TEST_CASE("xdp: a packet counts as at tc", "[xdp]") {
    const World world = xdp_world();
    CAPTURE(world);
    const RoutedNetns netns;
    TurnedFlow turned(world);
    const auto index = turned.port.service.index();
    const auto id = turned.port.service.id_of(turned.flow.backend);
    const Packet packet = turned.out();
    const auto counted = [&](const std::function<void()>& step) {
        const auto before = turned.datapath.service_counter(index);
        const auto backend = turned.datapath.backend_counter(id);
        step();
        const auto after = turned.datapath.service_counter(index);
        CHECK(turned.datapath.backend_counter(id).packets - backend.packets == after.packets - before.packets);
        CHECK(turned.datapath.backend_counter(id).bytes - backend.bytes == after.bytes - before.bytes);
        return std::vector<std::uint64_t>{after.packets - before.packets, after.bytes - before.bytes};
    };
    const auto at_tc = counted([&] { check_in(turned.datapath, turned.flow, packet); });
    std::vector<std::uint64_t> at_xdp;
    turned.within_a_tick([&] {
        Run run;
        at_xdp = counted([&] { run = turned.datapath.from_wire(packet.frame()); });
        return run;
    });
    CHECK(at_xdp == at_tc);
    CHECK(at_xdp == std::vector<std::uint64_t>{1, packet.frame().size()});
    CHECK(turned.datapath.xdp_counter().packets >= 1);
}
