// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A client's port that a flow with the node as its source has had before: what that one has left behind is not taken
// for the next one's to the same backend, whether this is to have the client as its source or the node again.
#include "outside.hpp"

using namespace svclb::test;

namespace {

// As if nobody had said anything for longer than any flow lives; what there is of them is not collected yet.
void let_die(Datapath& datapath) {
    for (FlowEntry entry : datapath.flows()) {
        entry.flow.seen_s -= 1000000;
        entry.flow.tick--;
        datapath.put_flow(entry);
    }
}

Endpoint second_frontend(const World& world) {
    return {world.net("192.0.2.77", "2001:db8::77"), 80};
}

// The one before it is the catch-all's.
Datapath& with_one_source_port(std::uint16_t port = 61001) {
    DatapathOptions options;
    options.settings.source_port_first = port - 1U;
    options.settings.source_ports = 2;
    return datapath_with(options);
}

enum class End { client_first, backend_first, reset, silence };

void end(const NodePort& at, const Outside& flow, End how) {
    const auto out = [&](std::uint8_t flags) { check_in(at.datapath, flow, tcp(flow.client, flow.dialled, flags)); };
    const auto back = [&](std::uint8_t flags) { check_reply(at.datapath, flow, tcp(flow.backend, flow.node, flags)); };
    if (how == End::silence) return let_die(at.datapath);
    if (how == End::reset) return back(rst);
    if (how == End::client_first) out(fin | ack);
    back(fin | ack);
    if (how == End::backend_first) out(fin | ack);
    out(ack);
}

}  // namespace

TEST_CASE("masquerade: a client outside is the source where a flow that the node was of had its port before",
          "[masquerade]") {
    const World world = wire_world();
    const bool established = GENERATE(false, true);
    CAPTURE(world, established);
    const NodePort at(world, Seen::node_here);
    const ServiceFixture local(
        at.datapath, 2, second_frontend(world), world.proto, {world.backend()},
        {.set = SVCLB_SET_LOCAL, .kind = SVCLB_FRONTEND_LOAD_BALANCER, .on_node = {world.backend()}});
    const Endpoint client = outside_client(world);
    established ? establish(at, client) : dial(at, client);
    let_die(at.datapath);
    const Packet first = world.first(client, second_frontend(world));
    const Packet forwarded = with_destination(first, world.backend());
    CHECK_RUN(at.datapath.from_uplink(first), next, forwarded);
    CHECK_RUN(at.datapath.to_pod(forwarded), next, forwarded);
    CHECK(at.datapath.flows().size() == 2);
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("masquerade: so is a pod, by a ClusterIP and where it dials the backend itself", "[masquerade]") {
    const World world = any_world();
    const bool here = GENERATE(false, true);
    const bool directly = GENERATE(false, true);
    CAPTURE(world, here, directly);
    Datapath& datapath = fresh_datapath();
    set_node_addresses(datapath);
    std::vector<Endpoint> on_node;
    if (here) on_node = {world.backend()};
    const ServiceFixture outer(datapath, 1, node_port(world), world.proto, {world.backend()},
                               {.kind = SVCLB_FRONTEND_NODE_PORT, .on_node = on_node});
    const ServiceFixture inner(datapath, 2, world.frontend(), world.proto, {world.backend()}, {.on_node = on_node});
    const auto out = [&](const Packet& packet) { return here ? datapath.to_pod(packet) : datapath.to_uplink(packet); };
    const Packet before = with_destination(world.first(world.client(), node_port(world)), world.backend());
    CHECK_RUN(datapath.from_pod(world.first(world.client(), node_port(world))), next, before);
    CHECK(source_of(out(before).frame).addr == node_address(world));
    let_die(datapath);

    const Packet first = world.first(world.client(), directly ? world.backend() : world.frontend());
    const Packet forwarded = with_destination(first, world.backend());
    CHECK_RUN(datapath.from_pod(first), next, forwarded);
    CHECK_RUN(out(forwarded), next, forwarded);
    CHECK(datapath.flows().size() == (directly ? 1 : 2));
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("masquerade: so is a pod that gets another port because a flow of its own has the one it dials from",
          "[masquerade]") {
    const World world = any_world();
    const bool here = GENERATE(false, true);
    CAPTURE(world, here);
    Datapath& datapath = fresh_datapath();
    const auto dial_both = [&] {
        (void)begin(datapath, world, world.client(), world.frontend());
        return begin(datapath, world, world.client(), world.backend()).presented;
    };
    ServiceOptions options;
    if (here) options.on_node = {world.backend()};
    Endpoint second;
    {
        const ServiceFixture inner(datapath, 2, world.frontend(), world.proto, {world.backend()}, options);
        second = dial_both();
        REQUIRE(second.port != world.client().port);
    }
    datapath.clear();
    set_node_addresses(datapath);
    const ServiceFixture inner(datapath, 2, world.frontend(), world.proto, {world.backend()}, options);
    options.kind = SVCLB_FRONTEND_NODE_PORT;
    const ServiceFixture outer(datapath, 1, node_port(world), world.proto, {world.backend()}, options);
    const auto out = [&](const Packet& packet) { return here ? datapath.to_pod(packet) : datapath.to_uplink(packet); };
    const Packet first = world.first(second, world.backend());
    const Packet before = world.first(second, node_port(world));
    CHECK_RUN(datapath.from_pod(before), next, first);
    CHECK(source_of(out(first).frame).addr == node_address(world));
    let_die(datapath);

    REQUIRE(dial_both() == second);
    CHECK_RUN(out(first), next, first);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("masquerade: a connection has nothing of the one that its client had by the same port before",
          "[masquerade]") {
    const Seen seen = GENERATE(Seen::node_here, Seen::node_elsewhere);
    const End how = GENERATE(End::client_first, End::backend_first, End::reset, End::silence);
    Datapath& loaded = with_one_source_port();
    for (const World& world : {World{4, IPPROTO_TCP}, World{6, IPPROTO_TCP}}) {
        CAPTURE(world, seen, how);
        loaded.clear();
        const NodePort at(loaded, world, seen, {world.backend()});
        const Endpoint client = outside_client(world);
        const Outside before = establish(at, client);
        end(at, before, how);
        // Whoever remembers the connection at the backend measures the next one by it: it keeps its port.
        CHECK(dial(at, client).node == before.node);
        for (const FlowEntry& entry : at.datapath.flows()) {
            CAPTURE(static_cast<int>(entry.flow.kind));
            CHECK_FALSE(entry.established);
            CHECK_FALSE(entry.flow.answered);
            CHECK((entry.flow.client_fin | entry.flow.backend_fin | entry.flow.reset) == 0);
        }
        CHECK(at.datapath.flows().size() == 4);

        // So nobody takes its port from it, nor is it collected early.
        const Outside flow = establish(at, client);
        const Packet other = world.first(outside_client(world, 45001), node_port(world));
        CHECK_RUN(at.datapath.from_uplink(other), dropped, other);
        CHECK(at.datapath.reason(SVCLB_REASON_NO_FREE_SOURCE_PORT).packets == 1);
        check_in(at.datapath, flow, world.data(client, flow.dialled));
        check_reply(at.datapath, flow, data_from(world, flow));
        CHECK(at.datapath.reasons() == 1);
    }
}

TEST_CASE("masquerade: a connection that both ends have closed makes way for who finds no other port", "[masquerade]") {
    const Seen seen = GENERATE(Seen::node_here, Seen::node_elsewhere);
    Datapath& loaded = with_one_source_port();
    for (const World& world : {World{4, IPPROTO_TCP}, World{6, IPPROTO_TCP}}) {
        CAPTURE(world, seen);
        loaded.clear();
        const NodePort at(loaded, world, seen, {world.backend()});
        // The backend remembers it, and may ask the next one for a second SYN: better than none that is let through.
        end(at, establish(at, outside_client(world)), End::backend_first);
        const Outside flow = establish(at, outside_client(world, 45001));
        check_in(at.datapath, flow, world.data(flow.client, flow.dialled));
        check_reply(at.datapath, flow, data_from(world, flow));
        CHECK(at.datapath.reasons() == 0);

        const Packet other = world.first(outside_client(world, 45002), node_port(world));
        CHECK_RUN(at.datapath.from_uplink(other), dropped, other);
        CHECK(at.datapath.reason(SVCLB_REASON_NO_FREE_SOURCE_PORT).packets == 1);
    }
}

TEST_CASE("masquerade: no flow has the backend's port at both ends, as a peer of the node may have", "[masquerade]") {
    const World world = wire_world();
    const Seen seen = GENERATE(Seen::node_here, Seen::node_elsewhere);
    CAPTURE(world, seen);
    Datapath& loaded = with_one_source_port(world.backend().port);
    const NodePort at(loaded, world, seen, {world.backend()});
    const Packet packet = world.first(outside_client(world), node_port(world));
    CHECK_RUN(loaded.from_uplink(packet), dropped, packet);
    CHECK(loaded.reason(SVCLB_REASON_NO_FREE_SOURCE_PORT).packets == 1);
}

TEST_CASE("masquerade: a SYN-ACK to a port whose connection is over answers one of somebody else's, as a kube-proxy's",
          "[masquerade]") {
    const Seen seen = GENERATE(Seen::node_here, Seen::node_elsewhere);
    const bool established = GENERATE(false, true);
    const End how = GENERATE(End::client_first, End::backend_first, End::reset);
    for (const World& world : {World{4, IPPROTO_TCP}, World{6, IPPROTO_TCP}}) {
        CAPTURE(world, seen, established, how);
        const NodePort at(world, seen);
        const Outside flow = established ? establish(at, outside_client(world)) : dial(at, outside_client(world));
        const Packet syn_ack = answer_of(world, flow);
        check_reply(at.datapath, flow, syn_ack);
        end(at, flow, how);
        // Its own last words find the client still.
        const Packet last = tcp(flow.backend, flow.node, ack);
        if (how != End::reset) check_reply(at.datapath, flow, last);
        CHECK_RUN(second_back(at.datapath, flow, syn_ack), next, syn_ack);
        CHECK_RUN(second_back(at.datapath, flow, last), next, last);
        CHECK(at.datapath.reasons() == 0);
    }
}
