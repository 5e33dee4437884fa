// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Direct server return: how long flows last whose answers nobody sees, and whom a node goes on with.
#include "dsr_nodes.hpp"
#include "ranges.hpp"

using namespace svclb::test;

TEST_CASE("dsr: flows that are there stay as they are when it is switched on or off", "[dsr]") {
    const World world = every_world();
    const bool on = GENERATE(false, true);
    CAPTURE(world, on);
    const Endpoint client = outside_client(world);
    ServiceOptions options = with_dsr();
    options.dsr = on;
    const Sender at(world, options);
    const Packet first = world.first(client, external(world));
    const Packet data = world.data(client, external(world));
    const auto check_way = [&](const Packet& packet) {
        if (on)
            CHECK_RUN(at.datapath.from_uplink(packet), redirected, wrapped(world, packet));
        else
            CHECK_RUN(at.datapath.from_uplink(packet), next, with_destination(packet, world.backend()));
    };
    check_way(first);
    if (!on) {
        const Packet forwarded = with_destination(first, world.backend());
        const Run out = at.datapath.to_uplink(forwarded);
        (void)at.datapath.from_uplink(world.answer(world.backend(), source_of(out.frame)));
    }
    options.dsr = !on;
    const ServiceFixture switched(at.datapath, 1, external(world), world.proto, {world.backend()}, options);
    check_way(data);
    check_way(data);
    const Packet other = world.first({client.addr, 45001}, external(world));
    CHECK(at.datapath.from_uplink(other).verdict == (on ? next : redirected));
}

TEST_CASE("dsr: established flows outlive their Service and a flood, at both nodes", "[dsr]") {
    const World world = tcp_world();
    const bool sender = GENERATE(false, true);
    CAPTURE(world, sender);
    const NodeNetns netns;
    const Endpoint client = outside_client(world);
    Datapath& datapath = NodePort::knowing_node(fresh_datapath());
    set_uplink(datapath, "uplink");
    ServiceFixture service(datapath, 1, external(world), world.proto, {world.backend()},
                           with_dsr(sender ? std::vector<Endpoint>{} : std::vector{world.backend()}));
    const auto send = [&](const Packet& packet) {
        return datapath.from_uplink(sender ? packet : wrapped(world, packet));
    };
    (void)send(world.first(client, external(world)));
    if (!sender) (void)datapath.to_uplink(world.answer(world.backend(), client));
    (void)send(tcp(client, external(world), ack));
    // Ten times the table of half-open flows.
    for (std::uint32_t i = 0; i < 10240; i++)
        (void)send(
            world.first({client.addr + 1 + i / 1000, static_cast<std::uint16_t>(50000 + i % 1000)}, external(world)));
    service.remove();
    const Packet data = world.data(client, external(world));
    const Run run = send(data);
    CHECK(run.verdict == (sender ? redirected : next));
    const Packet arrives = sender ? wrapped(world, data) : with_destination(data, world.backend());
    CHECK(difference(arrives.frame(), run.frame) == std::string());
    CHECK(datapath.reason(SVCLB_REASON_DSR_NOT_TAKEN).packets == 0);
}

TEST_CASE("dsr: with Maglev a node goes on with what another one has led to a backend", "[dsr]") {
    const World world = every_world();
    const bool maglev = GENERATE(true, false);
    CAPTURE(world, maglev);
    ServiceOptions options = with_dsr();
    if (maglev) options.algorithm = SVCLB_ALGORITHM_MAGLEV;
    Sender at(world, options);
    const Endpoint client = outside_client(world);
    const auto check_passes = [&](const Packet& packet) { CHECK_RUN(at.datapath.from_uplink(packet), next, packet); };
    if (world.proto != IPPROTO_UDP) {
        check_passes(world.answer(client, external(world)));
        if (world.tcp_flow()) check_passes(tcp(client, external(world), rst | ack));
        CHECK(at.datapath.flows().empty());
    }
    const Packet data = world.data(client, external(world));
    for (int i = 0; i < 3; i++) {
        if (maglev || world.proto == IPPROTO_UDP)
            CHECK_RUN(at.datapath.from_uplink(data), redirected, wrapped(world, data));
        else
            check_passes(data);
    }
    if (world.proto == IPPROTO_UDP || !maglev) return;
    CHECK(entry(at.datapath, flow_key(client, external(world), world.proto, SVCLB_FROM_WIRE)).established);
    at.service.publish({});
    const Packet other = world.data({client.addr, 45001}, external(world));
    check_passes(other);
}

TEST_CASE("dsr: with Maglev a connection that a node may not go on with passes untouched", "[dsr]") {
    const World world =
        GENERATE(World{4, IPPROTO_TCP}, World{4, IPPROTO_SCTP}, World{6, IPPROTO_TCP}, World{6, IPPROTO_SCTP});
    const bool source_ranges = GENERATE(true, false);  // else none is in the set that the frontend leads to
    const svclb_verdict verdict = GENERATE(SVCLB_VERDICT_REJECT, SVCLB_VERDICT_DROP);
    CAPTURE(world, source_ranges, verdict);
    ServiceOptions options = with_dsr();
    options.algorithm = SVCLB_ALGORITHM_MAGLEV;
    options.verdict_when_empty = verdict;
    options.source_ranges = source_ranges;
    if (!source_ranges) options.outside_set = SVCLB_SET_LOCAL;
    Sender at(world, options);
    allow(at.datapath, world.client().addr);
    const Packet data = world.data(outside_client(world), external(world));
    CHECK_RUN(at.datapath.from_uplink(data), next, data);
    CHECK(at.datapath.reason(SVCLB_REASON_NO_FLOW).packets == 1);
    CHECK(at.datapath.reasons() == 1);
    CHECK(at.datapath.flows().empty());
}

TEST_CASE("dsr: a datagram whose backend has gone is sent to another one at once", "[dsr]") {
    const World world = udp_world();
    CAPTURE(world);
    Sender at(world);
    const Packet packet = world.data(outside_client(world), external(world));
    CHECK_RUN(at.datapath.from_uplink(packet), redirected, wrapped(world, packet));
    at.service.publish({world.backend(1)});
    at.service.remove_backend(world.backend());
    CHECK_RUN(at.datapath.from_uplink(packet), redirected, wrapped(packet, node_address(world), world.backend(1).addr));
}

TEST_CASE("dsr: datagrams for longer than a tick make a flow established, and before that they do not", "[dsr]") {
    const World world = udp_world();
    CAPTURE(world);
    const Sender at(world);
    Datapath& datapath = at.datapath;
    Endpoint client = outside_client(world);
    svclb_flow_key6 key{};
    const auto send = [&] { (void)datapath.from_uplink(world.data(client, external(world))); };
    // The tick is not to change between two packets: where it does, another client has another try.
    bool in_one_tick = false;
    for (int i = 0; i < 10 && !in_one_tick; i++) {
        client.port++;
        key = flow_key(client, external(world), world.proto, SVCLB_FROM_WIRE);
        send();
        const auto tick = entry(datapath, key).flow.tick;
        send();
        in_one_tick = entry(datapath, key).flow.tick == tick;
    }
    REQUIRE(in_one_tick);
    CHECK_FALSE(entry(datapath, key).established);
    FlowEntry earlier = entry(datapath, key);
    earlier.flow.tick--;
    datapath.put_flow(earlier);
    send();
    CHECK(entry(datapath, key).established);
    CHECK(entry(datapath, key).flow.answered == 1);
}

TEST_CASE("dsr: a client that has closed begins anew, with whom the table has now", "[dsr]") {
    const World world = tcp_world();
    const unsigned end = GENERATE(unsigned{fin | ack}, unsigned{rst});
    CAPTURE(world, end);
    Sender at(world);
    Datapath& datapath = at.datapath;
    const Endpoint client = outside_client(world);
    const Ip node = node_address(world);
    const Packet first = world.first(client, external(world));
    const auto check_goes_to = [&](const Packet& packet, const Endpoint& backend) {
        CHECK_RUN(datapath.from_uplink(packet), redirected, wrapped(packet, node, backend.addr));
    };
    check_goes_to(first, world.backend(0));
    check_goes_to(world.data(client, external(world)), world.backend(0));
    at.service.publish({world.backend(1)});
    check_goes_to(first, world.backend(0));  // a late copy
    check_goes_to(tcp(client, external(world), end), world.backend(0));
    if (end != rst) check_goes_to(tcp(client, external(world), ack), world.backend(0));
    check_goes_to(first, world.backend(1));
    check_goes_to(world.data(client, external(world)), world.backend(1));
    CHECK(datapath.flows().size() == 1);
    CHECK(datapath.reasons() == 0);
}
