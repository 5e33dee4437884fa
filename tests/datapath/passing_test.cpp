// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What is none of our business goes on bit for bit, and what we cannot translate does too, counted.
#include "conversation.hpp"

using namespace svclb::test;

namespace {

void check_untouched(Datapath& datapath, const Packet& packet) {
    CHECK_RUN(datapath.from_pod(packet), next, packet);
    CHECK_RUN(datapath.to_pod(packet), next, packet);
}

void check_untouched(Datapath& datapath, const Bytes& frame) {
    for (const Run& run : {datapath.from_pod(frame), datapath.to_pod(frame)}) {
        CHECK(run.verdict == next);
        CHECK(difference(frame, run.frame) == std::string());
    }
}

}  // namespace

TEST_CASE("passing: packets that are not for a frontend go on untouched and leave no entry", "[passing]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});

    check_untouched(datapath, world.first(world.client(), world.stranger()));
    check_untouched(datapath, world.answer(world.stranger(), world.client()));
    check_untouched(datapath, world.data(world.client(), world.stranger()));
    check_untouched(datapath, world.first(world.client(), world.other_client()));
    CHECK(datapath.flows().empty());
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("passing: another port or protocol of a frontend's address goes on untouched", "[passing]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    World other = world;
    other.proto = world.tcp_flow() ? IPPROTO_UDP : IPPROTO_TCP;

    check_untouched(datapath, world.first(world.client(), {world.frontend().addr, 81}));
    check_untouched(datapath, other.first(world.client(), world.frontend()));
    CHECK(datapath.flows().empty());
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("passing: a packet to a frontend that a pod is given goes on untouched", "[passing]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Packet packet = world.first(world.client(), world.frontend());
    CHECK_RUN(datapath.to_pod(packet), next, packet);
    CHECK(datapath.flows().empty());
}

TEST_CASE("passing: TCP in mid-connection without an entry goes on untouched and is counted", "[passing]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});

    std::uint64_t packets = 0;
    for (const unsigned flags : {+ack, psh | ack, fin | ack, +rst, rst | ack, syn | ack}) {
        CAPTURE(flags);
        const Packet packet = tcp(world.client(), world.frontend(), flags, payload_of(10));
        CHECK_RUN(datapath.from_pod(packet), next, packet);
        CHECK(datapath.reason(SVCLB_REASON_NO_FLOW).packets == ++packets);
    }
    CHECK(datapath.flows().empty());
    CHECK(datapath.reasons() == packets);
}

TEST_CASE("passing: a conversation with a backend itself goes on untouched", "[passing]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    establish(datapath, world, world.other_client(), world.frontend());

    for (const auto& packet :
         {world.first(world.client(), world.backend()), world.data(world.client(), world.backend())}) {
        CHECK_RUN(datapath.from_pod(packet), next, packet);
    }
    for (const auto& packet :
         {world.answer(world.backend(), world.client()), world.data(world.backend(), world.client())}) {
        CHECK_RUN(datapath.to_pod(packet), next, packet);
    }
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("passing: other protocols to a frontend go on untouched and are counted", "[passing]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const auto echo = static_cast<std::uint8_t>(world.family == 4 ? 8 : 128);
    const Packet ping = icmp(world.client().addr, world.frontend().addr, {echo, 0, 0x00010001}, payload_of(56));
    Packet gre = ping;
    gre.transport = OtherProtocol{IPPROTO_GRE};

    CHECK_RUN(datapath.from_pod(ping), next, ping);
    CHECK_RUN(datapath.from_pod(gre), next, gre);
    CHECK(datapath.reason(SVCLB_REASON_UNSUPPORTED_PROTOCOL).packets == 2);
    CHECK(datapath.reasons() == 2);

    gre.destination = world.stranger().addr;
    CHECK_RUN(datapath.from_pod(gre), next, gre);
    CHECK(datapath.reasons() == 2);
}

TEST_CASE("passing: headers cut off anywhere are never touched", "[passing]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    Packet packet = world.first(world.client(), world.frontend());
    packet.vlans = {5};  // newer kernels run no program on a frame of type IP without an IP header
    packet.payload.clear();
    if (world.tcp_flow()) packet.tcp().options.clear();
    const Bytes whole = packet.frame();
    const std::size_t transport = whole.size() - (world.tcp_flow() ? 20 : 8);

    for (std::size_t size = 15; size < whole.size(); size++) {
        CAPTURE(size);
        const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        const std::uint64_t before = datapath.reason(SVCLB_REASON_MALFORMED).packets;
        check_untouched(datapath, cut);
        if (size >= transport) CHECK(datapath.reason(SVCLB_REASON_MALFORMED).packets == before + 1);
    }
    CHECK(datapath.flows().empty());
}

TEST_CASE("passing: nonsense in the headers is never touched", "[passing]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Bytes whole = world.first(world.client(), world.frontend()).frame();

    Bytes frame = whole;
    frame[14] = world.family == 4 ? 0x44 : 0x40;  // a header of 16 bytes; not version 6
    check_untouched(datapath, frame);
    frame = whole;
    frame[12] = 0x08;
    frame[13] = 0x06;  // ARP, with whatever in it
    check_untouched(datapath, frame);
    if (world.family == 4) {
        frame = whole;
        frame[14] = 0x4f;  // options that reach beyond the frame
        frame.resize(14 + 40);
        check_untouched(datapath, frame);
    } else {
        frame = whole;
        frame[20] = IPPROTO_HOPOPTS;  // the transport header as an extension header of 5 * 8 or more bytes
        frame[54 + 1] = 0xff;
        check_untouched(datapath, frame);
        frame = whole;
        frame[20] = IPPROTO_NONE;
        check_untouched(datapath, frame);
    }
    CHECK(datapath.flows().empty());
}
