// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Direct server return at the backend's node: what it unpacks, and what it leaves alone.
#include <algorithm>

#include "dsr_nodes.hpp"

using namespace svclb::test;

TEST_CASE("dsr: there it is unpacked and reaches the backend, whose answer comes from the frontend", "[dsr]") {
    const World world = every_world();
    CAPTURE(world);
    const Receiver at(world);
    Datapath& datapath = at.datapath;
    const Endpoint client = outside_client(world);
    const Packet first = world.first(client, external(world));
    CHECK_RUN(datapath.from_uplink(wrapped(world, first)), next, with_destination(first, world.backend()));
    const Packet answer = world.answer(world.backend(), client);
    CHECK_RUN(datapath.to_uplink(answer), next, with_source(answer, external(world)));
    Packet data = world.data(client, external(world));
    data.trailer = 6;
    CHECK_RUN(datapath.from_uplink(wrapped(world, data)), next, with_destination(data, world.backend()));
    CHECK(std::ranges::all_of(datapath.flows(), &FlowEntry::established));
    CHECK(datapath.flows().size() == 2);
    CHECK(datapath.service_counter(1).flows == 1);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("dsr: what is not for a backend of the frontend here stays untouched", "[dsr]") {
    const World world = every_world();
    CAPTURE(world);
    Receiver at(world);
    const Endpoint client = outside_client(world);
    const Packet first = world.first(client, external(world));
    const Ip node = node_address(world);
    SECTION("the outer destination is no backend") {
        at.check_untouched(wrapped(first, node, world.backend(1).addr), true);
        at.check_untouched(wrapped(first, node, node), true);
    }
    SECTION("the inner destination is no frontend") {
        at.check_untouched(wrapped(world.first(client, {external(world).addr, 81}), node, world.backend().addr), false);
        at.check_untouched(wrapped(world.first(client, world.backend()), node, world.backend().addr), false);
        at.check_untouched(wrapped(world.first(client, world.stranger()), node, world.backend().addr), false);
    }
    SECTION("the outer headers are not those that a node writes") {
        Packet packet = wrapped(world, first);
        packet.vlans = {7};
        at.check_untouched(packet, false);
        packet = wrapped(world, first);
        if (world.family == 4)
            packet.ip_options = {1, 1, 1, 1};
        else
            packet.extensions = {{IPPROTO_DSTOPTS, Bytes(6)}};
        at.check_untouched(packet, false);
        packet = wrapped(world, first);
        packet.transport = OtherProtocol{static_cast<std::uint8_t>(world.family == 4 ? 41 : 4)};
        at.check_untouched(packet, false);
    }
    SECTION("cut off, at every length") {
        const Packet whole = wrapped(world, first);
        for (std::size_t size = 0; size < whole.payload.size(); size++) {
            CAPTURE(size);
            Packet packet = whole;
            packet.payload.resize(size);
            const Run run = at.datapath.from_uplink(packet);
            CHECK(run.verdict == next);
            CHECK(difference(packet.frame(), run.frame) == std::string());
        }
        CHECK(at.datapath.flows().empty());
    }
    SECTION("the backend is on another node, or gone") {
        at.service.remove_backend(world.backend());
        at.check_untouched(wrapped(world, first), true);
    }
    SECTION("no backend is left") {
        at.service.publish({});
        at.check_untouched(wrapped(world, first), true);
    }
}

TEST_CASE("dsr: a flow that is there does not end by a packet that is not taken", "[dsr]") {
    const World world = every_world();
    CAPTURE(world);
    Receiver at(world);
    const Endpoint client = outside_client(world);
    const Packet data = world.data(client, external(world));
    (void)at.datapath.from_uplink(wrapped(world, world.first(client, external(world))));
    (void)at.datapath.to_uplink(world.answer(world.backend(), client));
    (void)at.datapath.from_uplink(wrapped(world, data));
    REQUIRE(std::ranges::all_of(at.datapath.flows(), &FlowEntry::established));
    at.check_untouched(wrapped(data, node_address(world), world.backend(1).addr), true);
    at.check_untouched(wrapped(world.first(client, external(world)), node_address(world), world.backend(1).addr), true);
    CHECK_RUN(at.datapath.from_uplink(wrapped(world, data)), next, with_destination(data, world.backend()));
    CHECK(std::ranges::all_of(at.datapath.flows(), &FlowEntry::established));
}

TEST_CASE("dsr: without being asked for it a node unpacks nothing", "[dsr]") {
    const World world = every_world();
    CAPTURE(world);
    Datapath& datapath = NodePort::knowing_node(fresh_datapath());
    const ServiceFixture service(datapath, 1, external(world), world.proto, {world.backend()},
                                 {.kind = SVCLB_FRONTEND_EXTERNAL_IP, .on_node = {world.backend()}});
    const Packet packet = wrapped(world, world.first(outside_client(world), external(world)));
    CHECK_RUN(datapath.from_uplink(packet), next, packet);
    CHECK(datapath.reason(SVCLB_REASON_DSR_NOT_TAKEN).packets == 1);
    CHECK(datapath.flows().empty());
}

TEST_CASE("dsr: a SYN that begins anew does so with the backend that the other node names", "[dsr]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = NodePort::knowing_node(fresh_datapath());
    const ServiceFixture service(datapath, 1, external(world), world.proto, {world.backend(0), world.backend(1)},
                                 with_dsr({world.backend(0), world.backend(1)}));
    const Endpoint client = outside_client(world);
    const Packet first = world.first(client, external(world));
    const Packet data = world.data(client, external(world));
    const Ip node = node_address(world);
    for (std::uint32_t i = 0; i < 4; i++) {
        const Endpoint backend = world.backend(i % 2);
        const Endpoint other = world.backend(1 - i % 2);
        CHECK_RUN(datapath.from_uplink(wrapped(first, node, backend.addr)), next, with_destination(first, backend));
        const Packet answer = world.answer(backend, client);
        CHECK_RUN(datapath.to_uplink(answer), next, with_source(answer, external(world)));
        CHECK_RUN(datapath.from_uplink(wrapped(data, node, backend.addr)), next, with_destination(data, backend));
        // What is in the middle of a connection moves to no other backend.
        const Packet stray = wrapped(data, node, other.addr);
        CHECK_RUN(datapath.from_uplink(stray), next, stray);
        const Packet reset = tcp(client, external(world), rst);
        CHECK_RUN(datapath.from_uplink(wrapped(reset, node, backend.addr)), next, with_destination(reset, backend));
    }
    CHECK(datapath.reason(SVCLB_REASON_DSR_NOT_TAKEN).packets == 4);
}

TEST_CASE("dsr: a node that has lost a flow, or never had it, takes it up where the other one says", "[dsr]") {
    const World world = every_world();
    CAPTURE(world);
    const Receiver at(world);
    const Packet data = world.data(outside_client(world), external(world));
    CHECK_RUN(at.datapath.from_uplink(wrapped(world, data)), next, with_destination(data, world.backend()));
    const Packet answer = world.data(world.backend(), outside_client(world));
    CHECK_RUN(at.datapath.to_uplink(answer), next, with_source(answer, external(world)));
}
