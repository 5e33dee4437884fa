// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Packets of the node itself that come through the catch-all: from_host towards a backend, and back by to_host, at the
// backend's link or at the uplink, and to_pod behind the pair of devices. Routes are looked up, hence a network
// namespace with some.
#include <array>

#include "callers.hpp"
#include "node_netns.hpp"
#include "refusal.hpp"

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

TEST_CASE("host packets: the node is seen with its address whatever is masqueraded, by the policy's backend",
          "[host]") {
    const NodeNetns netns;
    Datapath& datapath = fresh_datapath();
    for (const int family : {4, 6})
        for (const auto proto : {std::uint8_t{IPPROTO_TCP}, std::uint8_t{IPPROTO_UDP}, std::uint8_t{IPPROTO_SCTP}})
            for (const auto policy : {SVCLB_SET_CLUSTER, SVCLB_SET_LOCAL})
                for (const bool all : {false, true})
                    for (const bool with_range : {false, true}) {
                        const World world{family, proto};
                        CAPTURE(world, policy, all, with_range);
                        datapath.clear();
                        set_node_addresses(datapath);
                        datapath.masquerade().all = all ? 1 : 0;
                        if (with_range) set_pod_range(datapath, world);
                        ServiceFixture service(datapath, 1, world.frontend(), world.proto, {}, {.set = policy});
                        service.publish({world.backend(0)}, SVCLB_SET_CLUSTER);
                        service.publish({world.backend(1)}, SVCLB_SET_LOCAL);
                        const Endpoint backend = world.backend(policy == SVCLB_SET_LOCAL ? 1 : 0);
                        const auto sent = datapath.from_host(world.first(node_of(world), world.frontend()));
                        const Endpoint seen = translated(datapath, world);
                        CHECK_RUN(sent, redirected, world.first(seen, backend));
                        const Packet leaving = world.first(seen, backend);
                        CHECK_RUN(policy == SVCLB_SET_LOCAL ? datapath.to_pod(leaving) : datapath.to_uplink(leaving),
                                  next, leaving);
                        const Packet answer = world.answer(backend, seen);
                        CHECK_RUN(policy == SVCLB_SET_LOCAL ? datapath.from_pod(answer) : datapath.from_uplink(answer),
                                  redirected, to_pair(answer));
                        CHECK_RUN(datapath.to_pod(to_pair(answer)), next,
                                  to_pair(world.answer(world.frontend(), node_of(world))));
                        CHECK(datapath.reasons() == 0);
                    }
}

TEST_CASE("host packets: a backend with the node's own address is a hairpin", "[host]") {
    const NodeNetns netns;
    Datapath& datapath = fresh_datapath();
    for (const int family : {4, 6})
        for (const auto proto : {std::uint8_t{IPPROTO_TCP}, std::uint8_t{IPPROTO_UDP}, std::uint8_t{IPPROTO_SCTP}}) {
            const World world{family, proto};
            CAPTURE(world);
            datapath.clear();
            const Endpoint backend{node_of(world).addr, 8080};
            const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {backend});
            const auto turned = [](Packet packet) {
                std::swap(packet.to_mac, packet.from_mac);
                return packet;
            };
            const auto sent = datapath.from_host(world.first(node_of(world), world.frontend()));
            const Endpoint seen = source_of(sent.frame);
            CHECK(seen.addr == world.frontend().addr);
            CHECK_RUN(sent, redirected, turned(world.first(seen, backend)));
            CHECK_RUN(datapath.from_host(world.answer(backend, seen)), redirected,
                      turned(world.answer(world.frontend(), node_of(world))));
            CHECK(datapath.reasons() == 0);
        }
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
