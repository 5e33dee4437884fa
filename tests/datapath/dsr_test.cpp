// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Direct server return at the node that is dialled: what is encapsulated, what is told to clients, and what cannot be
// done; and what concerns both nodes.
#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "dsr_nodes.hpp"
#include "fragments.hpp"
#include "icmp_errors.hpp"
#include "refusal.hpp"

using namespace svclb::test;

namespace {

constexpr std::size_t kMtu = 1500;

// As if XDP served every device that the test has.
void serve_with_xdp(const Datapath& datapath) {
    for (const std::uint32_t device : {1U, if_nametoindex("uplink")}) {
        svclb_xdp_link row{};
        row.mode = SVCLB_XDP_NATIVE;
        const Mac mac = Packet{}.to_mac;
        std::copy(mac.begin(), mac.end(), row.mac);
        if (device != 0) REQUIRE(bpf_map_update_elem(datapath.map("xdp_links"), &device, &row, BPF_ANY) == 0);
    }
}

Packet too_big_for(const Packet& packet, std::uint32_t mtu) {
    Packet answer = unreachable_for(packet);
    const bool v4 = packet.source.v4();
    answer.transport =
        Icmp{.type = static_cast<std::uint8_t>(v4 ? 3 : 2), .code = static_cast<std::uint8_t>(v4 ? 4 : 0), .rest = mtu};
    return answer;
}

// An IP packet of `size` bytes in mid-connection.
Packet of_size(const World& world, const Endpoint& from, const Endpoint& to, std::size_t size) {
    const bool sctp_flow = world.proto == IPPROTO_SCTP;
    const std::size_t headers = outer_size(world) + (world.tcp_flow() ? 20 : sctp_flow ? 16 : 8);
    const Bytes payload = payload_of(size - headers);
    if (sctp_flow) return sctp(from, to, sctp_data, payload);
    return world.tcp_flow() ? tcp(from, to, psh | ack, payload) : udp(from, to, payload);
}

}  // namespace

TEST_CASE("dsr: a packet for a backend elsewhere goes there whole, inside of another one", "[dsr]") {
    const World world = every_world();
    CAPTURE(world);
    const Sender at(world);
    Datapath& datapath = at.datapath;
    const Endpoint client = outside_client(world);
    for (Packet packet : {world.first(client, external(world)), world.data(client, external(world))}) {
        packet.tos = 0xb9;
        packet.trailer = 6;  // Ethernet's padding, behind both
        CHECK_RUN(datapath.from_uplink(packet), redirected, wrapped(world, packet));
    }
    CHECK(datapath.flows().size() == 1);
    CHECK(datapath.service_counter(1).packets == 2);
    CHECK(datapath.service_counter(1).flows == 1);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("dsr: a packet that does not fit is answered with the size that does, by the frontend", "[dsr]") {
    const World world = every_world();
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

TEST_CASE("dsr: an error about an answer goes to the backend's node, and is one about its own packet there", "[dsr]") {
    const World world = every_world();
    CAPTURE(world);
    const Endpoint client = outside_client(world);
    const Ip router = world.stranger().addr + 9;
    const Icmp message = world.family == 4 ? Icmp{3, 4, 1400} : Icmp{2, 0, 1400};
    const Packet error = error_about(router, world.data(external(world), client), message);
    const Packet other = error_about(router, world.data(external(world), world.other_client()), message);
    const Packet first = world.first(client, external(world));
    {
        const Sender at(world);
        (void)at.datapath.from_uplink(first);
        CHECK_RUN(at.datapath.from_uplink(error), redirected, wrapped(world, error));
        CHECK_RUN(at.datapath.from_uplink(other), next, other);
    }
    Receiver at(world);
    (void)at.datapath.from_uplink(wrapped(world, first));
    CHECK_RUN(at.datapath.from_uplink(wrapped(world, error)), next,
              error_about(router, world.data(world.backend(), client), message));
    at.check_untouched(wrapped(world, other), false);
    at.check_untouched(wrapped(error, node_address(world), world.backend(1).addr), false);
    CHECK(at.datapath.reason(SVCLB_REASON_DSR_NOT_TAKEN).packets == 0);
}

TEST_CASE("dsr: datagrams in fragments", "[dsr]") {
    const World world = udp_world();
    CAPTURE(world);
    const Endpoint client = outside_client(world);
    const auto pieces = fragments_of(large(client, external(world)));
    const auto arrive = fragments_of(large(client, world.backend()));
    SECTION("are encapsulated each, the first one before or after the others") {
        const Sender at(world);
        at.datapath.with_complete_checksums(false);  // a packet that takes another one's place has none
        (void)at.datapath.from_uplink(world.first(client, external(world)));
        CHECK_RUN(at.datapath.from_uplink(pieces[1]), dropped, pieces[1]);
        CHECK_RUN(at.datapath.from_uplink(pieces[0]), redirected, wrapped(world, pieces[0]));
        CHECK(at.datapath.reason(SVCLB_REASON_FRAGMENT_RELEASED).packets == 1);
        for (const auto& piece : pieces) CHECK_RUN(at.datapath.from_uplink(piece), redirected, wrapped(world, piece));
    }
    SECTION("are unpacked each, but for one of no datagram") {
        Receiver at(world);
        at.check_untouched(wrapped(world, pieces[1]), false);
        for (std::size_t i = 0; i < pieces.size(); i++)
            CHECK_RUN(at.datapath.from_uplink(wrapped(world, pieces[i])), next, arrive[i]);
        at.check_untouched(wrapped(pieces[1], node_address(world), world.backend(1).addr), false);
        CHECK(at.datapath.reasons() == 0);
    }
}

TEST_CASE("dsr: a backend on the node that is dialled sees the client", "[dsr]") {
    const World world = every_world();
    CAPTURE(world);
    const Sender at(world, with_dsr({world.backend()}));
    const Outside flow = dial(at.datapath, world, outside_client(world), external(world), Seen::client_here);
    const Packet in = world.first(flow.forwarded, flow.backend);
    CHECK_RUN(at.datapath.to_pod(in), next, in);
    check_reply(at.datapath, flow, answer_of(world, flow));
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("dsr: where it cannot work the node becomes the source, and that is counted", "[dsr]") {
    const World world = every_world();
    CAPTURE(world);
    const Endpoint client = outside_client(world);
    const auto check_source = [&](const Sender& at, const Packet& packet, const Endpoint& backend) {
        const Packet forwarded = with_destination(packet, backend);
        CHECK_RUN(at.datapath.from_uplink(packet), next, forwarded);
        const Run out = at.datapath.to_uplink(forwarded);
        CHECK(source_of(out.frame).addr == node_address(world));
        CHECK(at.datapath.reason(SVCLB_REASON_DSR_NOT_POSSIBLE).packets == 1);
        CHECK(at.datapath.reasons() == 1);
    };
    SECTION("no route") {
        const Endpoint unrouted{world.net("198.51.100.1", "fd01::1"), 8080};
        Sender at(world);
        at.service.publish({unrouted});
        check_source(at, world.first(client, external(world)), unrouted);
    }
    SECTION("the way leads out of a device that is no uplink") {
        const Sender at(world);
        const std::uint32_t device = if_nametoindex("uplink");
        REQUIRE(bpf_map_delete_elem(at.datapath.map("uplink_devices"), &device) == 0);
        check_source(at, world.first(client, external(world)), world.backend());
    }
    SECTION("a VLAN tag of the frame's own") {
        const Sender at(world);
        Packet packet = world.first(client, external(world));
        packet.vlans = {7};
        check_source(at, packet, world.backend());
    }
    SECTION("SCTP from a socket of this kernel, which will send super-packets") {
        if (world.proto != IPPROTO_SCTP) return;
        const Sender at(world);
        Packet packet = world.first(client, external(world));
        std::get<Sctp>(packet.transport).without_checksum = true;
        check_source(at, packet, world.backend());
    }
    SECTION("the endpoint names no node") {
        const Sender at(world);
        svclb_backend_key key{.service = 1, .addr = {}, .port = htons(world.backend().port), .pad = 0};
        std::memcpy(key.addr, world.backend().addr.bytes.data(), sizeof(key.addr));
        svclb_backend row{};
        REQUIRE(bpf_map_lookup_elem(at.datapath.map("backends"), &key, &row) == 0);
        row.node = SVCLB_NONE;
        REQUIRE(bpf_map_update_elem(at.datapath.map("backends"), &key, &row, BPF_ANY) == 0);
        check_source(at, world.first(client, external(world)), world.backend());
    }
    SECTION("a datagram that is to be fragmented on its way") {
        if (world.family == 6 || world.proto != IPPROTO_UDP) return;
        const Sender at(world);
        Packet packet = of_size(world, client, external(world), kMtu);
        packet.fragment_field = 0;
        check_source(at, packet, world.backend());
    }
}

TEST_CASE("dsr: a frame for somebody else's hardware address is sent nowhere, in the midst of a flow or as its first",
          "[dsr]") {
    const World world = every_world();
    const bool begun = GENERATE(false, true);
    CAPTURE(world, begun);
    const Sender at(world);
    const Endpoint client = outside_client(world);
    const Packet first = world.first(client, external(world));
    if (begun) CHECK_RUN(at.datapath.from_uplink(first), redirected, wrapped(world, first));
    Packet packet = begun ? world.data(client, external(world)) : first;
    packet.to_mac[5] ^= 1U;
    CHECK_RUN(at.datapath.from_uplink(packet), next, begun ? packet : with_destination(packet, world.backend()));
    CHECK(at.datapath.reason(SVCLB_REASON_DSR_NOT_POSSIBLE).packets == (begun ? 0 : 1));
}

TEST_CASE("dsr: a client at the backend's own address is the node to it", "[dsr]") {
    const World world = every_world();
    CAPTURE(world);
    const Sender at(world);
    const Packet first = world.first({world.backend().addr, 45000}, external(world));
    const Packet forwarded = with_destination(first, world.backend());
    CHECK_RUN(at.datapath.from_uplink(first), next, forwarded);
    CHECK(source_of(at.datapath.to_uplink(forwarded).frame).addr == node_address(world));
    CHECK(at.datapath.reason(SVCLB_REASON_DSR_NOT_POSSIBLE).packets == 1);
}

TEST_CASE("dsr: only who is in a source range may dial, at both nodes", "[dsr]") {
    const World world = every_world();
    CAPTURE(world);
    ServiceOptions options = with_dsr();
    options.source_ranges = true;
    const Packet first = world.first(outside_client(world), external(world));
    {
        const Sender at(world, options);
        CHECK_RUN(at.datapath.from_uplink(first), dropped, first);
        CHECK(at.datapath.reason(SVCLB_REASON_SOURCE_RANGE_DROPPED).packets == 1);
    }
    options.on_node = {world.backend()};
    const Sender at(world, options);
    const Packet packet = wrapped(world, first);
    CHECK_RUN(at.datapath.from_uplink(packet), next, packet);
    CHECK(at.datapath.reason(SVCLB_REASON_DSR_NOT_TAKEN).packets == 1);
}

TEST_CASE("dsr: what a router between the nodes says about a packet's size is told to the clients", "[dsr]") {
    const World world = every_world();
    CAPTURE(world);
    const Sender at(world);
    Datapath& datapath = at.datapath;
    expect_cut_packets(datapath);
    const Endpoint client = outside_client(world);
    const Ip node = node_address(world);
    const std::size_t outer = outer_size(world);
    const auto fits = static_cast<std::uint32_t>(1400 - outer);
    (void)datapath.from_uplink(world.first(client, external(world)));
    const Packet larger = of_size(world, client, external(world), fits + 1);
    const auto error = [&](const Packet& about, std::uint32_t mtu) {
        const Icmp message = world.family == 4 ? Icmp{3, 4, mtu} : Icmp{2, 0, mtu};
        return error_about(world.net("10.0.0.254", "fd00:77::fe"), about, message, world.family == 4 ? 8 : 548);
    };
    const auto check_passes = [&](const Packet& packet) { CHECK_RUN(datapath.from_uplink(packet), next, packet); };

    // Not about what this node has encapsulated, or smaller than any way is.
    check_passes(error(wrapped(larger, world.backend(1).addr, world.backend().addr), 1400));
    check_passes(error(wrapped(larger, node, world.backend(1).addr), 1400));
    Packet other = wrapped(world, larger);
    other.transport = OtherProtocol{static_cast<std::uint8_t>(world.family == 4 ? 47 : 4)};
    check_passes(error(other, 1400));
    check_passes(error(wrapped(world, larger), static_cast<std::uint32_t>(outer) + (world.family == 4 ? 575 : 1279)));
    CHECK_RUN(datapath.from_uplink(larger), redirected, wrapped(world, larger));

    check_passes(error(wrapped(world, larger), 1400));
    CHECK_RUN(datapath.from_uplink(larger), redirected, too_big_for(larger, fits));
    const Packet largest = of_size(world, client, external(world), fits);
    CHECK_RUN(datapath.from_uplink(largest), redirected, wrapped(world, largest));
}

TEST_CASE("dsr: XDP leaves it all to tc, on the node that is dialled and on the backend's", "[dsr][xdp]") {
    const World world = any_world();
    CAPTURE(world);
    const Endpoint client = outside_client(world);
    const Packet first = world.first(client, external(world));
    const Packet data = world.data(client, external(world));
    const auto check_passed = [&](Datapath& datapath, const Packet& packet) {
        const Bytes frame = packet.frame();
        const Run run = datapath.from_wire(frame);
        CHECK(run.verdict == xdp_pass);
        CHECK(difference(frame, run.frame) == std::string());
    };
    {
        const Sender at(world);
        serve_with_xdp(at.datapath);
        // Twice each: what tc has made of the first ones is there when the others come.
        for (int i = 0; i < 2; i++)
            for (const Packet& packet : {first, data}) {
                check_passed(at.datapath, packet);
                CHECK_RUN(at.datapath.from_uplink(packet), redirected, wrapped(world, packet));
            }
        CHECK(at.datapath.reasons() == 0);
    }
    const Receiver at(world);
    Datapath& datapath = at.datapath;
    serve_with_xdp(datapath);
    const Packet answer = world.answer(world.backend(), client);
    for (int i = 0; i < 2; i++) {
        for (const Packet& packet : {first, data}) {
            check_passed(datapath, wrapped(world, packet));
            CHECK_RUN(datapath.from_uplink(wrapped(world, packet)), next, with_destination(packet, world.backend()));
            CHECK_RUN(datapath.to_uplink(answer), next, with_source(answer, external(world)));
        }
    }
    // Dialled on this node itself, the same conversation is one of its own.
    check_passed(datapath, data);
    CHECK_RUN(datapath.from_uplink(data), next, with_destination(data, world.backend()));
    CHECK(datapath.xdp_counter(SVCLB_XDP_FORWARDED).packets == 0);
    CHECK(datapath.xdp_counter(SVCLB_XDP_DROPPED).packets == 0);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("dsr: what may not be dialled ends at XDP, and by tc the same", "[dsr][xdp]") {
    const World world = any_world();
    CAPTURE(world);
    ServiceOptions options = with_dsr();
    options.source_ranges = true;
    const Sender at(world, options);
    serve_with_xdp(at.datapath);
    const Packet first = world.first(outside_client(world), external(world));
    CHECK(at.datapath.from_wire(first.frame()).verdict == xdp_drop);
    CHECK(at.datapath.reason(SVCLB_REASON_SOURCE_RANGE_DROPPED).packets == 1);
    CHECK_RUN(at.datapath.from_uplink(first), dropped, first);
    CHECK(at.datapath.reason(SVCLB_REASON_SOURCE_RANGE_DROPPED).packets == 2);
    CHECK(at.datapath.reasons() == 2);
}
