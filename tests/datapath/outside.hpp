// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A flow from outside to a node port, and its way through the two programs of an uplink.
#pragma once

#include <cstring>

#include "conversation.hpp"

namespace svclb::test {

inline Ip node_address(const World& world) {
    return world.net("10.0.0.1", "fd00:77::1");
}
inline Endpoint node_port(const World& world) {
    return {node_address(world), 30080};
}
inline Endpoint outside_client(const World& world, std::uint16_t port = 45000) {
    return {world.stranger().addr, port};
}

inline void set_node_addresses(Datapath& datapath) {
    std::memcpy(datapath.node_addresses().v4, ip("10.0.0.1").bytes.data(), 16);
    std::memcpy(datapath.node_addresses().v6, ip("fd00:77::1").bytes.data(), 16);
}

inline World wire_world() {
    return GENERATE(World{4, IPPROTO_TCP}, World{4, IPPROTO_UDP}, World{4, IPPROTO_SCTP}, World{6, IPPROTO_TCP},
                    World{6, IPPROTO_UDP}, World{6, IPPROTO_SCTP});
}

inline ServiceOptions served_here(const World& world) {
    return {.kind = SVCLB_FRONTEND_NODE_PORT, .on_node = {world.backend()}};
}
inline ServiceOptions served_elsewhere() {
    return {.kind = SVCLB_FRONTEND_NODE_PORT};
}

struct Outside {
    Endpoint client;
    Endpoint dialled;
    Endpoint backend;
    Endpoint forwarded;  // the client between the uplink's ingress and its egress; on this node, what the backend sees
    Endpoint node;       // what a backend elsewhere sees as its client; port 0: the backend is here
};

// Every step of a packet from the client to the backend, and of one back.
inline void check_in(Datapath& datapath, const Outside& flow, const Packet& packet) {
    const Packet forwarded = with_source(with_destination(packet, flow.backend), flow.forwarded);
    CHECK_RUN(datapath.from_uplink(packet), next, forwarded);
    if (flow.node.port != 0) CHECK_RUN(datapath.to_uplink(forwarded), next, with_source(forwarded, flow.node));
}
inline void check_reply(Datapath& datapath, const Outside& flow, const Packet& packet) {
    Packet forwarded = packet;
    if (flow.node.port != 0) {
        forwarded = with_destination(packet, flow.forwarded);
        CHECK_RUN(datapath.from_uplink(packet), next, forwarded);
    }
    CHECK_RUN(datapath.to_uplink(forwarded), next, with_source(with_destination(forwarded, flow.client), flow.dialled));
}

inline Outside dial(Datapath& datapath, const World& world, const Endpoint& client, const Endpoint& dialled,
                    bool elsewhere) {
    const Packet first = world.first(client, dialled);
    const Run in = datapath.from_uplink(first);
    REQUIRE(in.verdict == next);
    Outside flow{client, dialled, destination_of(in.frame), source_of(in.frame), {}};
    const Packet forwarded = with_source(with_destination(first, flow.backend), flow.forwarded);
    REQUIRE(difference(forwarded.frame(), in.frame) == std::string());
    REQUIRE(flow.forwarded.addr == client.addr);
    if (!elsewhere) return flow;
    const Run out = datapath.to_uplink(forwarded);
    REQUIRE(out.verdict == next);
    flow.node = source_of(out.frame);
    REQUIRE(difference(with_source(forwarded, flow.node).frame(), out.frame) == std::string());
    REQUIRE(flow.node.addr == node_address(world));
    REQUIRE(flow.node.port >= 61000);
    return flow;
}

inline Packet answer_of(const World& world, const Outside& flow) {
    return world.answer(flow.backend, flow.node.port != 0 ? flow.node : flow.forwarded);
}
inline Packet data_from(const World& world, const Outside& flow) {
    return world.data(flow.backend, flow.node.port != 0 ? flow.node : flow.forwarded);
}

inline Outside establish_from_outside(Datapath& datapath, const World& world, const Endpoint& client,
                                      const Endpoint& dialled, bool elsewhere) {
    Outside flow = dial(datapath, world, client, dialled, elsewhere);
    check_reply(datapath, flow, answer_of(world, flow));
    check_in(datapath, flow, world.data(client, dialled));
    return flow;
}

}  // namespace svclb::test
