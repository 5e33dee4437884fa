// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What XDP drops, tc would have dropped, under the same reason; and all else goes up, to tc's judgement.
#include <cstring>
#include <utility>
#include <vector>

#include "ranges.hpp"
#include "turned_flow.hpp"

using namespace svclb::test;

namespace {

std::vector<std::pair<std::uint64_t, std::uint64_t>> reasons_of(const Datapath& datapath) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> all;
    for (std::uint32_t i = 0; i < SVCLB_REASON_COUNT; i++) {
        const auto counter = datapath.reason(static_cast<svclb_reason>(i));
        all.emplace_back(counter.packets, counter.bytes);
    }
    return all;
}

// At XDP, and the same packet at tc as if there were no XDP.
void check_dropped(Datapath& datapath, const Packet& packet, svclb_reason reason) {
    const auto frame = packet.frame();
    const auto before = datapath.reason(reason);
    const auto dropped_before = datapath.xdp_counter(SVCLB_XDP_DROPPED);
    const auto flows = datapath.flows().size();
    const Run early = datapath.from_wire(frame);
    CHECK(early.verdict == xdp_drop);
    const auto at_xdp = reasons_of(datapath);
    CHECK(datapath.reason(reason).packets - before.packets == 1);
    CHECK(datapath.reason(reason).bytes - before.bytes == frame.size());
    CHECK(datapath.xdp_counter(SVCLB_XDP_DROPPED).packets - dropped_before.packets == 1);
    CHECK(datapath.xdp_counter(SVCLB_XDP_DROPPED).bytes - dropped_before.bytes == frame.size());
    CHECK_RUN(datapath.from_uplink(packet), dropped, packet);
    auto twice = at_xdp;
    twice.at(reason).first++;
    twice.at(reason).second += frame.size();
    CHECK(reasons_of(datapath) == twice);
    CHECK(datapath.flows().size() == flows);
}

void check_passed(Datapath& datapath, const Bytes& frame) {
    const auto before = datapath.xdp_counter(SVCLB_XDP_PASSED);
    const auto reasons = reasons_of(datapath);
    const Run run = datapath.from_wire(frame);
    CHECK(run.verdict == xdp_pass);
    CHECK(difference(frame, run.frame) == std::string());
    CHECK(datapath.xdp_counter(SVCLB_XDP_PASSED).packets - before.packets == 1);
    CHECK(datapath.xdp_counter(SVCLB_XDP_PASSED).bytes - before.bytes == frame.size());
    CHECK(reasons_of(datapath) == reasons);
}
void check_passed(Datapath& datapath, const Packet& packet) {
    check_passed(datapath, packet.frame());
}

Endpoint unallocated(const World& world) {
    return {world.net("10.96.7.7", "fd00:96::707"), 80};
}

// A frontend that nobody outside may dial: its ranges hold no one.
struct Guarded {
    explicit Guarded(const World& at, std::vector<Endpoint> on_node = {})
        : world(at),
          datapath(NodePort::knowing_node(fresh_datapath())),
          service(datapath, 1, node_port(at), at.proto, {at.backend()},
                  {.kind = SVCLB_FRONTEND_NODE_PORT, .on_node = std::move(on_node), .source_ranges = true}) {}
    [[nodiscard]] Packet first() const { return world.first(client, node_port(world)); }
    void check_dropped_now() { check_dropped(datapath, first(), SVCLB_REASON_SOURCE_RANGE_DROPPED); }

    World world;
    Endpoint client = outside_client(world);
    Datapath& datapath;
    ServiceFixture service;
};

}  // namespace

TEST_CASE("early drop: a ClusterIP dialled from outside, on any port", "[xdp]") {
    const World world = every_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    mark_cluster_ip(datapath, world.frontend().addr);
    for (const std::uint16_t port : {world.frontend().port, std::uint16_t{9}})
        check_dropped(datapath, world.first(outside_client(world), {world.frontend().addr, port}),
                      SVCLB_REASON_CLUSTER_IP_FROM_OUTSIDE);
}

TEST_CASE("early drop: none where a ClusterIP may be dialled, or the client is told", "[xdp]") {
    const World world = every_world();
    CAPTURE(world);
    Datapath& datapath = open_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    mark_cluster_ip(datapath, world.frontend().addr);
    const Endpoint client = outside_client(world);
    check_passed(datapath, world.first(client, world.frontend()));
    check_passed(datapath, world.first(client, {world.frontend().addr, 9}));
    service.publish({});
    check_passed(datapath, world.first(client, world.frontend()));
}

TEST_CASE("early drop: an address of a Service CIDR that no Service has", "[xdp]") {
    const World world = every_world();
    CAPTURE(world);
    for (const bool open : {false, true}) {
        Datapath& datapath = open ? open_datapath() : fresh_datapath();
        set_service_cidrs(datapath);
        check_dropped(datapath, world.first(outside_client(world), unallocated(world)),
                      SVCLB_REASON_UNALLOCATED_DROPPED);
        check_passed(datapath, world.first(outside_client(world), world.backend()));
    }
}

TEST_CASE("early drop: who is in no source range", "[xdp]") {
    const World world = every_world();
    const auto kind = any_external_kind();
    CAPTURE(world, kind);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, node_port(world), world.proto, {world.backend()},
                                 {.kind = kind, .source_ranges = true});
    const Packet packet = world.first(outside_client(world), node_port(world));
    check_dropped(datapath, packet, SVCLB_REASON_SOURCE_RANGE_DROPPED);
    allow(datapath, packet.source);
    check_passed(datapath, packet);
}

TEST_CASE("early drop: policy Local without a backend here, for clients of the outside's set", "[xdp]") {
    const World world = every_world();
    const auto kind = any_external_kind();
    CAPTURE(world, kind);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, node_port(world), world.proto, {},
                           {.kind = kind, .outside_set = SVCLB_SET_LOCAL});
    const Packet packet = world.first(outside_client(world), node_port(world));
    datapath.service(1).verdicts[SVCLB_SET_LOCAL] = SVCLB_VERDICT_REJECT;
    check_passed(datapath, packet);
    datapath.service(1).verdicts[SVCLB_SET_LOCAL] = SVCLB_VERDICT_DROP;
    check_dropped(datapath, packet, SVCLB_REASON_NO_LOCAL_BACKEND_DROPPED);
    // A client of the cluster's own uses the other set, which has one.
    service.publish({world.backend()}, SVCLB_SET_CLUSTER);
    check_dropped(datapath, packet, SVCLB_REASON_NO_LOCAL_BACKEND_DROPPED);
    svclb_cidr& range = world.family == 4 ? datapath.masquerade().v4 : datapath.masquerade().v6;
    (world.family == 4 ? datapath.masquerade().has_v4 : datapath.masquerade().has_v6) = 1;
    std::memcpy(range.addr, packet.source.bytes.data(), sizeof(range.addr));
    std::memset(range.mask, 0xff, sizeof(range.mask));
    check_passed(datapath, packet);
}

TEST_CASE("early drop: only what begins a connection", "[xdp]") {
    const World world = GENERATE(World{4, IPPROTO_TCP}, World{6, IPPROTO_TCP});
    CAPTURE(world);
    Guarded at(world);
    Packet packet = at.first();
    for (unsigned flags = 0; flags < 64; flags++) {
        packet.tcp().flags = static_cast<std::uint8_t>(flags);
        if ((flags & (syn | ack | rst)) == syn)
            check_dropped(at.datapath, packet, SVCLB_REASON_SOURCE_RANGE_DROPPED);
        else
            check_passed(at.datapath, packet);
    }
}

TEST_CASE("early drop: what follows the first chunk of an association goes up", "[xdp]") {
    const World world = GENERATE(World{4, IPPROTO_SCTP}, World{6, IPPROTO_SCTP});
    CAPTURE(world);
    Guarded at(world);
    for (const auto chunk :
         {sctp_data, sctp_init_ack, sctp_abort, sctp_shutdown, sctp_shutdown_ack, sctp_shutdown_complete})
        check_passed(at.datapath, sctp(at.client, node_port(world), chunk, payload_of(16)));
}

TEST_CASE("early drop: a flow that was let in before goes on, answered or not", "[xdp]") {
    const World world = every_world();
    const bool answered = GENERATE(false, true);
    CAPTURE(world, answered);
    Guarded at(world);
    at.check_dropped_now();
    allow(at.datapath, at.client.addr);
    const Outside flow = dial(at.datapath, world, at.client, node_port(world), Seen::node_elsewhere);
    if (answered) {
        check_reply(at.datapath, flow, answer_of(world, flow));
        check_in(at.datapath, flow, world.data(flow.client, flow.dialled));
    }
    no_longer_allow(at.datapath, at.client.addr);
    // A SYN once more, too: whether it begins anew is for tc to say.
    check_passed(at.datapath, at.first());
    check_passed(at.datapath, world.data(flow.client, flow.dialled));
    check_passed(at.datapath, data_from(world, flow));
    at.client.port++;
    at.check_dropped_now();
}

TEST_CASE("early drop: an answer to a flow of the node itself goes up", "[xdp]") {
    const World world = every_world();
    CAPTURE(world);
    Guarded at(world);
    at.datapath.filters().direct[svclb_filter_index(at.datapath.node_addresses().v4, 0)] = 1;
    at.datapath.filters().direct[svclb_filter_index(at.datapath.node_addresses().v6, 0)] = 1;
    at.check_dropped_now();
    FlowEntry entry{.key = flow_key(at.client, node_port(world), world.proto, SVCLB_TO_POD),
                    .flow = {},
                    .established = GENERATE(false, true)};
    entry.flow.kind = SVCLB_FLOW_REPLY;
    entry.flow.host = 1;
    at.datapath.put_flow(entry);
    check_passed(at.datapath, at.first());
}

TEST_CASE("early drop: unusual headers and cut packets go up", "[xdp]") {
    const World world = every_world();
    CAPTURE(world);
    Guarded at(world);
    const Packet packet = at.first();
    Packet odd = packet;
    odd.vlans = {7};
    check_passed(at.datapath, odd);
    odd = packet;
    if (world.family == 4) {
        odd.ip_options = {1, 1, 1, 0};
        check_passed(at.datapath, odd);
        for (const int field : {0x2000, 8}) {
            odd = packet;
            odd.fragment_field = static_cast<std::uint16_t>(field);
            check_passed(at.datapath, odd);
        }
    } else {
        odd.extensions = {{60, Bytes(6)}};
        check_passed(at.datapath, odd);
        odd.extensions = {{44, {0, 1, 0, 0, 0, 7}}};
        check_passed(at.datapath, odd);
    }
    const Bytes frame = packet.frame();
    for (std::size_t size = 14; size < frame.size(); ++size)
        check_passed(at.datapath, Bytes(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size)));
}

TEST_CASE("early drop: a frame with a trailer counts with it", "[xdp]") {
    const World world = every_world();
    CAPTURE(world);
    Guarded at(world);
    Packet packet = at.first();
    packet.trailer = 5;
    check_dropped(at.datapath, packet, SVCLB_REASON_SOURCE_RANGE_DROPPED);
}
