// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Datagrams in fragments: all of one go to one backend, whatever their order, and those of others are not touched.
#include "fragments.hpp"

#include <algorithm>

#include "outside.hpp"
#include "refusal.hpp"

using namespace svclb::test;

namespace {

Packet sent_back(Packet packet) {
    std::swap(packet.to_mac, packet.from_mac);
    return packet;
}

std::uint64_t count(const Datapath& datapath, svclb_reason reason) {
    return datapath.reason(reason).packets;
}

}  // namespace

TEST_CASE("fragments: in order, out and back, and twice", "[fragments]") {
    const World world = udp_world();
    const bool other_port = GENERATE(false, true);
    const auto kind = GENERATE(SVCLB_FRONTEND_CLUSTER_IP, SVCLB_FRONTEND_NODE_PORT);
    CAPTURE(world, other_port, kind);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()}, {.kind = kind});
    if (other_port) datapath.from_pod(world.first(world.client(), world.backend()));
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    REQUIRE((flow.presented != flow.client) == other_port);

    const auto out = fragments_of(large(flow.client, flow.dialled));
    const auto arrives = fragments_of(large(flow.presented, flow.backend));
    const auto back = fragments_of(large(flow.backend, flow.presented));
    const auto received = fragments_of(large(flow.dialled, flow.client));
    REQUIRE(out.size() == 3);
    for (std::size_t i = 0; i < out.size(); i++) {
        CAPTURE(i);
        for (int times = 0; times < 2; times++) {
            CHECK_RUN(datapath.from_pod(out[i]), next, arrives[i]);
            CHECK_RUN(datapath.to_pod(back[i]), next, received[i]);
        }
    }
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("fragments: the first datagram of a flow", "[fragments]") {
    const World world = udp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const auto out = fragments_of(large(world.client(), world.frontend()));
    const auto arrives = fragments_of(large(world.client(), world.backend()));
    for (std::size_t i = 0; i < out.size(); i++) CHECK_RUN(datapath.from_pod(out[i]), next, arrives[i]);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("fragments: those that come before their first are kept until it comes", "[fragments]") {
    const World world = udp_world();
    const bool reply = GENERATE(false, true);
    CAPTURE(world, reply);
    Datapath& datapath = fresh_datapath();
    datapath.with_complete_checksums(false);  // a packet that takes another one's place has none
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    establish(datapath, world, world.client(), world.frontend());
    const auto run = [&](const Packet& packet) { return reply ? datapath.to_pod(packet) : datapath.from_pod(packet); };
    const auto met =
        fragments_of(reply ? large(world.backend(), world.client()) : large(world.client(), world.frontend()));
    const auto expected =
        fragments_of(reply ? large(world.frontend(), world.client()) : large(world.client(), world.backend()));

    CHECK_RUN(run(met[2]), dropped, met[2]);
    CHECK_RUN(run(met[1]), dropped, met[1]);
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT_HELD) == 2);
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT_RELEASED) == 0);
    CHECK_RUN(run(met[0]), next, expected[0]);
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT_RELEASED) == 2);
    // They meet the program once more, and later ones find their way at once.
    CHECK_RUN(run(met[1]), next, expected[1]);
    CHECK_RUN(run(met[2]), next, expected[2]);
    // The first once more: there is nothing left to release.
    CHECK_RUN(run(met[0]), next, expected[0]);
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT_RELEASED) == 2);
}

TEST_CASE("fragments: of a datagram whose first is lost, or refused, the others are dropped and counted",
          "[fragments]") {
    const World world = udp_world();
    const bool refused = GENERATE(false, true);
    CAPTURE(world, refused);
    Datapath& datapath = fresh_datapath();
    datapath.with_complete_checksums(false);
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {});
    const auto met = fragments_of(large(world.client(), world.frontend()));
    if (refused) CHECK_RUN(datapath.from_pod(met[0]), redirected, unreachable_for(met[0]));
    CHECK(datapath.from_pod(met[1]).verdict == dropped);
    CHECK(datapath.from_pod(met[2]).verdict == dropped);
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT_HELD) == 2);
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT_RELEASED) == 0);
}

TEST_CASE("fragments: too long or too many to be kept", "[fragments]") {
    const World world = udp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const auto jumbo = fragments_of(udp(world.client(), world.frontend(), payload_of(3600)), 1800, 1);
    CHECK(datapath.from_pod(jumbo[1]).verdict == dropped);
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT_LOST) == 1);
    const auto small = fragments_of(udp(world.client(), world.frontend(), payload_of(1000)), 64, 2);
    for (std::size_t i = 1; i <= 9; i++) CHECK(datapath.from_pod(small[i]).verdict == dropped);
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT_HELD) == 8);
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT_LOST) == 2);
}

TEST_CASE("fragments: of two datagrams with one id, the later first counts", "[fragments]") {
    const World world = udp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture first(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Endpoint second{world.frontend().addr, 81};
    const ServiceFixture other(datapath, 2, second, world.proto, {world.backend(1)});
    const auto one = fragments_of(large(world.client(), world.frontend()));
    const auto two = fragments_of(large(world.client(), second));
    CHECK(datapath.from_pod(one[0]).verdict == next);
    CHECK_RUN(datapath.from_pod(one[1]), next, fragments_of(large(world.client(), world.backend()))[1]);
    CHECK(datapath.from_pod(two[0]).verdict == next);
    CHECK_RUN(datapath.from_pod(two[1]), next, fragments_of(large(world.client(), world.backend(1)))[1]);
    // Another sender's and another id are other datagrams.
    CHECK(datapath.from_pod(fragments_of(large(world.other_client(), world.frontend()))[1]).verdict == dropped);
    CHECK(datapath.from_pod(fragments_of(large(world.client(), world.frontend()), 1400, 5)[1]).verdict == dropped);
}

TEST_CASE("fragments: in a pod that reaches itself", "[fragments]") {
    const World world = udp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const Endpoint client = world.client();
    const Endpoint server{client.addr, 8080};
    const Endpoint frontend = world.frontend();
    const Endpoint peer{frontend.addr, client.port};
    const ServiceFixture service(datapath, 1, frontend, world.proto, {server});
    const auto out = fragments_of(large(client, frontend));
    const auto arrives = fragments_of(large(peer, server));
    const auto back = fragments_of(large(server, peer), 1400, 9);
    const auto received = fragments_of(large(frontend, client), 1400, 9);
    for (std::size_t i = 0; i < out.size(); i++)
        CHECK_RUN(datapath.from_pod(out[i]), redirected, sent_back(arrives[i]));
    for (std::size_t i = 0; i < back.size(); i++)
        CHECK_RUN(datapath.from_pod(back[i]), redirected, sent_back(received[i]));
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("fragments: those of others go on untouched", "[fragments]") {
    const World world = udp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    establish(datapath, world, world.client(), world.frontend());
    const auto untouched = [&](const std::vector<Packet>& pieces, bool last_first) {
        for (std::size_t i = 0; i < pieces.size(); i++) {
            const Packet& piece = pieces[last_first ? pieces.size() - 1 - i : i];
            CHECK_RUN(datapath.from_pod(piece), next, piece);
            CHECK_RUN(datapath.to_pod(piece), next, piece);
        }
    };
    for (const bool last_first : {false, true}) {
        untouched(fragments_of(large(world.client(), world.stranger())), last_first);
        untouched(fragments_of(large(world.stranger(), world.client())), last_first);
    }
    // A direct conversation with the backend, whose fragments might be replies: the first one tells.
    for (const Packet& piece : fragments_of(large(world.backend(), world.other_client()), 1400, 3)) {
        CHECK_RUN(datapath.to_pod(piece), next, piece);
    }
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("fragments: of other protocols to a frontend go on untouched and are counted", "[fragments]") {
    const World world = udp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    mark_cluster_ip(datapath, world.frontend().addr);
    for (Packet& piece : fragments_of(large(world.client(), world.frontend()))) {
        piece.transport = OtherProtocol{static_cast<std::uint8_t>(world.family == 4 ? +IPPROTO_ICMP : +IPPROTO_ICMPV6)};
        CHECK_RUN(datapath.from_pod(piece), next, piece);
    }
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT) == 3);
    CHECK(datapath.reasons() == 3);
}

TEST_CASE("fragments: of protocols without ports go on untouched, also to and from addresses of flows", "[fragments]") {
    const World world = udp_world();
    const std::uint8_t proto =
        GENERATE(std::uint8_t{IPPROTO_IPIP}, std::uint8_t{IPPROTO_IPV6}, std::uint8_t{IPPROTO_GRE},
                 std::uint8_t{IPPROTO_ESP}, std::uint8_t{IPPROTO_UDPLITE}, std::uint8_t{89});
    const bool last_first = GENERATE(false, true);
    CAPTURE(world, int{proto}, last_first);
    const NodePort at(world, Seen::node_elsewhere);
    (void)establish(at);
    auto pieces = fragments_of(large(outside_client(world), node_port(world)));
    if (last_first) std::reverse(pieces.begin(), pieces.end());
    for (Packet& piece : pieces) {
        piece.transport = OtherProtocol{proto};
        for (const bool from_backend : {false, true}) {
            if (from_backend) piece.source = world.backend().addr;
            CHECK_RUN(at.datapath.from_uplink(piece), next, piece);
            CHECK_RUN(at.datapath.to_uplink(piece), next, piece);
            CHECK_RUN(at.datapath.from_pod(piece), next, piece);
            CHECK_RUN(at.datapath.to_pod(piece), next, piece);
        }
    }
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("fragments: of TCP go the way of their connection", "[fragments]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    const auto out = fragments_of(large(world, flow.client, flow.dialled));
    const auto arrives = fragments_of(large(world, flow.presented, flow.backend));
    const auto back = fragments_of(large(world, flow.backend, flow.presented));
    const auto received = fragments_of(large(world, flow.dialled, flow.client));
    for (std::size_t i = 0; i < out.size(); i++) {
        CAPTURE(i);
        CHECK_RUN(datapath.from_pod(out[i]), next, arrives[i]);
        CHECK_RUN(datapath.to_pod(back[i]), next, received[i]);
    }
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("fragments: of SCTP are translated where no port changes, else dropped and counted", "[fragments]") {
    const World world = sctp_world();
    const bool port_changes = GENERATE(false, true);
    CAPTURE(world, port_changes);
    Datapath& datapath = fresh_datapath();
    const Endpoint backend{world.backend().addr, port_changes ? world.backend().port : world.frontend().port};
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {backend});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    const auto out = fragments_of(large(world, flow.client, flow.dialled));
    const auto arrives = fragments_of(large(world, flow.presented, flow.backend));
    for (std::size_t i = 0; i < out.size(); i++) {
        CAPTURE(i);
        if (port_changes) {
            CHECK(datapath.from_pod(out[i]).verdict == dropped);
        } else {
            CHECK_RUN(datapath.from_pod(out[i]), next, arrives[i]);
        }
    }
    CHECK(count(datapath, SVCLB_REASON_REWRITE_FAILED) == (port_changes ? 1 : 0));
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT_HELD) == (port_changes ? 2 : 0));
}

TEST_CASE("fragments: with VLAN tags and headers before and behind the fragment's, in and out of order",
          "[fragments]") {
    const World world = udp_world();
    const std::string between = GENERATE("one tag", "two tags", "headers before", "headers behind");
    const bool last_first = GENERATE(false, true);
    CAPTURE(world, between, last_first);
    Datapath& datapath = fresh_datapath();
    datapath.with_complete_checksums(!last_first);  // a packet that takes another one's place has none
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    const auto shaped = [&](const Endpoint& from, const Endpoint& to) {
        Packet whole = large(from, to);
        if (between == "headers behind") whole.extensions = {{IPPROTO_DSTOPTS, Bytes(14)}};
        auto pieces = fragments_of(whole);
        for (Packet& piece : pieces) {
            if (between == "one tag") piece.vlans = {7};
            if (between == "two tags") piece.vlans = {8, 7};
            if (between != "headers before") continue;
            piece.ip_options = Bytes(8, 1);
            piece.extensions.insert(piece.extensions.begin(), {IPPROTO_HOPOPTS, {1, 4, 0, 0, 0, 0}});
        }
        return pieces;
    };
    const auto out = shaped(flow.client, flow.dialled);
    const auto arrives = shaped(flow.presented, flow.backend);
    const auto back = shaped(flow.backend, flow.presented);
    const auto received = shaped(flow.dialled, flow.client);
    if (last_first) {
        for (std::size_t i = out.size() - 1; i > 0; i--) {
            CHECK_RUN(datapath.from_pod(out[i]), dropped, out[i]);
            CHECK_RUN(datapath.to_pod(back[i]), dropped, back[i]);
        }
    }
    for (std::size_t i = 0; i < out.size(); i++) {
        CAPTURE(i);
        CHECK_RUN(datapath.from_pod(out[i]), next, arrives[i]);
        CHECK_RUN(datapath.to_pod(back[i]), next, received[i]);
    }
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT_RELEASED) == (last_first ? 4 : 0));
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT_HELD) == (last_first ? 4 : 0));
}

TEST_CASE("fragments: in a pod that reaches itself, the last one first", "[fragments]") {
    const World world = udp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    datapath.with_complete_checksums(false);
    const Endpoint server{world.client().addr, 8080};
    const Endpoint peer{world.frontend().addr, world.client().port};
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {server});
    const auto out = fragments_of(large(world.client(), world.frontend()));
    const auto arrives = fragments_of(large(peer, server));
    for (const std::size_t i : {2u, 1u}) CHECK_RUN(datapath.from_pod(out[i]), dropped, out[i]);
    for (const std::size_t i : {0u, 1u, 2u}) CHECK_RUN(datapath.from_pod(out[i]), redirected, sent_back(arrives[i]));
    CHECK(count(datapath, SVCLB_REASON_FRAGMENT_RELEASED) == 2);
}
