// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Headers that are rare, and headers that lie: translated where the kernel would take the packet, else never touched.
#include "conversation.hpp"

using namespace svclb::test;

namespace {

constexpr std::size_t kEthernet = 14;

std::size_t transport_at(const World& world) {
    return kEthernet + (world.family == 4 ? 20u : 40u);
}

void set16(Bytes& frame, std::size_t at, std::size_t value) {
    frame[at] = static_cast<std::uint8_t>(value >> 8);
    frame[at + 1] = static_cast<std::uint8_t>(value);
}

// As it goes in, it comes out, of either program; to a frontend it is counted.
void check_untouched(Datapath& datapath, const Bytes& frame, svclb_reason reason) {
    const std::uint64_t before = datapath.reason(reason).packets;
    for (const Run& run : {datapath.from_pod(frame), datapath.to_pod(frame)}) {
        CHECK(run.verdict == next);
        CHECK(difference(frame, run.frame) == std::string());
    }
    CHECK(datapath.reason(reason).packets == before + 1);
    CHECK(datapath.flows().empty());
}

// Out and back, with the same headers added to each packet.
void check_both_ways(const World& world, const std::function<void(Packet&)>& shape) {
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    Packet out = world.first(world.client(), world.frontend());
    shape(out);
    CHECK_RUN(datapath.from_pod(out), next, with_destination(out, world.backend()));
    Packet back = world.answer(world.backend(), world.client());
    shape(back);
    CHECK_RUN(datapath.to_pod(back), next, with_source(back, world.frontend()));
    CHECK(datapath.reasons() == 0);
}

}  // namespace

TEST_CASE("headers: a length of IP that lies", "[headers]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    datapath.with_complete_checksums(false);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    mark_cluster_ip(datapath, world.frontend().addr);
    const Bytes whole = world.first(world.client(), world.frontend()).frame();
    const std::size_t length_at = kEthernet + (world.family == 4 ? 2u : 4u);
    const std::size_t right = whole.size() - kEthernet - (world.family == 4 ? 0u : 40u);
    const std::size_t headers = (world.family == 4 ? 20u : 0u) + (world.tcp_flow() ? 20u : 8u);
    // Longer than the packet; in the middle of the transport header; shorter than IP's own header; nothing.
    for (const std::size_t length : {right + 1, std::size_t{0xffff}, headers - 1, std::size_t{7}, std::size_t{0}}) {
        CAPTURE(length);
        Bytes frame = whole;
        set16(frame, length_at, length);
        check_untouched(datapath, frame, SVCLB_REASON_MALFORMED);
    }
}

TEST_CASE("headers: a TCP header that is too short or reaches beyond the packet", "[headers]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    Packet packet = world.first(world.client(), world.frontend());
    packet.trailer = 40;  // that is no part of the packet
    for (const unsigned words : {0u, 4u, 8u, 15u}) {
        CAPTURE(words);
        Bytes frame = packet.frame();
        frame[transport_at(world) + 12] = static_cast<std::uint8_t>(words << 4);
        check_untouched(datapath, frame, SVCLB_REASON_MALFORMED);
    }
}

TEST_CASE("headers: a length of UDP that lies", "[headers]") {
    const World world = udp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Bytes whole = world.first(world.client(), world.frontend()).frame();
    const std::size_t right = whole.size() - transport_at(world);
    for (const std::size_t length : {right + 1, std::size_t{0xffff}, std::size_t{7}}) {
        CAPTURE(length);
        Bytes frame = whole;
        set16(frame, transport_at(world) + 4, length);
        check_untouched(datapath, frame, SVCLB_REASON_MALFORMED);
    }
}

TEST_CASE("headers: a datagram shorter than its IP packet is translated", "[headers]") {
    const World world = udp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    // The rest is not covered by the checksum, and no receiver gets it.
    const auto short_by = [&](const Packet& packet) {
        Packet longer = packet;
        longer.payload.insert(longer.payload.end(), {9, 8, 7, 6});
        Bytes frame = longer.frame();
        const Bytes whole = packet.frame();
        std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>(transport_at(world)), 8,
                    frame.begin() + static_cast<std::ptrdiff_t>(transport_at(world)));
        return frame;
    };
    const Packet packet = world.first(world.client(), world.frontend());
    const Run run = datapath.from_pod(short_by(packet));
    CHECK(run.verdict == next);
    CHECK(difference(short_by(with_destination(packet, world.backend())), run.frame) == std::string());
}

TEST_CASE("headers: a wrong checksum stays wrong", "[headers]") {
    const World world = any_world();
    const bool of_ip = GENERATE(false, true);
    CAPTURE(world, of_ip);
    if (of_ip && world.family == 6) return;  // it has none
    Datapath& datapath = fresh_datapath();
    datapath.with_complete_checksums(false);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    Bytes frame = world.first(world.client(), world.frontend()).frame();
    frame[of_ip ? kEthernet + 10 : transport_at(world) + (world.tcp_flow() ? 16u : 6u)] ^= 0x40;
    const Run run = datapath.from_pod(frame);
    CHECK(run.verdict == next);
    CHECK(destination_of(run.frame) == world.backend());
    CHECK(wrong_checksums(run.frame) == (of_ip ? "ip checksum\n" : "transport checksum\n"));
}

TEST_CASE("headers: a datagram without a checksum in IPv6 is left to its receiver", "[headers]") {
    const World world{6, IPPROTO_UDP};
    Datapath& datapath = fresh_datapath();
    datapath.with_complete_checksums(false);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    Packet packet = world.first(world.client(), world.frontend());
    std::get<Udp>(packet.transport).without_checksum = true;
    CHECK_RUN(datapath.from_pod(packet), next, with_destination(packet, world.backend()));
}

TEST_CASE("headers: IPv4 options of every length", "[headers]") {
    const World world{4, GENERATE(std::uint8_t{IPPROTO_TCP}, std::uint8_t{IPPROTO_UDP})};
    CAPTURE(world);
    for (const Bytes& options : {Bytes(4, 1), Bytes{0x94, 4, 0, 0}, Bytes{7, 39, 4}, Bytes{68, 40, 5}, Bytes(40, 1)}) {
        check_both_ways(world, [&](Packet& packet) {
            packet.ip_options = options;
            packet.ip_options.resize((options.size() + 3) / 4 * 4 > 4 ? 40 : 4, 0);
        });
    }
}

TEST_CASE("headers: an IPv4 source route goes on untouched", "[headers]") {
    const World world{4, GENERATE(std::uint8_t{IPPROTO_TCP}, std::uint8_t{IPPROTO_UDP})};
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    mark_cluster_ip(datapath, world.frontend().addr);
    for (const Bytes& options : {Bytes{131, 7, 4, 192, 0, 2, 1, 0}, Bytes{1, 137, 7, 4, 192, 0, 2, 1},
                                 Bytes{68, 8, 9, 0, 0, 0, 0, 0, 131, 3, 4, 0}}) {
        Packet packet = world.first(world.client(), world.frontend());
        packet.ip_options = options;
        check_untouched(datapath, packet.frame(), SVCLB_REASON_UNREAD_HEADERS);
    }
}

TEST_CASE("headers: IPv6 extension headers, and a routing header that is used up", "[headers]") {
    const World world{6, GENERATE(std::uint8_t{IPPROTO_TCP}, std::uint8_t{IPPROTO_UDP})};
    CAPTURE(world);
    const Bytes pad{1, 4, 0, 0, 0, 0};
    check_both_ways(world, [&](Packet& packet) { packet.extensions = {{IPPROTO_HOPOPTS, pad}}; });
    check_both_ways(world, [&](Packet& packet) { packet.extensions = {{IPPROTO_DSTOPTS, Bytes(22)}}; });
    check_both_ways(world, [&](Packet& packet) {
        packet.extensions = {{IPPROTO_HOPOPTS, pad}, {IPPROTO_ROUTING, {3, 0, 0, 0, 0, 0}}, {IPPROTO_DSTOPTS, pad}};
    });
    // A fragment header in front of a whole packet.
    check_both_ways(world, [&](Packet& packet) {
        packet.extensions = {{IPPROTO_DSTOPTS, pad}, {IPPROTO_FRAGMENT, {0, 0, 1, 2, 3, 4}}};
    });
}

TEST_CASE("headers: an IPv6 routing header with segments left goes on untouched", "[headers]") {
    const World world{6, GENERATE(std::uint8_t{IPPROTO_TCP}, std::uint8_t{IPPROTO_UDP})};
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    mark_cluster_ip(datapath, world.frontend().addr);
    Packet packet = world.first(world.client(), world.frontend());
    packet.extensions = {{IPPROTO_ROUTING, {4, 1, 0, 0, 0, 0}}};
    check_untouched(datapath, packet.frame(), SVCLB_REASON_UNREAD_HEADERS);
}

TEST_CASE("headers: a long chain of IPv6 headers goes on untouched", "[headers]") {
    const World world{6, GENERATE(std::uint8_t{IPPROTO_TCP}, std::uint8_t{IPPROTO_UDP})};
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    mark_cluster_ip(datapath, world.frontend().addr);
    Packet packet = world.first(world.client(), world.frontend());
    packet.extensions = std::vector<Extension>(7, {IPPROTO_DSTOPTS, Bytes(6)});
    check_untouched(datapath, packet.frame(), SVCLB_REASON_UNREAD_HEADERS);
    packet.extensions = {{IPPROTO_DSTOPTS, Bytes(94)}};
    check_untouched(datapath, packet.frame(), SVCLB_REASON_UNREAD_HEADERS);
}
