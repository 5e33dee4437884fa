// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A flow to a frontend, out and back: addresses, ports and checksums change, and nothing else does.
#include "world.hpp"

using namespace svclb::test;

namespace {

// A packet that carries whatever headers `shape` gives it, out through from_pod and back through to_pod.
void check_both_ways(const World& world, const std::function<void(Packet&)>& shape, bool complete_checksums = true) {
    Datapath& datapath = fresh_datapath();
    datapath.with_complete_checksums(complete_checksums);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});

    Packet out = world.first(world.client(), world.frontend());
    shape(out);
    CHECK_RUN(datapath.from_pod(out), next, with_destination(out, world.backend()));

    Packet back = world.answer(world.backend(), world.client());
    shape(back);
    CHECK_RUN(datapath.to_pod(back), next, with_source(back, world.frontend()));

    Packet more = world.data(world.client(), world.frontend());
    shape(more);
    CHECK_RUN(datapath.from_pod(more), next, with_destination(more, world.backend()));
    CHECK(datapath.reasons() == 0);
}

}  // namespace

TEST_CASE("translation: out to the backend and back from the frontend", "[translation]") {
    const World world = any_world();
    CAPTURE(world);
    check_both_ways(world, [](Packet&) {});
}

TEST_CASE("translation: behind IP options and extension headers", "[translation]") {
    const World world = any_world();
    CAPTURE(world);
    const std::size_t words = GENERATE(1u, 2u, 5u);
    CAPTURE(words);
    check_both_ways(world, [&](Packet& packet) {
        if (world.family == 4) {
            packet.ip_options = Bytes(words * 8, 1);
        } else {
            packet.extensions = {{IPPROTO_HOPOPTS, {1, 4, 0, 0, 0, 0}}, {IPPROTO_DSTOPTS, Bytes(words * 8 - 2, 0)}};
        }
    });
}

TEST_CASE("translation: behind one and two VLAN tags", "[translation]") {
    const World world = any_world();
    CAPTURE(world);
    check_both_ways(world, [](Packet& packet) { packet.vlans = {100}; });
    check_both_ways(world, [](Packet& packet) { packet.vlans = {200, 100}; });
}

TEST_CASE("translation: of every payload length, odd and even, and of padded frames", "[translation]") {
    const World world = any_world();
    CAPTURE(world);
    const std::size_t size = GENERATE(0u, 1u, 2u, 3u, 64u, 1399u, 1400u);
    CAPTURE(size);
    check_both_ways(world, [&](Packet& packet) {
        packet.payload = payload_of(size);
        packet.trailer = size < 6 ? 6 - size : 0;
    });
}

TEST_CASE("translation: a UDP datagram without a checksum stays without", "[translation]") {
    const World world{4, IPPROTO_UDP};
    // A device's sum over such a datagram is not kept, and no receiver looks at it: zero means unchecked.
    const bool complete_checksums = false;
    const auto without = [](Packet& packet) { std::get<Udp>(packet.transport).without_checksum = true; };
    check_both_ways(world, without, complete_checksums);
}

TEST_CASE("translation: a UDP checksum that computes to zero is sent as 0xffff", "[translation]") {
    const World world = udp_world();
    const bool in_reply = GENERATE(false, true);
    CAPTURE(world, in_reply);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Endpoint from = in_reply ? world.frontend() : world.client();
    const Endpoint to = in_reply ? world.client() : world.backend();
    // The payload makes up for everything else in the sum.
    const Bytes probe = udp(from, to, {0, 0}).frame();
    const std::size_t checksum_at = probe.size() - 4;
    const Packet expected = udp(from, to, {probe[checksum_at], probe[checksum_at + 1]});
    REQUIRE(expected.frame()[checksum_at] == 0xff);
    REQUIRE(expected.frame()[checksum_at + 1] == 0xff);

    if (in_reply) {
        datapath.from_pod(world.first(world.client(), world.frontend()));
        CHECK_RUN(datapath.to_pod(with_source(expected, world.backend())), next, expected);
    } else {
        CHECK_RUN(datapath.from_pod(with_destination(expected, world.frontend())), next, expected);
    }
}

TEST_CASE("translation: a segmentation-offload packet passes whole", "[translation]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    datapath.from_pod(world.first(world.client(), world.frontend()));
    datapath.to_pod(world.answer(world.backend(), world.client()));
    datapath.with_complete_checksums(false);

    const Gso cut{.size = 1000, .segments = 3};
    const Packet out = tcp(world.client(), world.frontend(), psh | ack, payload_of(2500));
    CHECK_RUN(datapath.from_pod(out.frame(), cut), next, with_destination(out, world.backend()));
    const Packet back = tcp(world.backend(), world.client(), psh | ack, payload_of(2500));
    CHECK_RUN(datapath.to_pod(back.frame(), cut), next, with_source(back, world.frontend()));
}
