// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Direct server return: the node that is dialled, the backend's node, and what travels between them. Routes are looked
// up, hence a network namespace with some.
#pragma once

#include <bpf/bpf.h>
#include <net/if.h>

#include <utility>
#include <vector>

#include "node_netns.hpp"
#include "outside.hpp"

namespace svclb::test {

inline Endpoint external(const World& world) {
    return {world.net("203.0.113.10", "2001:db8:203::10"), 80};
}

inline std::size_t outer_size(const World& world) {
    return world.family == 4 ? 20 : 40;
}

// `packet` as it travels between the nodes.
inline Packet wrapped(const Packet& packet, const Ip& from, const Ip& to) {
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
inline Packet wrapped(const World& world, const Packet& packet) {
    return wrapped(packet, node_address(world), world.backend().addr);
}

inline ServiceOptions with_dsr(std::vector<Endpoint> on_node = {}) {
    return {.kind = SVCLB_FRONTEND_EXTERNAL_IP, .on_node = std::move(on_node), .dsr = true};
}

// The one device that packets are unpacked behind.
inline void set_uplink(Datapath& datapath, const char* name) {
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

}  // namespace svclb::test
