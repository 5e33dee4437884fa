// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A flow as its two ends see it, and the steps of its life that many cases begin with.
#pragma once

#include "world.hpp"

namespace svclb::test {

struct Conversation {
    Endpoint client;
    Endpoint dialled;    // a frontend, or a backend dialled directly
    Endpoint backend;    // that the client was sent to
    Endpoint presented;  // the client as the backend sees it: its source port may be another
};

// The first packet, out through from_pod. It must be translated or passed.
inline Conversation begin(Datapath& datapath, const World& world, const Endpoint& client, const Endpoint& dialled) {
    const Run run = datapath.from_pod(world.first(client, dialled));
    REQUIRE(run.verdict == next);
    const Conversation made{client, dialled, destination_of(run.frame), source_of(run.frame)};
    REQUIRE(
        difference(with_source(with_destination(world.first(client, dialled), made.backend), made.presented).frame(),
                   run.frame) == std::string());
    REQUIRE(made.presented.addr == client.addr);
    return made;
}

// A packet each way must arrive as the conversation's ends expect it.
inline void check_out(Datapath& datapath, const Conversation& flow, const Packet& packet) {
    CHECK_RUN(datapath.from_pod(packet), next, with_source(with_destination(packet, flow.backend), flow.presented));
}
inline void check_back(Datapath& datapath, const Conversation& flow, const Packet& packet) {
    CHECK_RUN(datapath.to_pod(packet), next, with_source(with_destination(packet, flow.client), flow.dialled));
}

inline void check_data_out(Datapath& datapath, const World& world, const Conversation& flow) {
    check_out(datapath, flow, world.data(flow.client, flow.dialled));
}
inline void check_data_back(Datapath& datapath, const World& world, const Conversation& flow) {
    check_back(datapath, flow, world.data(flow.backend, flow.presented));
}
inline void check_answer(Datapath& datapath, const World& world, const Conversation& flow) {
    check_back(datapath, flow, world.answer(flow.backend, flow.presented));
}

// Answered, and the client goes on: that is what makes a flow established.
inline Conversation establish(Datapath& datapath, const World& world, const Endpoint& client, const Endpoint& dialled) {
    Conversation flow = begin(datapath, world, client, dialled);
    check_answer(datapath, world, flow);
    check_data_out(datapath, world, flow);
    return flow;
}

inline svclb_flow_key6 forward_key(const World& world, const Conversation& flow) {
    return flow_key(flow.client, flow.dialled, world.proto, SVCLB_FROM_POD);
}
inline svclb_flow_key6 reply_key(const World& world, const Conversation& flow) {
    return flow_key(flow.backend, flow.presented, world.proto, SVCLB_TO_POD);
}

inline FlowEntry entry(const Datapath& datapath, const svclb_flow_key6& key) {
    const auto found = datapath.find_flow(key);
    REQUIRE(found);
    return *found;
}

// As if its last packet had come so many seconds ago.
inline void make_idle(Datapath& datapath, const svclb_flow_key6& key, std::uint32_t seconds) {
    FlowEntry aged = entry(datapath, key);
    aged.flow.seen_s -= seconds;
    datapath.put_flow(aged);
}

}  // namespace svclb::test
