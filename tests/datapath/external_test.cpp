// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// External addresses, load balancers' and node ports, as a Pod of the node dials them (behaviour rows 1.16, 1.20, 1.22,
// 1.25 and 1.26): only the very port of an address is ours.
#include "conversation.hpp"
#include "ranges.hpp"
#include "refusal.hpp"

using namespace svclb::test;

namespace {

Endpoint dialled(const World& world) {
    return {world.net("192.168.0.1", "fd00:168::1"), 30080};
}

ServiceOptions with_ranges() {
    return {.kind = SVCLB_FRONTEND_LOAD_BALANCER, .source_ranges = true};
}

}  // namespace

TEST_CASE("external: every kind of frontend leads a pod to a backend and back", "[external]") {
    const World world = every_world();
    const auto kind = any_external_kind();
    CAPTURE(world, kind);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, dialled(world), world.proto, {world.backend()}, {.kind = kind});
    const auto flow = establish(datapath, world, world.client(), dialled(world));
    CHECK(flow.backend == world.backend());
    CHECK(flow.presented == world.client());
    check_data_back(datapath, world, flow);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("external: a Local policy does not concern a pod of the node, which goes round it", "[external]") {
    const World world = every_world();
    const auto kind = any_external_kind();
    CAPTURE(world, kind);
    Datapath& datapath = fresh_datapath();
    // The Cluster set has a backend elsewhere, the Local set none and the verdict "drop".
    const ServiceFixture service(datapath, 1, dialled(world), world.proto, {world.backend()}, {.kind = kind});
    datapath.service(1).external_set = SVCLB_SET_LOCAL;
    datapath.service(1).verdicts[SVCLB_SET_LOCAL] = SVCLB_VERDICT_DROP;
    CHECK(begin(datapath, world, world.client(), dialled(world)).backend == world.backend());
}

TEST_CASE("external: without any backend the pod is refused", "[external]") {
    const World world = any_world();
    const auto kind = any_external_kind();
    CAPTURE(world, kind);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, dialled(world), world.proto, {}, {.kind = kind});
    Packet packet = world.first(world.client(), dialled(world));
    if (world.tcp_flow()) packet.tcp().options.clear();
    CHECK_RUN(datapath.from_pod(packet), redirected, refusal_of(world, packet));
    CHECK(datapath.reason(SVCLB_REASON_NO_BACKEND_REJECTED).packets == 1);
}

TEST_CASE("external: other ports and protocols of the address are not ours", "[external]") {
    const World world = every_world();
    const auto kind = any_external_kind();
    CAPTURE(world, kind);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, dialled(world), world.proto, {world.backend()}, {.kind = kind});
    const Packet other_port = world.first(world.client(), {dialled(world).addr, 30081});
    CHECK_RUN(datapath.from_pod(other_port), next, other_port);
    const World other{world.family, world.proto == IPPROTO_UDP ? std::uint8_t{IPPROTO_TCP} : std::uint8_t{IPPROTO_UDP}};
    const Packet other_proto = other.first(world.client(), dialled(world));
    CHECK_RUN(datapath.from_pod(other_proto), next, other_proto);
    // A connection that was there before us.
    if (world.proto != IPPROTO_UDP) {
        const Packet middle = world.data(world.client(), dialled(world));
        CHECK_RUN(datapath.from_pod(middle), next, middle);
        CHECK(datapath.reason(SVCLB_REASON_NO_FLOW).packets == 1);
    }
    CHECK(datapath.flows().empty());
}

TEST_CASE("external: a ping to the address is whoever's it is", "[external]") {
    const World world = GENERATE(World{4, IPPROTO_TCP}, World{6, IPPROTO_TCP});
    const auto kind = any_external_kind();
    CAPTURE(world, kind);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, dialled(world), world.proto, {world.backend()}, {.kind = kind});
    const auto echo = static_cast<std::uint8_t>(world.family == 4 ? 8 : 128);
    const auto ping = [&](const Ip& from) {
        return icmp(from, dialled(world).addr, {echo, 0, 0x12340001}, payload_of(56));
    };
    const Packet from_pod = ping(world.client().addr);
    CHECK_RUN(datapath.from_pod(from_pod), next, from_pod);
    const Packet from_outside = ping(world.stranger().addr);
    CHECK_RUN(datapath.from_uplink(from_outside), next, from_outside);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("external: source ranges decide about a pod by its own address", "[external]") {
    const World world = every_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, dialled(world), world.proto, {world.backend()}, with_ranges());
    const Packet packet = world.first(world.client(), dialled(world));
    SECTION("in none") {
        allow(datapath, world.other_client().addr);
        allow(datapath, world.client().addr, 2);  // another service port's
        CHECK_RUN(datapath.from_pod(packet), dropped, packet);
        CHECK(datapath.reason(SVCLB_REASON_SOURCE_RANGE_DROPPED).packets == 1);
        CHECK(datapath.reasons() == 1);
        CHECK(datapath.flows().empty());
    }
    SECTION("in one, by the address itself") {
        allow(datapath, world.client().addr);
        CHECK(begin(datapath, world, world.client(), dialled(world)).backend == world.backend());
    }
    SECTION("in one, by a prefix") {
        // Both clients differ in their last bit.
        allow(datapath, world.other_client().addr, 1, 127);
        CHECK(begin(datapath, world, world.client(), dialled(world)).backend == world.backend());
    }
}

TEST_CASE("external: a flow outlives the source range that let it in", "[external]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, dialled(world), world.proto, {world.backend()}, with_ranges());
    allow(datapath, world.client().addr);
    const auto flow = establish(datapath, world, world.client(), dialled(world));
    no_longer_allow(datapath, world.client().addr);
    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);
    const Packet again = world.first(world.client(40001), dialled(world));
    CHECK_RUN(datapath.from_pod(again), dropped, again);
}

TEST_CASE("external: source ranges go before the want of backends", "[external]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, dialled(world), world.proto, {}, with_ranges());
    const Packet packet = world.first(world.client(), dialled(world));
    CHECK_RUN(datapath.from_pod(packet), dropped, packet);
}
