// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Nobody to send to: the client is told at once, with a RST or an ICMP error that its kernel will believe.
#include <bpf/bpf.h>

#include <cstring>

#include "conversation.hpp"
#include "ranges.hpp"
#include "refusal.hpp"

using namespace svclb::test;

TEST_CASE("no backends: the client is refused at once", "[no_backends]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {});

    Packet packet = world.first(world.client(), world.frontend());
    if (world.tcp_flow()) packet.tcp().options.clear();  // nothing to cut off
    CHECK_RUN(datapath.from_pod(packet), redirected, refusal_of(world, packet));
    CHECK(datapath.reason(SVCLB_REASON_NO_BACKEND_REJECTED).packets == 1);
    CHECK(datapath.reason(SVCLB_REASON_NO_BACKEND_REJECTED).bytes == packet.frame().size());
    CHECK(datapath.reasons() == 1);
    CHECK(datapath.flows().empty());
}

TEST_CASE("no backends: the RST acknowledges all that the segment carries", "[no_backends]") {
    const World world = tcp_world();
    const std::size_t size = GENERATE(0u, 1u, 2u, 100u, 1400u);
    const std::size_t option_words = GENERATE(0u, 1u, 10u);
    const unsigned flags = GENERATE(+syn, syn | fin);
    CAPTURE(world, size, option_words, flags);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {});
    expect_cut_packets(datapath);
    Packet packet = tcp(world.client(), world.frontend(), flags, payload_of(size));
    packet.tcp().seq = 0xfffffff0;
    packet.tcp().options = Bytes(option_words * 4, 1);
    packet.trailer = size < 6 ? 6 : 0;  // Ethernet padding is no payload
    packet.vlans = {42};

    const auto taken = static_cast<std::uint32_t>(size + 1 + ((flags & fin) != 0 ? 1 : 0));
    CHECK_RUN(datapath.from_pod(packet), redirected, reset_for(packet, 0xfffffff0 + taken));
}

TEST_CASE("no backends: the ICMP error quotes datagrams of every length", "[no_backends]") {
    const World world = udp_world();
    const std::size_t size =
        GENERATE(0u, 1u, 2u, 3u, 4u, 5u, 33u, 463u, 464u, 465u, 483u, 484u, 485u, 486u, 1000u, 1472u);
    const std::size_t headers_between = GENERATE(0u, 8u);
    CAPTURE(world, size, headers_between);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {});
    Packet packet = udp(world.client(), world.frontend(), payload_of(size));
    if (headers_between != 0) {
        packet.ip_options = Bytes(headers_between, 1);
        packet.extensions = {{IPPROTO_DSTOPTS, Bytes(headers_between - 2)}};
    }
    if (packet.frame().size() > 14 + kQuoteMax) expect_cut_packets(datapath);
    const Run run = datapath.from_pod(packet);
    CHECK_RUN(run, redirected, unreachable_for(packet));
    CHECK(wrong_checksums(run.frame) == std::string());
}

TEST_CASE("no backends: a datagram without a checksum is refused like others", "[no_backends]") {
    const World world{4, IPPROTO_UDP};
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {});
    Packet packet = udp(world.client(), world.frontend(), payload_of(9));
    std::get<Udp>(packet.transport).without_checksum = true;
    CHECK_RUN(datapath.from_pod(packet), redirected, unreachable_for(packet));
}

TEST_CASE("no backends: a RST is never answered", "[no_backends]") {
    const World world = tcp_world();
    const unsigned flags = GENERATE(+rst, rst | ack, rst | syn);
    CAPTURE(world, flags);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {});
    mark_cluster_ip(datapath, world.frontend().addr);
    for (const Endpoint& to : {world.frontend(), Endpoint{world.frontend().addr, 81}}) {
        const Packet packet = tcp(world.client(), to, flags);
        CHECK_RUN(datapath.from_pod(packet), next, packet);
    }
    CHECK(datapath.reason(SVCLB_REASON_NO_FLOW).packets == 2);
}

TEST_CASE("no backends: a SYN behind other headers gets an ICMP error", "[no_backends]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {});
    Packet packet = world.first(world.client(), world.frontend());
    packet.ip_options = Bytes(4, 1);
    packet.extensions = {{IPPROTO_DSTOPTS, Bytes(6)}};
    CHECK_RUN(datapath.from_pod(packet), redirected, unreachable_for(packet));
    CHECK(datapath.reason(SVCLB_REASON_NO_BACKEND_REJECTED).packets == 1);
    CHECK(datapath.reasons() == 1);
}

// The kernel can make no room for the quote behind a tag; it has taken the outer one off before the program runs.
TEST_CASE("no backends: behind VLAN tags TCP is answered, and the rest dropped and counted", "[no_backends]") {
    const World world = any_world();
    const std::vector<std::uint16_t> tags = GENERATE(std::vector<std::uint16_t>{7}, std::vector<std::uint16_t>{8, 7});
    CAPTURE(world, tags.size());
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {});
    Packet packet = world.first(world.client(), world.frontend());
    packet.vlans = tags;
    if (world.tcp_flow()) {
        packet.tcp().options.clear();
        CHECK_RUN(datapath.from_pod(packet), redirected, refusal_of(world, packet));
    } else {
        CHECK(datapath.from_pod(packet).verdict == dropped);
    }
    CHECK(datapath.reason(SVCLB_REASON_REJECT_FAILED).packets == (world.tcp_flow() ? 0 : 1));
    CHECK(datapath.reason(SVCLB_REASON_NO_BACKEND_REJECTED).packets == 1);
}

TEST_CASE("no backends: the ICMP error does not quote Ethernet padding", "[no_backends]") {
    const World world = udp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {});
    expect_cut_packets(datapath);
    Packet packet = udp(world.client(), world.frontend(), payload_of(3));
    packet.trailer = 15;
    CHECK_RUN(datapath.from_pod(packet), redirected, unreachable_for(packet));
}

TEST_CASE("no backends: nobody is answered who is not one sender", "[no_backends]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {});
    std::vector<Ip> senders{ip("0.0.0.0"), ip("127.0.0.1"), ip("224.0.0.1"), ip("255.255.255.255")};
    if (world.family == 6) senders = {ip("::"), ip("::1"), ip("ff02::1")};
    std::uint64_t failed = 0;
    for (const Ip& sender : senders) {
        CAPTURE(to_string(sender));
        const Packet packet = world.first({sender, 40000}, world.frontend());
        CHECK_RUN(datapath.from_pod(packet), dropped, packet);
        CHECK(datapath.reason(SVCLB_REASON_REJECT_FAILED).packets == ++failed);
    }
    Packet broadcast = world.first(world.client(), world.frontend());
    broadcast.to_mac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    CHECK_RUN(datapath.from_pod(broadcast), dropped, broadcast);
}

TEST_CASE("no backends: a client is answered so often a second, and others are not kept waiting", "[no_backends]") {
    const World world = any_world();
    CAPTURE(world);
    constexpr std::uint32_t kAnswers = 3;
    DatapathOptions options;
    options.settings.reject_per_s = kAnswers;
    Datapath& datapath = datapath_with(options);
    expect_cut_packets(datapath);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {});
    const auto answers_to = [&](const Endpoint& client, std::uint32_t packets) {
        std::uint32_t answers = 0;
        for (std::uint32_t i = 0; i < packets; i++) {
            const auto verdict = datapath.from_pod(world.first(client, world.frontend())).verdict;
            CHECK((verdict == redirected || verdict == dropped));
            answers += verdict == redirected ? 1 : 0;
        }
        return answers;
    };

    const std::uint32_t answers = answers_to(world.client(), 30);
    CHECK(answers >= kAnswers);
    CHECK(answers <= 2 * kAnswers);  // a second may begin in between
    CHECK(datapath.reason(SVCLB_REASON_REJECT_RATE_LIMITED).packets == 30 - answers);
    CHECK(datapath.reason(SVCLB_REASON_NO_BACKEND_REJECTED).packets == 30);
    CHECK(answers_to(world.other_client(), 1) == 1);

    // A second later.
    svclb_reject_key key{};
    std::memcpy(key.client, world.client().addr.bytes.data(), sizeof(key.client));
    svclb_reject_budget budget{};
    REQUIRE(bpf_map_lookup_elem(datapath.map("rejects"), &key, &budget) == 0);
    budget.filled_s--;
    REQUIRE(bpf_map_update_elem(datapath.map("rejects"), &key, &budget, BPF_ANY) == 0);
    CHECK(answers_to(world.client(), 1) == 1);
}

TEST_CASE("no backends: none on this node and a Local policy is a silent drop", "[no_backends]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceOptions options;
    options.set = SVCLB_SET_LOCAL;
    options.verdict_when_empty = SVCLB_VERDICT_DROP;
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {}, options);

    const Packet packet = world.first(world.client(), world.frontend());
    CHECK_RUN(datapath.from_pod(packet), dropped, packet);
    CHECK(datapath.reason(SVCLB_REASON_NO_LOCAL_BACKEND_DROPPED).packets == 1);
    CHECK(datapath.reasons() == 1);
}

TEST_CASE("no backends: an unknown port of a ClusterIP is refused, and TCP in mid-connection passed", "[no_backends]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    mark_cluster_ip(datapath, world.frontend().addr);
    expect_cut_packets(datapath);

    const Packet packet = world.first(world.client(), {world.frontend().addr, 81});
    CHECK_RUN(datapath.from_pod(packet), redirected, refusal_of(world, packet));
    CHECK(datapath.reason(SVCLB_REASON_UNKNOWN_PORT_REJECTED).packets == 1);
    CHECK(datapath.reasons() == 1);
    if (world.tcp_flow()) {
        const Packet middle = world.data(world.client(), {world.frontend().addr, 81});
        CHECK_RUN(datapath.from_pod(middle), next, middle);
    }
    establish(datapath, world, world.client(), world.frontend());
}

TEST_CASE("no backends: an address of the Service CIDR that nobody has is dropped", "[no_backends]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    set_service_cidrs(datapath, GENERATE(0u, std::uint32_t{SVCLB_SERVICE_CIDRS}));  // in turn in either half
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});

    const Ip network = world.net("10.96.0.0", "fd00:96::");
    std::uint64_t drops = 0;
    for (const std::uint32_t offset : {1u, 4095u}) {
        CAPTURE(offset);
        const Packet packet = world.first(world.client(), {network + offset, 80});
        CHECK_RUN(datapath.from_pod(packet), dropped, packet);
        CHECK(datapath.reason(SVCLB_REASON_UNALLOCATED_DROPPED).packets == ++drops);
    }
    const Packet outside = world.first(world.client(), {network + 4096, 80});
    CHECK_RUN(datapath.from_pod(outside), next, outside);
    CHECK(datapath.reasons() == drops);
    establish(datapath, world, world.client(), world.frontend());
}
