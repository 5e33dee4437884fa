// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What is in the middle of a connection that nobody here knows, and would leave again for the address of a load
// balancer that it came for: it goes back to its sender as a refusal, once, and not to and fro.
#include <bpf/bpf.h>

#include "fragments.hpp"
#include "outside.hpp"
#include "refusal.hpp"

using namespace svclb::test;

namespace {

constexpr std::uint32_t kUplinkDevice = 7;
constexpr std::uint32_t kPodLink = 8;

Endpoint external(const World& world) {
    return {world.net("198.51.100.80", "2001:db8:51::80"), 80};
}

// The bare one: see the case of a refusal in tunnel_test.cpp.
World refused_world() {
    return GENERATE(World{4, IPPROTO_TCP}, World{6, IPPROTO_TCP}, World{6, IPPROTO_TCP, true});
}

Run forward(Datapath& datapath, const Packet& packet, std::uint32_t device = kUplinkDevice, const Gso& gso = {}) {
    Run run;
    try {
        run = datapath.forwarded(packet, device, gso);
    } catch (const NotPermitted& reason) {
        SKIP(reason.what());
    }
    return run;
}

// A node with a load balancer's address.
struct Balancer {
    explicit Balancer(const World& at, Datapath& loaded = fresh_datapath())
        : world(at),
          datapath(NodePort::knowing_node(loaded)),
          service(loaded, 1, external(at), at.proto, {at.backend()}, {.kind = SVCLB_FRONTEND_LOAD_BALANCER}) {
        const std::uint32_t yes = 1;
        REQUIRE(bpf_map_update_elem(datapath.map("uplink_devices"), &kUplinkDevice, &yes, BPF_ANY) == 0);
        datapath.bare_uplinks(at.bare);
    }
    [[nodiscard]] Run forwarded(const Packet& packet, const Gso& gso = {}) const {
        return forward(datapath, packet, kUplinkDevice, gso);
    }
    [[nodiscard]] Packet data() const { return world.data(outside_client(world), external(world)); }
    [[nodiscard]] std::uint64_t refused() const { return datapath.reason(SVCLB_REASON_NO_FLOW_REJECTED).packets; }

    World world;
    Datapath& datapath;
    ServiceFixture service;
};

// On the way that the packet was about to take.
Packet kept_on_its_way(Packet answer, const Packet& packet) {
    answer.to_mac = packet.to_mac;
    answer.from_mac = packet.from_mac;
    return answer;
}

Packet reset_of(const Packet& packet) {
    const Tcp& met = std::get<Tcp>(packet.transport);
    Packet answer = reset_for(packet, 0);
    answer.tcp().flags = rst;
    answer.tcp().seq = met.ack;
    return kept_on_its_way(answer, packet);
}

}  // namespace

TEST_CASE("unknown connection: its client is told by a reset", "[unknown_connection]") {
    const World world = refused_world();
    CAPTURE(world);
    const Balancer at(world);
    const Packet packet = at.data();
    CHECK_RUN(at.datapath.from_uplink(packet), next, packet);
    CHECK(at.datapath.reason(SVCLB_REASON_NO_FLOW).packets == 1);
    CHECK_RUN(at.forwarded(packet), next, reset_of(packet));
    CHECK(at.refused() == 1);
    const Packet last = tcp(outside_client(world), external(world), fin | ack);
    CHECK_RUN(at.forwarded(last), next, reset_of(last));
    CHECK(at.refused() == 2);
    CHECK(at.datapath.reasons() == 3);
    CHECK(at.datapath.flows().empty());
}

TEST_CASE("unknown connection: of a super-packet as well", "[unknown_connection]") {
    const World world = tcp_world();
    CAPTURE(world);
    const Balancer at(world);
    const Packet packet = tcp(outside_client(world), external(world), psh | ack, payload_of(3000));
    CHECK_RUN(at.forwarded(packet, {1000, 3}), next, reset_of(packet));
    CHECK(at.refused() == 1);
}

TEST_CASE("unknown connection: who would meet silence here meets it, for the right node has the connection",
          "[unknown_connection]") {
    const World world = refused_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const Balancer at(world, datapath);
    // Policy Local, and the backends are elsewhere.
    const ServiceFixture local(
        datapath, 2, external(world), world.proto, {},
        {.set = SVCLB_SET_LOCAL, .verdict_when_empty = SVCLB_VERDICT_DROP, .kind = SVCLB_FRONTEND_LOAD_BALANCER});
    CHECK_RUN(at.forwarded(at.data()), dropped, at.data());
    CHECK(datapath.reason(SVCLB_REASON_NO_LOCAL_BACKEND_DROPPED).packets == 1);
    CHECK(at.refused() == 0);
}

TEST_CASE("unknown connection: a reset is not answered", "[unknown_connection]") {
    const World world = refused_world();
    CAPTURE(world);
    const Balancer at(world);
    const Packet packet = tcp(outside_client(world), external(world), rst | ack);
    CHECK_RUN(at.forwarded(packet), dropped, packet);
    CHECK(at.refused() == 1);
    CHECK(at.datapath.reasons() == 1);
}

TEST_CASE("unknown connection: a first fragment is dropped", "[unknown_connection]") {
    const World world = tcp_world();
    CAPTURE(world);
    const Balancer at(world);
    const Packet first = fragments_of(large(world, outside_client(world), external(world))).front();
    CHECK_RUN(at.forwarded(first), dropped, first);
    CHECK(at.refused() == 1);
    CHECK(at.datapath.reasons() == 1);
}

TEST_CASE("unknown connection: of SCTP an error says that nobody is there", "[unknown_connection]") {
    const World world = sctp_world();
    CAPTURE(world);
    const Balancer at(world);
    const Packet packet = at.data();
    CHECK_RUN(at.forwarded(packet), next, kept_on_its_way(unreachable_for(packet), packet));
    CHECK(at.refused() == 1);
    CHECK(at.datapath.reasons() == 1);
}

TEST_CASE("unknown connection: a client is told so often a second", "[unknown_connection]") {
    const World world = tcp_world();
    CAPTURE(world);
    DatapathOptions options;
    options.settings.reject_per_s = 3;
    const Balancer at(world, datapath_with(options));
    std::uint64_t told = 0;
    for (int i = 0; i < 30; i++) told += at.forwarded(at.data()).verdict == next ? 1U : 0U;
    CHECK(told >= 3);
    CHECK(told < 30);  // seconds may begin in between
    CHECK(at.refused() == 30);
    CHECK(at.datapath.reason(SVCLB_REASON_REJECT_RATE_LIMITED).packets == 30 - told);
}

TEST_CASE("unknown connection: what is the node's own, a pod's, or bridged goes on", "[unknown_connection]") {
    const World world = GENERATE(World{4, IPPROTO_TCP}, World{6, IPPROTO_TCP}, World{4, IPPROTO_SCTP});
    const std::uint32_t device = GENERATE(0U, kPodLink, kUplinkDevice);
    CAPTURE(world, device);
    const Balancer at(world);
    Packet packet = at.data();
    if (device == kUplinkDevice) packet.to_mac[5] ^= 1U;
    CHECK_RUN(forward(at.datapath, packet, device), next, packet);
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("unknown connection: other ports, other addresses and Services that are gone are not ours",
          "[unknown_connection]") {
    const World world = refused_world();
    CAPTURE(world);
    Balancer at(world);
    for (const Endpoint& to : {Endpoint{external(world).addr, 81}, Endpoint{external(world).addr + 1, 80}}) {
        const Packet packet = world.data(outside_client(world), to);
        CHECK_RUN(at.forwarded(packet), next, packet);
    }
    at.service.remove();
    CHECK_RUN(at.forwarded(at.data()), next, at.data());
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("unknown connection: what begins one is not judged, nor what has neither beginning nor end",
          "[unknown_connection]") {
    const World world = every_world();
    CAPTURE(world);
    const Balancer at(world);
    const Packet packet = world.first(outside_client(world), external(world));
    CHECK_RUN(at.forwarded(packet), next, packet);
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("unknown connection: a backend at the very address of a load balancer is reached", "[unknown_connection]") {
    const World world = every_world();
    CAPTURE(world);
    const Balancer at(world);
    const ServiceFixture other(at.datapath, 2, node_port(world), world.proto, {external(world)},
                               {.kind = SVCLB_FRONTEND_NODE_PORT});
    const Packet first = world.first(outside_client(world), node_port(world));
    const Packet onward = with_destination(first, external(world));
    CHECK_RUN(at.datapath.from_uplink(first), next, onward);
    const Run out = at.forwarded(onward);
    CHECK(out.verdict == next);
    const Endpoint node = source_of(out.frame);
    CHECK(node.addr == node_address(world));
    const Packet answer = world.answer(external(world), node);
    CHECK_RUN(at.datapath.from_uplink(answer), next, with_destination(answer, outside_client(world)));
    const Packet data = world.data(outside_client(world), external(world));
    CHECK_RUN(at.forwarded(data), next, with_source(data, node));
    CHECK(at.datapath.reasons() == 0);
}
