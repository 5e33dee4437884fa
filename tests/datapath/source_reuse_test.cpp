// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A client's port that a flow with the node as its source has had before: the next one to the same backend that is to
// have the client as its source keeps it.
#include "outside.hpp"

using namespace svclb::test;

namespace {

// As if nobody had said anything for longer than any flow lives; what there is of them is not collected yet.
void let_die(Datapath& datapath) {
    for (FlowEntry entry : datapath.flows()) {
        entry.flow.seen_s -= 1000000;
        datapath.put_flow(entry);
    }
}

Endpoint second_frontend(const World& world) {
    return {world.net("192.0.2.77", "2001:db8::77"), 80};
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
