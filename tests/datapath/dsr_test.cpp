// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Direct server return: encapsulation at the node that is dialled, and what the backend's node makes of it. Routes are
// looked up, hence a network namespace with some.
#include <algorithm>
#include <cstring>

#include "fragments.hpp"
#include "node_netns.hpp"
#include "outside.hpp"
#include "refusal.hpp"

using namespace svclb::test;

namespace {

constexpr std::size_t kMtu = 1500;

Endpoint external(const World& world) {
    return {world.net("203.0.113.10", "2001:db8:203::10"), 80};
}

std::size_t outer_size(const World& world) {
    return world.family == 4 ? 20 : 40;
}

// `packet` as it travels between the nodes.
Packet wrapped(const Packet& packet, const Ip& from, const Ip& to) {
    Packet outer{.to_mac = packet.to_mac, .from_mac = packet.from_mac};
    outer.source = from;
    outer.destination = to;
    outer.tos = packet.tos & 0xfc;
    outer.ttl = 64;
    outer.id = 0;
    outer.transport = OtherProtocol{static_cast<std::uint8_t>(from.v4() ? 4 : 41)};
    const Bytes frame = packet.frame();
    outer.payload.assign(frame.begin() + 14, frame.end() - static_cast<std::ptrdiff_t>(packet.trailer));
    outer.trailer = packet.trailer;
    return outer;
}
Packet wrapped(const World& world, const Packet& packet) {
    return wrapped(packet, node_address(world), world.backend().addr);
}

ServiceOptions with_dsr(std::vector<Endpoint> on_node = {}) {
    return {.kind = SVCLB_FRONTEND_EXTERNAL_IP, .on_node = std::move(on_node), .dsr = true};
}

// The node that is dialled: its backends are elsewhere.
struct Sender {
    explicit Sender(const World& at, const ServiceOptions& options = with_dsr())
        : world(at),
          datapath(NodePort::knowing_node(fresh_datapath())),
          service(datapath, 1, external(at), at.proto, {at.backend()}, options) {}
    NodeNetns netns;
    World world;
    Datapath& datapath;
    ServiceFixture service;
};

// The backend's node.
struct Receiver {
    explicit Receiver(const World& at)
        : world(at),
          datapath(NodePort::knowing_node(fresh_datapath())),
          service(datapath, 1, external(at), at.proto, {at.backend()}, with_dsr({at.backend()})) {}
    World world;
    Datapath& datapath;
    ServiceFixture service;

    // Not taken: every bit stays, and no flow comes of it.
    void check_untouched(const Packet& packet, bool counted) {
        const auto before = datapath.reason(SVCLB_REASON_DSR_NOT_TAKEN).packets;
        const auto flows = datapath.flows().size();
        CHECK_RUN(datapath.from_uplink(packet), next, packet);
        CHECK(datapath.reason(SVCLB_REASON_DSR_NOT_TAKEN).packets - before == (counted ? 1 : 0));
        CHECK(datapath.flows().size() == flows);
    }
};

Packet too_big_for(const Packet& packet, std::uint32_t mtu) {
    Packet answer = unreachable_for(packet);
    const bool v4 = packet.source.v4();
    answer.transport =
        Icmp{.type = static_cast<std::uint8_t>(v4 ? 3 : 2), .code = static_cast<std::uint8_t>(v4 ? 4 : 0), .rest = mtu};
    return answer;
}

// An IP packet of `size` bytes in mid-connection.
Packet of_size(const World& world, const Endpoint& from, const Endpoint& to, std::size_t size) {
    const std::size_t headers = outer_size(world) + (world.tcp_flow() ? 20 : 8);
    const Bytes payload = payload_of(size - headers);
    return world.tcp_flow() ? tcp(from, to, psh | ack, payload) : udp(from, to, payload);
}

}  // namespace

TEST_CASE("dsr: a packet for a backend elsewhere goes there whole, inside of another one", "[dsr]") {
    const World world = any_world();
    CAPTURE(world);
    const Sender at(world);
    Datapath& datapath = at.datapath;
    const Endpoint client = outside_client(world);
    for (Packet packet : {world.first(client, external(world)), world.data(client, external(world))}) {
        packet.tos = 0xb9;
        CHECK_RUN(datapath.from_uplink(packet), redirected, wrapped(world, packet));
    }
    CHECK(datapath.flows().size() == 1);
    CHECK(datapath.service_counter(1).packets == 2);
    CHECK(datapath.service_counter(1).flows == 1);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("dsr: there it is unpacked and reaches the backend, whose answer comes from the frontend", "[dsr]") {
    const World world = any_world();
    CAPTURE(world);
    const Receiver at(world);
    Datapath& datapath = at.datapath;
    const Endpoint client = outside_client(world);
    const Packet first = world.first(client, external(world));
    CHECK_RUN(datapath.from_uplink(wrapped(world, first)), next, with_destination(first, world.backend()));
    const Packet answer = world.answer(world.backend(), client);
    CHECK_RUN(datapath.to_uplink(answer), next, with_source(answer, external(world)));
    const Packet data = world.data(client, external(world));
    CHECK_RUN(datapath.from_uplink(wrapped(world, data)), next, with_destination(data, world.backend()));
    CHECK(std::ranges::all_of(datapath.flows(), &FlowEntry::established));
    CHECK(datapath.flows().size() == 2);
    CHECK(datapath.service_counter(1).flows == 1);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("dsr: a packet that does not fit is answered with the size that does, by the frontend", "[dsr]") {
    const World world = any_world();
    CAPTURE(world);
    const Sender at(world);
    Datapath& datapath = at.datapath;
    expect_cut_packets(datapath);
    const Endpoint client = outside_client(world);
    const std::size_t fits = kMtu - outer_size(world);
    (void)datapath.from_uplink(world.first(client, external(world)));
    const Packet largest = of_size(world, client, external(world), fits);
    CHECK_RUN(datapath.from_uplink(largest), redirected, wrapped(world, largest));
    const Packet larger = of_size(world, client, external(world), fits + 1);
    CHECK_RUN(datapath.from_uplink(larger), redirected, too_big_for(larger, static_cast<std::uint32_t>(fits)));
    CHECK(datapath.reason(SVCLB_REASON_DSR_TOO_BIG).packets == 1);
    CHECK(datapath.reasons() == 1);
}

TEST_CASE("dsr: of a super-packet it is the segments that have to fit", "[dsr]") {
    const World world = tcp_world();
    CAPTURE(world);
    const Sender at(world);
    Datapath& datapath = at.datapath;
    expect_cut_packets(datapath);
    const Endpoint client = outside_client(world);
    const auto fits = static_cast<std::uint32_t>(kMtu - outer_size(world));
    const std::uint32_t segment = fits - static_cast<std::uint32_t>(outer_size(world)) - 20;
    (void)datapath.from_uplink(world.first(client, external(world)));
    const Packet large = tcp(client, external(world), ack, payload_of(3000));
    // The test-run's super-packets are of no kind, and the kernel encapsulates those of TCP only: it gets that far.
    CHECK(datapath.from_uplink(large, {.size = segment, .segments = 3}).verdict == dropped);
    CHECK(datapath.reason(SVCLB_REASON_DSR_TOO_BIG).packets == 0);
    CHECK(datapath.reason(SVCLB_REASON_REWRITE_FAILED).packets == 1);
    CHECK_RUN(datapath.from_uplink(large, {.size = segment + 1, .segments = 3}), redirected, too_big_for(large, fits));
    CHECK(datapath.reason(SVCLB_REASON_DSR_TOO_BIG).packets == 1);
}

TEST_CASE("dsr: what is not for a backend of the frontend here stays untouched", "[dsr]") {
    const World world = any_world();
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

TEST_CASE("dsr: without being asked for it a node unpacks nothing", "[dsr]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = NodePort::knowing_node(fresh_datapath());
    const ServiceFixture service(datapath, 1, external(world), world.proto, {world.backend()},
                                 {.kind = SVCLB_FRONTEND_EXTERNAL_IP, .on_node = {world.backend()}});
    const Packet packet = wrapped(world, world.first(outside_client(world), external(world)));
    CHECK_RUN(datapath.from_uplink(packet), next, packet);
    CHECK(datapath.reason(SVCLB_REASON_DSR_NOT_TAKEN).packets == 1);
    CHECK(datapath.flows().empty());
}
