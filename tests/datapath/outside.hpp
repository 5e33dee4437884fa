// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A flow from outside to a node port, and its way through the programs of an uplink and of the backend's pod link.
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
                    World{6, IPPROTO_UDP}, World{6, IPPROTO_SCTP}, World{4, IPPROTO_TCP, true},
                    World{4, IPPROTO_UDP, true}, World{4, IPPROTO_SCTP, true}, World{6, IPPROTO_TCP, true},
                    World{6, IPPROTO_UDP, true}, World{6, IPPROTO_SCTP, true});
}
inline World common_wire_world() {
    return GENERATE(World{4, IPPROTO_TCP}, World{4, IPPROTO_UDP}, World{6, IPPROTO_TCP}, World{6, IPPROTO_UDP},
                    World{4, IPPROTO_TCP, true}, World{4, IPPROTO_UDP, true}, World{6, IPPROTO_TCP, true},
                    World{6, IPPROTO_UDP, true});
}

// The programs as with --external-cluster-ip allow, with empty maps. Loaded once a process.
inline Datapath& open_datapath() {
    DatapathOptions options;
    options.settings.external_cluster_ip = 1;
    return datapath_with(options);
}

// Where the backend is and whom it sees: on this node the client itself (policy Local) or the node (policy Cluster);
// elsewhere always the node.
enum class Seen { client_here, node_here, node_elsewhere };

inline Seen anywhere() {
    return GENERATE(Seen::client_here, Seen::node_here, Seen::node_elsewhere);
}

// A node port of a node that knows its addresses, with one backend.
struct NodePort {
    NodePort(Datapath& loaded, const World& at, Seen how, const std::vector<Endpoint>& backends)
        : world(at),
          seen(how),
          datapath(knowing_node(loaded)),
          service(loaded, 1, node_port(at), at.proto, backends, options(at, how)) {
        datapath.bare_uplinks(at.bare);
    }
    NodePort(const World& at, Seen how) : NodePort(fresh_datapath(), at, how, {at.backend()}) {}

    static Datapath& knowing_node(Datapath& loaded) {
        set_node_addresses(loaded);
        return loaded;
    }
    static ServiceOptions options(const World& at, Seen how) {
        ServiceOptions made{.set = how == Seen::client_here ? SVCLB_SET_LOCAL : SVCLB_SET_CLUSTER,
                            .kind = SVCLB_FRONTEND_NODE_PORT};
        if (how != Seen::node_elsewhere) made.on_node = {at.backend(0), at.backend(1)};
        return made;
    }

    World world;
    Seen seen;
    Datapath& datapath;
    ServiceFixture service;
};

struct Outside {
    Seen seen;
    Endpoint client;
    Endpoint dialled;
    Endpoint backend;
    Endpoint forwarded;  // the client between the two devices
    Endpoint node;       // what the backend sees as its client, where that is the node
};

// The second device, whose program makes the node a packet's source.
inline Run second_out(Datapath& datapath, const Outside& flow, const Packet& packet) {
    return flow.seen == Seen::node_here ? datapath.to_pod(packet) : datapath.to_uplink(packet);
}
inline Run second_back(Datapath& datapath, const Outside& flow, const Packet& packet) {
    return flow.seen == Seen::node_here ? datapath.from_pod(packet) : datapath.from_uplink(packet);
}

// Every step of a packet from the client to the backend, and of one back.
inline void check_in(Datapath& datapath, const Outside& flow, const Packet& packet) {
    const Packet forwarded = with_source(with_destination(packet, flow.backend), flow.forwarded);
    CHECK_RUN(datapath.from_uplink(packet), next, forwarded);
    if (flow.seen != Seen::client_here)
        CHECK_RUN(second_out(datapath, flow, forwarded), next, with_source(forwarded, flow.node));
}
inline void check_reply(Datapath& datapath, const Outside& flow, const Packet& packet) {
    Packet forwarded = packet;
    if (flow.seen != Seen::client_here) {
        forwarded = with_destination(packet, flow.forwarded);
        CHECK_RUN(second_back(datapath, flow, packet), next, forwarded);
    }
    CHECK_RUN(datapath.to_uplink(forwarded), next, with_source(with_destination(forwarded, flow.client), flow.dialled));
}

inline Outside dial(Datapath& datapath, const World& world, const Endpoint& client, const Endpoint& dialled,
                    Seen seen) {
    const Packet first = world.first(client, dialled);
    const Run in = datapath.from_uplink(first);
    REQUIRE(in.verdict == next);
    Outside flow{seen, client, dialled, destination_of(in.frame), source_of(in.frame), {}};
    const Packet forwarded = with_source(with_destination(first, flow.backend), flow.forwarded);
    REQUIRE(difference(forwarded.frame(), in.frame) == std::string());
    REQUIRE(flow.forwarded.addr == client.addr);
    if (seen == Seen::client_here) return flow;
    const Run out = second_out(datapath, flow, forwarded);
    REQUIRE(out.verdict == next);
    flow.node = source_of(out.frame);
    REQUIRE(difference(with_source(forwarded, flow.node).frame(), out.frame) == std::string());
    REQUIRE(flow.node.addr == node_address(world));
    REQUIRE(flow.node.port >= 61000);
    return flow;
}
inline Outside dial(const NodePort& at, const Endpoint& client) {
    return dial(at.datapath, at.world, client, node_port(at.world), at.seen);
}

inline Packet answer_of(const World& world, const Outside& flow) {
    return world.answer(flow.backend, flow.seen != Seen::client_here ? flow.node : flow.forwarded);
}
inline Packet data_from(const World& world, const Outside& flow) {
    return world.data(flow.backend, flow.seen != Seen::client_here ? flow.node : flow.forwarded);
}

inline Outside establish(const NodePort& at, const Endpoint& client) {
    Outside flow = dial(at, client);
    check_reply(at.datapath, flow, answer_of(at.world, flow));
    check_in(at.datapath, flow, at.world.data(client, flow.dialled));
    return flow;
}
inline Outside establish(const NodePort& at) {
    return establish(at, outside_client(at.world));
}

}  // namespace svclb::test
