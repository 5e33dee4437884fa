// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What comes from outside to node ports, external and load-balancer addresses, and the answers to it.
#include <algorithm>

#include "outside.hpp"
#include "ranges.hpp"
#include "refusal.hpp"

using namespace svclb::test;

namespace {

std::size_t established(const Datapath& datapath) {
    const auto flows = datapath.flows();
    return static_cast<std::size_t>(
        std::ranges::count_if(flows, [](const FlowEntry& entry) { return entry.established; }));
}

// 61001 and 61002.
Datapath& with_two_source_ports() {
    DatapathOptions options;
    options.settings.source_port_first = 61000;
    options.settings.source_ports = 3;  // the first one is the catch-all's
    return datapath_with(options);
}

}  // namespace

TEST_CASE("uplink: a backend on this node sees the client itself under policy Local", "[uplink]") {
    const World world = wire_world();
    CAPTURE(world);
    const NodePort at(world, Seen::client_here);
    Datapath& datapath = at.datapath;
    const Outside flow = establish(at);
    CHECK(flow.forwarded == flow.client);
    CHECK(flow.backend == world.backend());
    check_reply(datapath, flow, data_from(world, flow));
    CHECK(datapath.flows().size() == 2);
    CHECK(established(datapath) == 2);
    CHECK(datapath.service_counter(1).flows == 1);
    CHECK(datapath.service_counter(1).packets == 4);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("uplink: a backend that is to see the node does, and its answers find the client", "[uplink]") {
    const World world = wire_world();
    const Seen seen = GENERATE(Seen::node_here, Seen::node_elsewhere);
    CAPTURE(world, seen);
    const NodePort at(world, seen);
    Datapath& datapath = at.datapath;
    const Outside flow = establish(at);
    check_reply(datapath, flow, data_from(world, flow));
    check_in(datapath, flow, world.data(flow.client, flow.dialled));
    CHECK(datapath.flows().size() == 4);
    CHECK(established(datapath) == 4);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("uplink: nothing established ends with its Service", "[uplink]") {
    const World world = GENERATE(World{4, IPPROTO_TCP}, World{6, IPPROTO_TCP});
    const Seen seen = anywhere();
    CAPTURE(world, seen);
    NodePort at(world, seen);
    Datapath& datapath = at.datapath;
    const Outside flow = establish(at);
    at.service.remove();
    check_in(datapath, flow, world.data(flow.client, flow.dialled));
    check_reply(datapath, flow, data_from(world, flow));
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("uplink: what is not for a frontend goes on untouched and leaves nothing behind", "[uplink]") {
    const World world = wire_world();
    CAPTURE(world);
    const NodePort at(world, Seen::client_here);
    Datapath& datapath = at.datapath;
    const Endpoint client = outside_client(world);
    for (const Endpoint& to : {Endpoint{node_address(world), 22}, Endpoint{node_address(world), 61000}, world.backend(),
                               world.other_client()}) {
        CAPTURE(to);
        CHECK_RUN(datapath.from_uplink(world.first(client, to)), next, world.first(client, to));
        CHECK_RUN(datapath.to_uplink(world.answer(to, client)), next, world.answer(to, client));
        CHECK_RUN(datapath.from_uplink(world.data(client, to)), next, world.data(client, to));
    }
    CHECK(datapath.flows().empty());
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("uplink: a TCP packet in mid-connection without an entry belongs to who was there before", "[uplink]") {
    const World world = tcp_world();
    CAPTURE(world);
    const NodePort at(world, Seen::client_here);
    Datapath& datapath = at.datapath;
    const Packet packet = world.data(outside_client(world), node_port(world));
    CHECK_RUN(datapath.from_uplink(packet), next, packet);
    CHECK(datapath.reason(SVCLB_REASON_NO_FLOW).packets == 1);
    CHECK(datapath.flows().empty());
}

TEST_CASE("uplink: without a usable backend the client is refused at once", "[uplink]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    expect_cut_packets(datapath);
    const ServiceFixture service(datapath, 1, node_port(world), world.proto, {}, {.kind = SVCLB_FRONTEND_NODE_PORT});
    const Packet packet = world.first(outside_client(world), node_port(world));
    CHECK_RUN(datapath.from_uplink(packet), redirected, refusal_of(world, packet));
    CHECK(datapath.reason(SVCLB_REASON_NO_BACKEND_REJECTED).packets == 1);
    CHECK(datapath.reasons() == 1);
}

TEST_CASE("uplink: policy Local without a backend here is silent", "[uplink]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(
        datapath, 1, node_port(world), world.proto, {},
        {.set = SVCLB_SET_LOCAL, .verdict_when_empty = SVCLB_VERDICT_DROP, .kind = SVCLB_FRONTEND_LOAD_BALANCER});
    const Packet packet = world.first(outside_client(world), node_port(world));
    CHECK_RUN(datapath.from_uplink(packet), dropped, packet);
    CHECK(datapath.reason(SVCLB_REASON_NO_LOCAL_BACKEND_DROPPED).packets == 1);
    CHECK(datapath.reasons() == 1);
}

TEST_CASE("uplink: a ClusterIP dialled from outside is dropped, unless that is allowed", "[uplink]") {
    const World world = any_world();
    const bool allowed = GENERATE(false, true);
    CAPTURE(world, allowed);
    Datapath& datapath = allowed ? open_datapath() : fresh_datapath();
    set_node_addresses(datapath);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()},
                                 {.on_node = {world.backend()}});
    mark_cluster_ip(datapath, world.frontend().addr);
    const Packet packet = world.first(outside_client(world), world.frontend());
    const Packet other_port = world.first(outside_client(world), {world.frontend().addr, 81});
    if (allowed) {
        CHECK_RUN(datapath.from_uplink(packet), next, with_destination(packet, world.backend()));
        expect_cut_packets(datapath);
        CHECK_RUN(datapath.from_uplink(other_port), redirected, refusal_of(world, other_port));
        CHECK(datapath.reason(SVCLB_REASON_CLUSTER_IP_FROM_OUTSIDE).packets == 0);
        return;
    }
    CHECK_RUN(datapath.from_uplink(packet), dropped, packet);
    CHECK_RUN(datapath.from_uplink(other_port), dropped, other_port);
    CHECK(datapath.reason(SVCLB_REASON_CLUSTER_IP_FROM_OUTSIDE).packets == 2);
    CHECK(datapath.reasons() == 2);
    CHECK(datapath.flows().empty());
}

TEST_CASE("uplink: only who is in a source range may dial", "[uplink]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(
        datapath, 1, node_port(world), world.proto, {world.backend()},
        {.kind = SVCLB_FRONTEND_LOAD_BALANCER, .on_node = {world.backend()}, .source_ranges = true});
    allow(datapath, outside_client(world).addr);
    const Packet packet = world.first(outside_client(world), node_port(world));
    const Packet other = world.first({outside_client(world).addr + 1, 45000}, node_port(world));
    CHECK_RUN(datapath.from_uplink(packet), next, with_destination(packet, world.backend()));
    CHECK_RUN(datapath.from_uplink(other), dropped, other);
    CHECK(datapath.reason(SVCLB_REASON_SOURCE_RANGE_DROPPED).packets == 1);
}

TEST_CASE("uplink: clients outside use the set that is theirs", "[uplink]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(
        datapath, 1, node_port(world), world.proto, {world.backend(0)},
        {.set = SVCLB_SET_LOCAL, .kind = SVCLB_FRONTEND_NODE_PORT, .on_node = {world.backend(0), world.backend(1)}});
    // The other set is another backend's; the fixture's frontend says Local for both kinds of clients.
    datapath.service(1).runs[SVCLB_SET_CLUSTER] = 0;
    const Packet packet = world.first(outside_client(world), node_port(world));
    CHECK_RUN(datapath.from_uplink(packet), next, with_destination(packet, world.backend(0)));
}

TEST_CASE("uplink: each flow that is masqueraded has a port of its own, until there is none", "[uplink]") {
    const Seen seen = GENERATE(Seen::node_here, Seen::node_elsewhere);
    Datapath& loaded = with_two_source_ports();
    for (const World& world :
         {World{4, IPPROTO_TCP}, World{4, IPPROTO_UDP}, World{6, IPPROTO_TCP}, World{6, IPPROTO_UDP}}) {
        CAPTURE(world, seen);
        loaded.clear();
        const NodePort at(loaded, world, seen, {world.backend()});
        Datapath& datapath = at.datapath;
        const Outside first = establish(at, outside_client(world, 45001));
        const Outside second = establish(at, outside_client(world, 45002));
        CHECK(std::minmax(first.node.port, second.node.port) == std::minmax<std::uint16_t>(61001, 61002));
        const Packet third = world.first(outside_client(world, 45003), node_port(world));
        CHECK_RUN(datapath.from_uplink(third), dropped, third);
        CHECK(datapath.reason(SVCLB_REASON_NO_FREE_SOURCE_PORT).packets == 1);
        check_in(datapath, first, world.data(first.client, first.dialled));
        check_reply(datapath, second, data_from(world, second));

        // A flow that nobody has heard of for its whole timeout gives its port to who needs one.
        const auto direction = seen == Seen::node_here ? SVCLB_FROM_POD : SVCLB_FROM_WIRE;
        make_idle(datapath, flow_key(first.backend, first.node, world.proto, direction), 90000);
        const Run again = datapath.from_uplink(third);
        CHECK(again.verdict == next);
        CHECK(datapath.reasons() == 1);
    }
}

TEST_CASE("uplink: half-open flows keep nobody from a port, and take none of an established one", "[uplink]") {
    const Seen seen = GENERATE(Seen::node_here, Seen::node_elsewhere);
    Datapath& loaded = with_two_source_ports();
    for (const World& world :
         {World{4, IPPROTO_TCP}, World{6, IPPROTO_TCP}, World{4, IPPROTO_UDP}, World{6, IPPROTO_UDP}}) {
        CAPTURE(world, seen);
        loaded.clear();
        const NodePort at(loaded, world, seen, {world.backend()});
        const Outside first = establish(at, outside_client(world, 45001));
        // Each has the other port from its predecessor, answered or not.
        Outside last;
        for (std::uint16_t port = 45010; port < 45030; port++) {
            last = dial(at, outside_client(world, port));
            CHECK(last.node.port != first.node.port);
            if (port % 2 == 0) check_reply(at.datapath, last, answer_of(world, last));
            if (port == 45029) break;
            make_idle(at.datapath,
                      flow_key(last.backend, last.node, world.proto,
                               seen == Seen::node_here ? SVCLB_FROM_POD : SVCLB_FROM_WIRE),
                      3);
        }
        check_in(at.datapath, first, world.data(first.client, first.dialled));
        check_reply(at.datapath, first, data_from(world, first));
        check_reply(at.datapath, last, answer_of(world, last));
        CHECK(at.datapath.reasons() == 0);
    }
}

TEST_CASE("uplink: without an address of its own the node can send nobody elsewhere", "[uplink]") {
    const World world = any_world();
    CAPTURE(world);
    const NodePort at(world, Seen::node_elsewhere);
    Datapath& datapath = at.datapath;
    datapath.node_addresses() = {};
    const Packet packet = world.first(outside_client(world), node_port(world));
    CHECK_RUN(datapath.from_uplink(packet), dropped, packet);
    CHECK(datapath.reason(SVCLB_REASON_NO_NODE_ADDRESS).packets == 1);
    // The next one finds it, by the same flow.
    set_node_addresses(datapath);
    const Outside flow = dial(at, outside_client(world));
    check_reply(datapath, flow, answer_of(world, flow));
    CHECK(datapath.reasons() == 1);
}

TEST_CASE("uplink: a node without an address of its own shows a backend here the client", "[uplink]") {
    const World world = any_world();
    CAPTURE(world);
    const NodePort at(world, Seen::node_here);
    at.datapath.node_addresses() = {};
    const Outside flow = dial(at.datapath, world, outside_client(world), node_port(world), Seen::client_here);
    CHECK_RUN(at.datapath.to_pod(world.first(flow.forwarded, flow.backend)), next,
              world.first(flow.forwarded, flow.backend));
    check_reply(at.datapath, flow, answer_of(world, flow));
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("uplink: UDP moves at once when its backend is gone, and a client with its second half lost gets it back",
          "[uplink]") {
    const World world = udp_world();
    const Seen seen = GENERATE(Seen::node_here, Seen::node_elsewhere);
    CAPTURE(world, seen);
    NodePort at(world, seen);
    Datapath& datapath = at.datapath;
    const Outside flow = establish(at);
    at.service.publish({world.backend(1)});
    at.service.remove_backend(world.backend(0));
    const Outside moved = dial(at, flow.client);
    CHECK(moved.backend == world.backend(1));
    check_reply(datapath, moved, answer_of(world, moved));

    const auto direction = seen == Seen::node_here ? SVCLB_TO_POD : SVCLB_TO_WIRE;
    datapath.remove_flow(flow_key(moved.forwarded, moved.backend, world.proto, direction), false);
    const Outside kept = dial(at, flow.client);
    CHECK(kept.node == moved.node);
    check_reply(datapath, kept, answer_of(world, kept));
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("uplink: what nobody has answered stays where a flood may push it out", "[uplink]") {
    const World world = tcp_world();
    const Seen seen = anywhere();
    CAPTURE(world, seen);
    const NodePort at(world, seen);
    Datapath& datapath = at.datapath;
    const Outside flow = dial(at, outside_client(world));
    check_in(datapath, flow, world.first(flow.client, flow.dialled));
    check_in(datapath, flow, tcp(flow.client, flow.dialled, ack));
    check_in(datapath, flow, world.data(flow.client, flow.dialled));
    CHECK(established(datapath) == 0);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("uplink: a client that dials node port and backend from one port gets both", "[uplink]") {
    const World world = any_world();
    CAPTURE(world);
    const NodePort at(world, Seen::client_here);
    Datapath& datapath = at.datapath;
    const Outside flow = establish(at);
    const Outside direct = dial(datapath, world, flow.client, world.backend(), Seen::client_here);
    CHECK(direct.forwarded != flow.forwarded);
    check_reply(datapath, direct, answer_of(world, direct));
    check_reply(datapath, flow, data_from(world, flow));
    // Another client's conversation with the backend is known from its first packet on, and not touched.
    const Endpoint other{flow.client.addr + 1, flow.client.port};
    CHECK_RUN(datapath.from_uplink(world.first(other, world.backend())), next, world.first(other, world.backend()));
    CHECK_RUN(datapath.to_uplink(world.answer(world.backend(), other)), next, world.answer(world.backend(), other));
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("uplink: a super-packet is translated as one", "[uplink]") {
    const World world = tcp_world();
    CAPTURE(world);
    const NodePort at(world, Seen::node_elsewhere);
    Datapath& datapath = at.datapath;
    const Outside flow = establish(at);
    const Packet large = tcp(flow.client, flow.dialled, ack, payload_of(3000));
    const Packet forwarded = with_destination(large, flow.backend);
    const Gso gso{.size = 1400, .segments = 3};
    CHECK_RUN(datapath.from_uplink(large, gso), next, forwarded);
    CHECK_RUN(datapath.to_uplink(forwarded, gso), next, with_source(forwarded, flow.node));
}
