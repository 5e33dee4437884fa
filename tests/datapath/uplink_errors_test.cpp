// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// ICMP errors and fragments on the way from outside to a backend and back: at each end they are about the packets that
// this end has sent.
#include "fragments.hpp"
#include "icmp_errors.hpp"
#include "outside.hpp"

using namespace svclb::test;

namespace {

Icmp too_big(const World& world) {
    return world.family == 4 ? Icmp{3, 4, 1400} : Icmp{2, 0, 1400};
}

}  // namespace

TEST_CASE("uplink: an error about what the client sent quotes the frontend", "[uplink]") {
    const World world = common_wire_world();
    const Seen seen = GENERATE(Seen::node_here, Seen::node_elsewhere);
    CAPTURE(world, seen);
    const NodePort at(world, seen);
    Datapath& datapath = at.datapath;
    const Outside flow = establish(at);
    const Ip router = world.stranger().addr + 9;
    const Packet sent = world.data(flow.client, flow.dialled);
    const Packet forwarded = world.data(flow.forwarded, flow.backend);
    const Packet left = world.data(flow.node, flow.backend);

    // From a router behind this node, in two steps; from this node itself, in one; from the backend.
    CHECK_RUN(second_back(datapath, flow, error_about(router, left, too_big(world))), next,
              error_about(router, forwarded, too_big(world)));
    CHECK_RUN(second_back(datapath, flow, error_about(flow.backend.addr, left, too_big(world))), next,
              error_about(flow.backend.addr, forwarded, too_big(world)));
    CHECK_RUN(datapath.to_uplink(error_about(router, forwarded, too_big(world))), next,
              error_about(router, sent, too_big(world)));
    CHECK_RUN(datapath.to_uplink(error_about(flow.backend.addr, forwarded, too_big(world))), next,
              error_about(flow.dialled.addr, sent, too_big(world)));
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("uplink: an error about an answer reaches the backend as one about its own packet", "[uplink]") {
    const World world = common_wire_world();
    const Seen seen = anywhere();
    CAPTURE(world, seen);
    const NodePort at(world, seen);
    Datapath& datapath = at.datapath;
    const Outside flow = establish(at);
    const Ip router = world.stranger().addr + 9;
    const Packet met = world.data(flow.dialled, flow.client);
    const Packet forwarded = world.data(flow.backend, flow.forwarded);
    CHECK_RUN(datapath.from_uplink(error_about(router, met, too_big(world))), next,
              error_about(router, forwarded, too_big(world)));
    if (seen == Seen::client_here) return;
    const Packet sent = world.data(flow.backend, flow.node);
    CHECK_RUN(second_out(datapath, flow, error_about(router, forwarded, too_big(world))), next,
              error_about(router, sent, too_big(world)));
}

TEST_CASE("uplink: an error about somebody else's packet goes on untouched", "[uplink]") {
    const World world = common_wire_world();
    CAPTURE(world);
    const NodePort at(world, Seen::node_elsewhere);
    Datapath& datapath = at.datapath;
    const Outside flow = establish(at);
    const Packet other = world.data({flow.node.addr, 40000}, flow.backend);
    const Packet error = error_about(world.stranger().addr, other, too_big(world));
    CHECK_RUN(datapath.from_uplink(error), next, error);
    CHECK_RUN(datapath.to_uplink(error), next, error);
}

TEST_CASE("uplink: datagrams in fragments, in both directions", "[uplink]") {
    const World world = GENERATE(World{4, IPPROTO_UDP}, World{6, IPPROTO_UDP}, World{4, IPPROTO_UDP, true},
                                 World{6, IPPROTO_UDP, true});
    const Seen seen = anywhere();
    CAPTURE(world, seen);
    const NodePort at(world, seen);
    Datapath& datapath = at.datapath;
    const Outside flow = establish(at);
    const auto in = fragments_of(large(flow.client, flow.dialled));
    const auto forwarded = fragments_of(large(flow.forwarded, flow.backend));
    const auto left = fragments_of(large(flow.node, flow.backend));
    const auto answer = fragments_of(large(flow.backend, flow.node));
    const auto back = fragments_of(large(flow.backend, flow.forwarded));
    const auto received = fragments_of(large(flow.dialled, flow.client));
    for (std::size_t i = 0; i < in.size(); i++) {
        CAPTURE(i);
        CHECK_RUN(datapath.from_uplink(in[i]), next, forwarded[i]);
        CHECK_RUN(datapath.to_uplink(back[i]), next, received[i]);
        if (seen == Seen::client_here) continue;
        CHECK_RUN(second_out(datapath, flow, forwarded[i]), next, left[i]);
        CHECK_RUN(second_back(datapath, flow, answer[i]), next, back[i]);
    }
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("uplink: errors of every kind, with headers between IP and transport, and short ones", "[uplink]") {
    const World world = wire_world();
    const Seen seen = GENERATE(Seen::node_here, Seen::node_elsewhere);
    const Icmp message = world.family == 4
                             ? GENERATE(Icmp{3, 0}, Icmp{3, 4, 600}, Icmp{3, 13}, Icmp{11, 0}, Icmp{12, 0})
                             : GENERATE(Icmp{1, 0}, Icmp{1, 4}, Icmp{2, 0, 1280}, Icmp{3, 0}, Icmp{4, 1});
    const std::size_t transport = GENERATE(8U, 12U, 60U);
    const bool with_headers = GENERATE(false, true);
    CAPTURE(world, seen, message.type, message.code, transport, with_headers);
    const NodePort at(world, seen);
    const Outside flow = establish(at);
    const Ip router = world.stranger().addr + 9;
    const auto error = [&](const Ip& from, Packet quoted) {
        if (with_headers) {
            quoted.ip_options = {0x94, 0x04, 0, 0};
            quoted.extensions = {{IPPROTO_HOPOPTS, Bytes(6)}, {IPPROTO_DSTOPTS, Bytes(14)}};
        }
        return error_about(from, quoted, message, transport);
    };
    const Packet forwarded = error(router, world.data(flow.forwarded, flow.backend));
    CHECK_RUN(second_back(at.datapath, flow, error(router, world.data(flow.node, flow.backend))), next, forwarded);
    CHECK_RUN(at.datapath.to_uplink(forwarded), next, error(router, world.data(flow.client, flow.dialled)));
    const Packet back = error(router, world.data(flow.backend, flow.forwarded));
    CHECK_RUN(at.datapath.from_uplink(error(router, world.data(flow.dialled, flow.client))), next, back);
    CHECK_RUN(second_out(at.datapath, flow, back), next, error(router, world.data(flow.backend, flow.node)));
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("uplink: fragments that come before their first, in both directions", "[uplink]") {
    const World world = udp_world();
    const Seen seen = anywhere();
    CAPTURE(world, seen);
    const NodePort at(world, seen);
    Datapath& datapath = at.datapath;
    const Outside flow = establish(at);
    datapath.with_complete_checksums(false);  // a packet that takes another one's place has none
    const auto check = [&](const auto& run, const Packet& met, const Packet& expected) {
        const auto pieces = fragments_of(met);
        const auto arrive = fragments_of(expected);
        const auto released = datapath.reason(SVCLB_REASON_FRAGMENT_RELEASED).packets;
        for (std::size_t i = pieces.size() - 1; i > 0; i--) CHECK_RUN(run(pieces[i]), dropped, pieces[i]);
        CHECK_RUN(run(pieces[0]), next, arrive[0]);
        CHECK(datapath.reason(SVCLB_REASON_FRAGMENT_RELEASED).packets - released == pieces.size() - 1);
        for (std::size_t i = 1; i < pieces.size(); i++) CHECK_RUN(run(pieces[i]), next, arrive[i]);
    };
    const Packet forwarded = large(flow.forwarded, flow.backend);
    const Packet back = large(flow.backend, flow.forwarded);
    check([&](const Packet& packet) { return datapath.from_uplink(packet); }, large(flow.client, flow.dialled),
          forwarded);
    check([&](const Packet& packet) { return datapath.to_uplink(packet); }, back, large(flow.dialled, flow.client));
    if (seen == Seen::client_here) return;
    check([&](const Packet& packet) { return second_out(datapath, flow, packet); }, forwarded,
          large(flow.node, flow.backend));
    if (seen == Seen::node_here)
        check([&](const Packet& packet) { return datapath.from_pod(packet); }, large(flow.backend, flow.node), back);
}
