// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A flow to a frontend, out and back: addresses, ports and checksums change, and nothing else does.
#include <algorithm>

#include "frame_layout.hpp"
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
    // The payload makes up for everything else in the sum. The shorter one is rewritten step by step.
    const std::size_t size = GENERATE(2u, 40u);
    CAPTURE(size);
    Bytes payload(size, 0);
    const Bytes probe = udp(from, to, payload).frame();
    const std::size_t checksum_at = probe.size() - size - 2;
    std::copy_n(probe.begin() + static_cast<std::ptrdiff_t>(checksum_at), 2, payload.begin());
    const Packet expected = udp(from, to, payload);
    REQUIRE(expected.frame()[checksum_at] == 0xff);
    REQUIRE(expected.frame()[checksum_at + 1] == 0xff);

    if (in_reply) {
        datapath.from_pod(world.first(world.client(), world.frontend()));
        CHECK_RUN(datapath.to_pod(with_source(expected, world.backend())), next, expected);
    } else {
        CHECK_RUN(datapath.from_pod(with_destination(expected, world.frontend())), next, expected);
    }
}

TEST_CASE("translation: a complete checksum that looks like one left to the device", "[translation]") {
    const World world = any_world();
    const bool complete_checksums = GENERATE(false, true);
    CAPTURE(world, complete_checksums);
    Datapath& datapath = fresh_datapath();
    datapath.with_complete_checksums(complete_checksums);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    datapath.from_pod(world.first(world.client(), world.frontend()));

    // The payload's first word makes the checksum the pseudo header's sum.
    const auto with_word = [&](std::uint16_t word) {
        Bytes payload = payload_of(40);
        payload[0] = static_cast<std::uint8_t>(word >> 8);
        payload[1] = static_cast<std::uint8_t>(word);
        return world.proto == IPPROTO_UDP ? udp(world.client(), world.frontend(), payload)
                                          : tcp(world.client(), world.frontend(), psh | ack, payload);
    };
    const Bytes probe = with_word(0).frame();
    const std::size_t addresses_at = 14 + (world.family == 4 ? 12 : 8);
    const std::size_t transport_at = 14 + (world.family == 4 ? 20 : 40);
    const std::size_t checksum_at = transport_at + (world.proto == IPPROTO_UDP ? 6 : 16);
    const std::uint16_t inverse = internet_checksum(
        probe, addresses_at, transport_at, static_cast<std::uint32_t>(world.proto + probe.size() - transport_at));
    const auto checksum_of = [&](const Bytes& frame) {
        return static_cast<std::uint16_t>(frame[checksum_at] << 8 | frame[checksum_at + 1]);
    };
    const std::uint32_t word = std::uint32_t{inverse} + checksum_of(probe);
    const Packet out = with_word(static_cast<std::uint16_t>((word & 0xffff) + (word >> 16)));
    REQUIRE(checksum_of(out.frame()) == static_cast<std::uint16_t>(~inverse));

    CHECK_RUN(datapath.from_pod(out), next, with_destination(out, world.backend()));
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
