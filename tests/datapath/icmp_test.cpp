// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// ICMP errors about translated packets: the one who reads an error finds in it the packet that it has sent itself.
#include <algorithm>

#include "conversation.hpp"
#include "fragments.hpp"
#include "icmp_errors.hpp"

using namespace svclb::test;

namespace {

std::vector<Icmp> errors_of(const World& world) {
    if (world.family == 4) return {{3, 4, 1400}, {3, 3, 0}, {3, 1, 0}, {11, 0, 0}, {11, 1, 0}, {12, 0, 0x14000000}};
    return {{2, 0, 1400}, {1, 4, 0}, {1, 0, 0}, {3, 0, 0}, {3, 1, 0}, {4, 0, 40}};
}
Icmp too_big(const World& world) {
    return errors_of(world).front();
}

// A flow whose source port is as the client's, or another one because the client talks to the backend itself already.
Conversation flow_of(Datapath& datapath, const World& world, bool other_port) {
    if (other_port) datapath.from_pod(world.first(world.client(), world.backend()));
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    REQUIRE((flow.presented != flow.client) == other_port);
    return flow;
}

Packet headers_between(const World& world, Packet packet) {
    if (world.family == 4) {
        packet.ip_options = Bytes(8, 1);
    } else {
        packet.extensions = {{IPPROTO_HOPOPTS, {1, 4, 0, 0, 0, 0}}, {IPPROTO_DSTOPTS, Bytes(14)}};
    }
    return packet;
}

// The errors of a pod that is client and backend at once are sent back to it.
Packet sent_back(Packet packet) {
    std::swap(packet.to_mac, packet.from_mac);
    return packet;
}

void check_untouched(Datapath& datapath, const Packet& packet) {
    CHECK_RUN(datapath.from_pod(packet), next, packet);
    CHECK_RUN(datapath.to_pod(packet), next, packet);
}

}  // namespace

TEST_CASE("icmp: an error about a client's packet quotes the frontend", "[icmp]") {
    const World world = any_world();
    const bool other_port = GENERATE(false, true);
    CAPTURE(world, other_port);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = flow_of(datapath, world, other_port);
    const Packet sent = world.data(flow.client, flow.dialled);
    const Packet met = world.data(flow.presented, flow.backend);

    for (const Icmp message : errors_of(world)) {
        CAPTURE(message.type, message.code);
        for (const std::size_t transport : {8u, 16u, 18u, 19u, 20u, 28u, 60u, 548u}) {
            CAPTURE(transport);
            const Run from_router = datapath.to_pod(error_about(world.stranger().addr, met, message, transport));
            CHECK_RUN(from_router, next, error_about(world.stranger().addr, sent, message, transport));
            CHECK(wrong_checksums(from_router.frame) == std::string());
            // The backend itself is not known to the client: its own error comes from the frontend.
            CHECK_RUN(datapath.to_pod(error_about(flow.backend.addr, met, message, transport)), next,
                      error_about(flow.dialled.addr, sent, message, transport));
        }
    }
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("icmp: an error of the client's about a reply quotes the backend, and goes there", "[icmp]") {
    const World world = any_world();
    const bool other_port = GENERATE(false, true);
    CAPTURE(world, other_port);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = flow_of(datapath, world, other_port);
    const Packet met = world.data(flow.dialled, flow.client);
    const Packet sent = world.data(flow.backend, flow.presented);

    for (const Icmp message : errors_of(world)) {
        CAPTURE(message.type, message.code);
        for (const std::size_t transport : {8u, 18u, 19u, 28u, 548u}) {
            CAPTURE(transport);
            CHECK_RUN(datapath.from_pod(error_about(flow.client.addr, met, message, transport)), next,
                      error_about(flow.client.addr, sent, message, transport));
        }
    }
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("icmp: errors about a flow that is not established yet", "[icmp]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    CHECK_RUN(datapath.to_pod(error_about(flow.backend.addr, world.first(flow.client, flow.backend), too_big(world))),
              next, error_about(flow.dialled.addr, world.first(flow.client, flow.dialled), too_big(world)));
    CHECK_RUN(datapath.from_pod(error_about(flow.client.addr, world.answer(flow.dialled, flow.client), too_big(world))),
              next, error_about(flow.client.addr, world.answer(flow.backend, flow.client), too_big(world)));
}

TEST_CASE("icmp: with headers between IP and transport, inside and outside, and VLAN tags", "[icmp]") {
    const World world = any_world();
    const bool inside = GENERATE(false, true);
    CAPTURE(world, inside);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = flow_of(datapath, world, true);
    const auto shaped = [&](const Ip& from, Packet quoted) {
        if (inside) return error_about(from, headers_between(world, std::move(quoted)), too_big(world));
        Packet packet = headers_between(world, error_about(from, quoted, too_big(world)));
        packet.vlans = {7, 8};
        packet.trailer = 3;
        return packet;
    };
    CHECK_RUN(datapath.to_pod(shaped(flow.backend.addr, world.data(flow.presented, flow.backend))), next,
              shaped(flow.dialled.addr, world.data(flow.client, flow.dialled)));
    CHECK_RUN(datapath.from_pod(shaped(flow.client.addr, world.data(flow.dialled, flow.client))), next,
              shaped(flow.client.addr, world.data(flow.backend, flow.presented)));
}

TEST_CASE("icmp: errors about the first fragment of a packet, and none about a later one", "[icmp]") {
    const World world = any_world();
    const bool other_port = GENERATE(false, true);
    CAPTURE(world, other_port);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = flow_of(datapath, world, other_port);
    const auto out = fragments_of(large(world, flow.client, flow.dialled));
    const auto arrives = fragments_of(large(world, flow.presented, flow.backend));
    const auto back = fragments_of(large(world, flow.backend, flow.presented));
    const auto received = fragments_of(large(world, flow.dialled, flow.client));
    const Ip router = world.stranger().addr;

    for (const std::size_t behind_ip : {16u, 28u, 548u}) {  // with the extension header
        CAPTURE(behind_ip);
        CHECK_RUN(datapath.to_pod(error_about(router, arrives[0], too_big(world), behind_ip)), next,
                  error_about(router, out[0], too_big(world), behind_ip));
        CHECK_RUN(datapath.from_pod(error_about(flow.client.addr, received[0], too_big(world), behind_ip)), next,
                  error_about(flow.client.addr, back[0], too_big(world), behind_ip));
    }
    // It has no ports by which anybody could look a socket up.
    const Packet later = error_about(router, arrives[1], too_big(world));
    CHECK_RUN(datapath.to_pod(later), next, later);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("icmp: a quoted datagram without a checksum stays without", "[icmp]") {
    const World world{4, IPPROTO_UDP};
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = flow_of(datapath, world, true);
    const auto without = [&](const Endpoint& from, const Endpoint& to) {
        Packet packet = world.data(from, to);
        std::get<Udp>(packet.transport).without_checksum = true;
        return packet;
    };
    CHECK_RUN(datapath.to_pod(error_about(flow.backend.addr, without(flow.presented, flow.backend), {3, 3, 0})), next,
              error_about(flow.dialled.addr, without(flow.client, flow.dialled), {3, 3, 0}));
}

TEST_CASE("icmp: a wrong checksum stays wrong", "[icmp]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = flow_of(datapath, world, false);
    Bytes frame = error_about(flow.backend.addr, world.data(flow.presented, flow.backend), too_big(world)).frame();
    frame[kEthernet + (world.family == 4 ? 20u : 40u) + 2] ^= 0x10;
    datapath.with_complete_checksums(false);  // it would have been found out before us
    const Run run = datapath.to_pod(frame);
    CHECK(run.verdict == next);
    CHECK(wrong_checksums(run.frame) == "transport checksum\n");
}

TEST_CASE("icmp: errors in a pod that reached itself, about either direction", "[icmp]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const Endpoint client = world.client();
    const Endpoint server{client.addr, 8080};
    const Endpoint frontend = world.frontend();
    const Endpoint peer{frontend.addr, client.port};  // the client as the server sees it
    const ServiceFixture service(datapath, 1, frontend, world.proto, {server});
    datapath.from_pod(world.first(client, frontend));
    datapath.from_pod(world.answer(server, peer));

    CHECK_RUN(datapath.from_pod(error_about(client.addr, world.data(peer, server), too_big(world))), redirected,
              sent_back(error_about(frontend.addr, world.data(client, frontend), too_big(world))));
    CHECK_RUN(datapath.from_pod(error_about(client.addr, world.data(frontend, client), too_big(world))), redirected,
              sent_back(error_about(frontend.addr, world.data(server, peer), too_big(world))));
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("icmp: errors about a direct conversation that got another source port", "[icmp]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    establish(datapath, world, world.client(), world.frontend());
    const Conversation direct = establish(datapath, world, world.client(), world.backend());
    REQUIRE(direct.presented != direct.client);

    CHECK_RUN(datapath.to_pod(
                  error_about(world.stranger().addr, world.data(direct.presented, direct.backend), too_big(world))),
              next, error_about(world.stranger().addr, world.data(direct.client, direct.backend), too_big(world)));
    CHECK_RUN(
        datapath.from_pod(error_about(direct.client.addr, world.data(direct.backend, direct.client), too_big(world))),
        next, error_about(direct.client.addr, world.data(direct.backend, direct.presented), too_big(world)));
}

TEST_CASE("icmp: errors about what is not a flow go on untouched", "[icmp]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = flow_of(datapath, world, false);
    const Packet met = world.data(flow.presented, flow.backend);
    const auto untouched = [&](const Packet& packet) { check_untouched(datapath, packet); };

    untouched(error_about(world.stranger().addr, world.data(world.client(), world.stranger()), too_big(world)));
    untouched(error_about(flow.backend.addr, world.data(world.client(40001), flow.backend), too_big(world)));
    untouched(error_about(flow.backend.addr, world.data(world.other_client(), flow.backend), too_big(world)));
    // At the backend's link: the backend reads the addresses that are on the way.
    untouched(error_about(world.stranger().addr, world.data(flow.backend, flow.presented), too_big(world)));
    // To somebody who has not sent what is quoted.
    untouched(icmp(flow.backend.addr, world.other_client().addr, too_big(world), quote_of(met, 100)));
    // A redirect, a question, and what quotes too little.
    untouched(error_about(flow.backend.addr, met, world.family == 4 ? Icmp{5, 1, 0} : Icmp{137, 0, 0}));
    untouched(error_about(flow.backend.addr, met, world.family == 4 ? Icmp{8, 0, 1} : Icmp{128, 0, 1}));
    untouched(error_about(flow.backend.addr, met, too_big(world), 7));
    untouched(icmp(flow.backend.addr, flow.client.addr, too_big(world), {}));
    if (world.family == 4) {
        Packet later = met;
        later.fragment_field = 0x2001;
        untouched(error_about(flow.backend.addr, later, too_big(world)));
    }
    CHECK(datapath.reasons() == 0);
    datapath.remove_flow(reply_key(world, flow), true);
    untouched(error_about(flow.backend.addr, met, too_big(world)));
}

TEST_CASE("icmp: an error to a frontend about no flow goes on untouched and is counted", "[icmp]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Packet packet =
        error_about(world.client().addr, world.data(world.frontend(), world.client()), too_big(world));
    CHECK_RUN(datapath.from_pod(packet), next, packet);
    CHECK(datapath.reason(SVCLB_REASON_UNSUPPORTED_PROTOCOL).packets == 1);
    CHECK(datapath.reasons() == 1);
}
