// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Packets of the node itself that come through the catch-all: from_host towards a backend, and back by to_host, at the
// backend's link or at the uplink, and to_pod behind the pair of devices. Routes are looked up, hence a network
// namespace with some.
#include <array>

#include "node_netns.hpp"
#include "refusal.hpp"
#include "world.hpp"

using namespace svclb::test;

namespace {

Endpoint node_of(const World& world) {
    return {world.net("192.0.2.1", "2001:db8::1"), 40000};
}

// As what it is sent to on its way back to the node.
Packet to_pair(Packet packet) {
    packet.to_mac = {0x02, 's', 'v', 'c', 'l', 'b'};
    return packet;
}

// The node's end of the flow as the backend sees it.
Endpoint translated(const Datapath& datapath, const World& world) {
    const auto flow = datapath.find_flow(flow_key(node_of(world), world.frontend(), world.proto, SVCLB_FROM_POD));
    REQUIRE(flow);
    CHECK(flow->flow.host == 1);
    return {node_of(world).addr, ntohs(flow->flow.client_port)};
}

}  // namespace

TEST_CASE("host packets: one to a ClusterIP reaches a backend, and its answer the node", "[host]") {
    const World world = any_world();
    const bool elsewhere = GENERATE(false, true);
    CAPTURE(world, elsewhere);
    const NodeNetns netns;
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});

    const auto sent = datapath.from_host(world.first(node_of(world), world.frontend()));
    const Endpoint seen = translated(datapath, world);
    CHECK(seen.port >= 61000);
    CHECK_RUN(sent, redirected, world.first(seen, world.backend()));

    const Packet answer = world.answer(world.backend(), seen);
    const auto met = elsewhere ? datapath.from_uplink(answer) : datapath.from_pod(answer);
    CHECK_RUN(met, redirected, to_pair(answer));
    CHECK_RUN(datapath.to_pod(to_pair(answer)), next, to_pair(world.answer(world.frontend(), node_of(world))));

    const auto later = datapath.from_host(world.data(node_of(world), world.frontend()));
    CHECK_RUN(later, redirected, world.data(seen, world.backend()));
    CHECK(datapath.reasons() == 0);
    CHECK(datapath.service_counter(1).packets == 3);
}

TEST_CASE("host packets: an answer that belongs to no flow of the node passes", "[host]") {
    const World world = any_world();
    const bool elsewhere = GENERATE(false, true);
    CAPTURE(world, elsewhere);
    const NodeNetns netns;
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    (void)datapath.from_host(world.first(node_of(world), world.frontend()));
    Endpoint other = translated(datapath, world);
    other.port ^= 1U;
    const Packet answer = world.answer(world.backend(), other);
    CHECK_RUN(elsewhere ? datapath.from_uplink(answer) : datapath.from_pod(answer), next, answer);
}

TEST_CASE("host packets: a pod's that comes this way is translated and goes on through the node", "[host]") {
    const World world = any_world();
    CAPTURE(world);
    const NodeNetns netns;
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    CHECK_RUN(datapath.from_host(world.first(world.client(), world.frontend())), next,
              world.first(world.client(), world.backend()));
}

TEST_CASE("host packets: what cannot be translated is refused, and never goes on", "[host]") {
    const World world = any_world();
    CAPTURE(world);
    const NodeNetns netns;
    Datapath& datapath = fresh_datapath();
    expect_cut_packets(datapath);
    const Packet packet = world.first(node_of(world), world.frontend());
    CHECK_RUN(datapath.from_host(packet), redirected, refusal_of(world, packet));
    CHECK(datapath.reason(SVCLB_REASON_HOST_PACKET_REFUSED).packets == 1);
    CHECK(datapath.reasons() == 1);
}

TEST_CASE("host packets: without a route to the backend it is dropped", "[host]") {
    const World world = any_world();
    CAPTURE(world);
    const NodeNetns netns;
    Datapath& datapath = fresh_datapath();
    const Endpoint unrouted{world.net("203.0.113.1", "fd01::1"), 8080};
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {unrouted});
    CHECK(datapath.from_host(world.first(node_of(world), world.frontend())).verdict == dropped);
    CHECK(datapath.reason(SVCLB_REASON_HOST_PACKET_UNROUTED).packets == 1);
}
