// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Direct server return: encapsulation at the node that is dialled, and what the backend's node makes of it. Routes are
// looked up, hence a network namespace with some.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <net/if.h>

#include <algorithm>
#include <cstring>

#include "fragments.hpp"
#include "icmp_errors.hpp"
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

// The one device that packets are unpacked behind.
void set_uplink(Datapath& datapath, const char* name) {
    const std::uint32_t device = if_nametoindex(name);
    const std::uint32_t yes = 1;
    REQUIRE(bpf_map_update_elem(datapath.map("uplink_devices"), &device, &yes, BPF_ANY) == 0);
}

// The node that is dialled: its backends are elsewhere.
struct Sender {
    explicit Sender(const World& at, const ServiceOptions& options = with_dsr())
        : world(at),
          datapath(NodePort::knowing_node(fresh_datapath())),
          service(datapath, 1, external(at), at.proto, {at.backend()}, options) {
        set_uplink(datapath, "uplink");
    }
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
    const bool sctp_flow = world.proto == IPPROTO_SCTP;
    const std::size_t headers = outer_size(world) + (world.tcp_flow() ? 20 : sctp_flow ? 16 : 8);
    const Bytes payload = payload_of(size - headers);
    if (sctp_flow) return sctp(from, to, sctp_data, payload);
    return world.tcp_flow() ? tcp(from, to, psh | ack, payload) : udp(from, to, payload);
}

World dsr_world() {
    return GENERATE(World{4, IPPROTO_TCP}, World{4, IPPROTO_UDP}, World{4, IPPROTO_SCTP}, World{6, IPPROTO_TCP},
                    World{6, IPPROTO_UDP}, World{6, IPPROTO_SCTP});
}

}  // namespace

TEST_CASE("dsr: a packet for a backend elsewhere goes there whole, inside of another one", "[dsr]") {
    const World world = dsr_world();
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

TEST_CASE("dsr: there it is unpacked and reaches the backend, whose answer comes from the frontend", "[dsr]") {
    const World world = dsr_world();
    CAPTURE(world);
    const Receiver at(world);
    Datapath& datapath = at.datapath;
    const Endpoint client = outside_client(world);
    const Packet first = world.first(client, external(world));
    CHECK_RUN(datapath.from_uplink(wrapped(world, first)), next, with_destination(first, world.backend()));
    const Packet answer = world.answer(world.backend(), client);
    CHECK_RUN(datapath.to_uplink(answer), next, with_source(answer, external(world)));
    Packet data = world.data(client, external(world));
    data.trailer = 6;
    CHECK_RUN(datapath.from_uplink(wrapped(world, data)), next, with_destination(data, world.backend()));
    CHECK(std::ranges::all_of(datapath.flows(), &FlowEntry::established));
    CHECK(datapath.flows().size() == 2);
    CHECK(datapath.service_counter(1).flows == 1);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("dsr: a packet that does not fit is answered with the size that does, by the frontend", "[dsr]") {
    const World world = dsr_world();
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
    const World world = dsr_world();
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

TEST_CASE("dsr: a flow that is there does not end by a packet that is not taken", "[dsr]") {
    const World world = dsr_world();
    CAPTURE(world);
    Receiver at(world);
    const Endpoint client = outside_client(world);
    const Packet data = world.data(client, external(world));
    (void)at.datapath.from_uplink(wrapped(world, world.first(client, external(world))));
    (void)at.datapath.to_uplink(world.answer(world.backend(), client));
    (void)at.datapath.from_uplink(wrapped(world, data));
    REQUIRE(std::ranges::all_of(at.datapath.flows(), &FlowEntry::established));
    at.check_untouched(wrapped(data, node_address(world), world.backend(1).addr), true);
    at.check_untouched(wrapped(world.first(client, external(world)), node_address(world), world.backend(1).addr), true);
    CHECK_RUN(at.datapath.from_uplink(wrapped(world, data)), next, with_destination(data, world.backend()));
    CHECK(std::ranges::all_of(at.datapath.flows(), &FlowEntry::established));
}

TEST_CASE("dsr: without being asked for it a node unpacks nothing", "[dsr]") {
    const World world = dsr_world();
    CAPTURE(world);
    Datapath& datapath = NodePort::knowing_node(fresh_datapath());
    const ServiceFixture service(datapath, 1, external(world), world.proto, {world.backend()},
                                 {.kind = SVCLB_FRONTEND_EXTERNAL_IP, .on_node = {world.backend()}});
    const Packet packet = wrapped(world, world.first(outside_client(world), external(world)));
    CHECK_RUN(datapath.from_uplink(packet), next, packet);
    CHECK(datapath.reason(SVCLB_REASON_DSR_NOT_TAKEN).packets == 1);
    CHECK(datapath.flows().empty());
}

TEST_CASE("dsr: an error about an answer goes to the backend's node, and is one about its own packet there", "[dsr]") {
    const World world = dsr_world();
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
    const World world = dsr_world();
    CAPTURE(world);
    const Sender at(world, with_dsr({world.backend()}));
    const Outside flow = dial(at.datapath, world, outside_client(world), external(world), Seen::client_here);
    const Packet in = world.first(flow.forwarded, flow.backend);
    CHECK_RUN(at.datapath.to_pod(in), next, in);
    check_reply(at.datapath, flow, answer_of(world, flow));
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("dsr: where it cannot work the node becomes the source, and that is counted", "[dsr]") {
    const World world = dsr_world();
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

TEST_CASE("dsr: only who is in a source range may dial, at both nodes", "[dsr]") {
    const World world = dsr_world();
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

TEST_CASE("dsr: flows that are there stay as they are when it is switched on or off", "[dsr]") {
    const World world = dsr_world();
    const bool on = GENERATE(false, true);
    CAPTURE(world, on);
    const Endpoint client = outside_client(world);
    ServiceOptions options = with_dsr();
    options.dsr = on;
    const Sender at(world, options);
    const Packet first = world.first(client, external(world));
    const Packet data = world.data(client, external(world));
    const auto check_way = [&](const Packet& packet) {
        if (on)
            CHECK_RUN(at.datapath.from_uplink(packet), redirected, wrapped(world, packet));
        else
            CHECK_RUN(at.datapath.from_uplink(packet), next, with_destination(packet, world.backend()));
    };
    check_way(first);
    if (!on) {
        const Packet forwarded = with_destination(first, world.backend());
        const Run out = at.datapath.to_uplink(forwarded);
        (void)at.datapath.from_uplink(world.answer(world.backend(), source_of(out.frame)));
    }
    options.dsr = !on;
    const ServiceFixture switched(at.datapath, 1, external(world), world.proto, {world.backend()}, options);
    check_way(data);
    check_way(data);
    const Packet other = world.first({client.addr, 45001}, external(world));
    CHECK(at.datapath.from_uplink(other).verdict == (on ? next : redirected));
}

TEST_CASE("dsr: established flows outlive their Service and a flood, at both nodes", "[dsr]") {
    const World world = tcp_world();
    const bool sender = GENERATE(false, true);
    CAPTURE(world, sender);
    const NodeNetns netns;
    const Endpoint client = outside_client(world);
    Datapath& datapath = NodePort::knowing_node(fresh_datapath());
    set_uplink(datapath, "uplink");
    ServiceFixture service(datapath, 1, external(world), world.proto, {world.backend()},
                           with_dsr(sender ? std::vector<Endpoint>{} : std::vector{world.backend()}));
    const auto send = [&](const Packet& packet) {
        return datapath.from_uplink(sender ? packet : wrapped(world, packet));
    };
    (void)send(world.first(client, external(world)));
    if (!sender) (void)datapath.to_uplink(world.answer(world.backend(), client));
    (void)send(tcp(client, external(world), ack));
    // Ten times the table of half-open flows.
    for (std::uint32_t i = 0; i < 10240; i++)
        (void)send(
            world.first({client.addr + 1 + i / 1000, static_cast<std::uint16_t>(50000 + i % 1000)}, external(world)));
    service.remove();
    const Packet data = world.data(client, external(world));
    const Run run = send(data);
    CHECK(run.verdict == (sender ? redirected : next));
    const Packet arrives = sender ? wrapped(world, data) : with_destination(data, world.backend());
    CHECK(difference(arrives.frame(), run.frame) == std::string());
    CHECK(datapath.reason(SVCLB_REASON_DSR_NOT_TAKEN).packets == 0);
}

TEST_CASE("dsr: a SYN that begins anew does so with the backend that the other node names", "[dsr]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = NodePort::knowing_node(fresh_datapath());
    const ServiceFixture service(datapath, 1, external(world), world.proto, {world.backend(0), world.backend(1)},
                                 with_dsr({world.backend(0), world.backend(1)}));
    const Endpoint client = outside_client(world);
    const Packet first = world.first(client, external(world));
    const Packet data = world.data(client, external(world));
    const Ip node = node_address(world);
    for (std::uint32_t i = 0; i < 4; i++) {
        const Endpoint backend = world.backend(i % 2);
        const Endpoint other = world.backend(1 - i % 2);
        CHECK_RUN(datapath.from_uplink(wrapped(first, node, backend.addr)), next, with_destination(first, backend));
        const Packet answer = world.answer(backend, client);
        CHECK_RUN(datapath.to_uplink(answer), next, with_source(answer, external(world)));
        CHECK_RUN(datapath.from_uplink(wrapped(data, node, backend.addr)), next, with_destination(data, backend));
        // What is in the middle of a connection moves to no other backend.
        const Packet stray = wrapped(data, node, other.addr);
        CHECK_RUN(datapath.from_uplink(stray), next, stray);
        const Packet reset = tcp(client, external(world), rst);
        CHECK_RUN(datapath.from_uplink(wrapped(reset, node, backend.addr)), next, with_destination(reset, backend));
    }
    CHECK(datapath.reason(SVCLB_REASON_DSR_NOT_TAKEN).packets == 4);
}

TEST_CASE("dsr: a node that has lost a flow, or never had it, takes it up where the other one says", "[dsr]") {
    const World world = dsr_world();
    CAPTURE(world);
    const Receiver at(world);
    const Packet data = world.data(outside_client(world), external(world));
    CHECK_RUN(at.datapath.from_uplink(wrapped(world, data)), next, with_destination(data, world.backend()));
    const Packet answer = world.data(world.backend(), outside_client(world));
    CHECK_RUN(at.datapath.to_uplink(answer), next, with_source(answer, external(world)));
}

TEST_CASE("dsr: with Maglev a node goes on with what another one has led to a backend", "[dsr]") {
    const World world = dsr_world();
    const bool maglev = GENERATE(true, false);
    CAPTURE(world, maglev);
    ServiceOptions options = with_dsr();
    if (maglev) options.algorithm = SVCLB_ALGORITHM_MAGLEV;
    Sender at(world, options);
    const Endpoint client = outside_client(world);
    const auto check_passes = [&](const Packet& packet) { CHECK_RUN(at.datapath.from_uplink(packet), next, packet); };
    if (world.proto != IPPROTO_UDP) {
        check_passes(world.answer(client, external(world)));
        if (world.tcp_flow()) check_passes(tcp(client, external(world), rst | ack));
        CHECK(at.datapath.flows().empty());
    }
    const Packet data = world.data(client, external(world));
    for (int i = 0; i < 3; i++) {
        if (maglev || world.proto == IPPROTO_UDP)
            CHECK_RUN(at.datapath.from_uplink(data), redirected, wrapped(world, data));
        else
            check_passes(data);
    }
    if (world.proto == IPPROTO_UDP || !maglev) return;
    CHECK(entry(at.datapath, flow_key(client, external(world), world.proto, SVCLB_FROM_WIRE)).established);
    at.service.publish({});
    const Packet other = world.data({client.addr, 45001}, external(world));
    check_passes(other);
}

TEST_CASE("dsr: a datagram whose backend has gone is sent to another one at once", "[dsr]") {
    const World world = udp_world();
    CAPTURE(world);
    Sender at(world);
    const Packet packet = world.data(outside_client(world), external(world));
    CHECK_RUN(at.datapath.from_uplink(packet), redirected, wrapped(world, packet));
    at.service.publish({world.backend(1)});
    at.service.remove_backend(world.backend());
    CHECK_RUN(at.datapath.from_uplink(packet), redirected, wrapped(packet, node_address(world), world.backend(1).addr));
}

TEST_CASE("dsr: what a router between the nodes says about a packet's size is told to the clients", "[dsr]") {
    const World world = dsr_world();
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

TEST_CASE("dsr: datagrams for longer than a tick make a flow established, and before that they do not", "[dsr]") {
    const World world = udp_world();
    CAPTURE(world);
    const Sender at(world);
    Datapath& datapath = at.datapath;
    Endpoint client = outside_client(world);
    svclb_flow_key6 key{};
    const auto send = [&] { (void)datapath.from_uplink(world.data(client, external(world))); };
    // The tick is not to change between two packets: where it does, another client has another try.
    bool in_one_tick = false;
    for (int i = 0; i < 10 && !in_one_tick; i++) {
        client.port++;
        key = flow_key(client, external(world), world.proto, SVCLB_FROM_WIRE);
        send();
        const auto tick = entry(datapath, key).flow.tick;
        send();
        in_one_tick = entry(datapath, key).flow.tick == tick;
    }
    REQUIRE(in_one_tick);
    CHECK_FALSE(entry(datapath, key).established);
    FlowEntry earlier = entry(datapath, key);
    earlier.flow.tick--;
    datapath.put_flow(earlier);
    send();
    CHECK(entry(datapath, key).established);
    CHECK(entry(datapath, key).flow.answered == 1);
}

TEST_CASE("dsr: a client that has closed begins anew, with whom the table has now", "[dsr]") {
    const World world = tcp_world();
    const unsigned end = GENERATE(unsigned{fin | ack}, unsigned{rst});
    CAPTURE(world, end);
    Sender at(world);
    Datapath& datapath = at.datapath;
    const Endpoint client = outside_client(world);
    const Ip node = node_address(world);
    const Packet first = world.first(client, external(world));
    const auto check_goes_to = [&](const Packet& packet, const Endpoint& backend) {
        CHECK_RUN(datapath.from_uplink(packet), redirected, wrapped(packet, node, backend.addr));
    };
    check_goes_to(first, world.backend(0));
    check_goes_to(world.data(client, external(world)), world.backend(0));
    at.service.publish({world.backend(1)});
    check_goes_to(first, world.backend(0));  // a late copy
    check_goes_to(tcp(client, external(world), end), world.backend(0));
    if (end != rst) check_goes_to(tcp(client, external(world), ack), world.backend(0));
    check_goes_to(first, world.backend(1));
    check_goes_to(world.data(client, external(world)), world.backend(1));
    CHECK(datapath.flows().size() == 1);
    CHECK(datapath.reasons() == 0);
}
