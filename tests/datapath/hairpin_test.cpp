// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A pod that dials its own Service and is chosen: it gets its packets back from the frontend's address.
#include "conversation.hpp"

using namespace svclb::test;

namespace {

Packet sent_back(Packet packet) {
    std::swap(packet.to_mac, packet.from_mac);
    return packet;
}

// The pod's packet to the frontend arrives at its own server, as if the frontend were the client.
void check_to_server(Datapath& datapath, const Packet& packet, const Endpoint& frontend, const Endpoint& server) {
    CHECK_RUN(datapath.from_pod(packet), redirected,
              sent_back(with_source(with_destination(packet, server), {frontend.addr, packet.source_port()})));
}

// The server's packet to that client arrives at the socket that dialled the frontend.
void check_to_client(Datapath& datapath, const Packet& packet, const Endpoint& frontend, const Endpoint& client) {
    CHECK_RUN(datapath.from_pod(packet), redirected,
              sent_back(with_source(with_destination(packet, client), frontend)));
}

}  // namespace

TEST_CASE("hairpin: a pod reaches itself through its Service, both ways", "[hairpin]") {
    const World world = any_world();
    const auto kind = GENERATE(SVCLB_FRONTEND_CLUSTER_IP, SVCLB_FRONTEND_NODE_PORT, SVCLB_FRONTEND_EXTERNAL_IP,
                               SVCLB_FRONTEND_LOAD_BALANCER);
    CAPTURE(world, kind);
    Datapath& datapath = fresh_datapath();
    const Endpoint client = world.client();
    const Endpoint server{client.addr, 8080};
    const Endpoint frontend = world.frontend();
    const Endpoint peer{frontend.addr, client.port};  // the client as the server sees it
    const ServiceFixture service(datapath, 1, frontend, world.proto, {server}, {.kind = kind, .on_node = {server}});

    check_to_server(datapath, world.first(client, frontend), frontend, server);
    check_to_server(datapath, world.first(client, frontend), frontend, server);
    check_to_client(datapath, world.answer(server, peer), frontend, client);
    for (int i = 0; i < 2; i++) {
        check_to_server(datapath, world.data(client, frontend), frontend, server);
        check_to_client(datapath, world.data(server, peer), frontend, client);
    }
    for (const FlowEntry& found : datapath.flows()) CHECK(found.established);
    CHECK(datapath.flows().size() == 2);
    CHECK(datapath.reasons() == 0);
    CHECK(datapath.service_counter(1).packets == 7);
}

TEST_CASE("hairpin: by a node port, an external or a load-balancer address, both ways", "[hairpin]") {
    const World world = any_world();
    const auto kind = GENERATE(SVCLB_FRONTEND_NODE_PORT, SVCLB_FRONTEND_EXTERNAL_IP, SVCLB_FRONTEND_LOAD_BALANCER);
    const auto policy = GENERATE(SVCLB_SET_CLUSTER, SVCLB_SET_LOCAL);
    CAPTURE(world, kind, policy);
    Datapath& datapath = fresh_datapath();
    const Endpoint client = world.client();
    const Endpoint server{client.addr, 8080};
    const Endpoint frontend{world.net("10.0.0.1", "fd00:77::1"), 30080};
    const Endpoint peer{frontend.addr, client.port};
    const ServiceFixture service(datapath, 1, frontend, world.proto, {server},
                                 {.kind = kind, .on_node = {server}, .outside_set = policy});

    check_to_server(datapath, world.first(client, frontend), frontend, server);
    check_to_client(datapath, world.answer(server, peer), frontend, client);
    check_to_server(datapath, world.data(client, frontend), frontend, server);
    check_to_client(datapath, world.data(server, peer), frontend, client);
    for (const FlowEntry& found : datapath.flows()) CHECK(found.established);
    CHECK(datapath.flows().size() == 2);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("hairpin: with VLAN tags and headers between IP and transport", "[hairpin]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const Endpoint client = world.client();
    const Endpoint server{client.addr, 8080};
    const Endpoint frontend = world.frontend();
    const ServiceFixture service(datapath, 1, frontend, world.proto, {server});
    const auto shaped = [](Packet packet) {
        packet.vlans = {100};
        packet.ip_options = Bytes(8, 1);
        packet.extensions = {{IPPROTO_DSTOPTS, Bytes(6)}};
        return packet;
    };
    check_to_server(datapath, shaped(world.first(client, frontend)), frontend, server);
    check_to_client(datapath, shaped(world.answer(server, {frontend.addr, client.port})), frontend, client);
}

TEST_CASE("hairpin: its end is followed, and the tuple is free again", "[hairpin]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const Endpoint client = world.client();
    const Endpoint server{client.addr, 8080};
    const Endpoint frontend = world.frontend();
    const Endpoint peer{frontend.addr, client.port};
    ServiceFixture service(datapath, 1, frontend, world.proto, {server});
    check_to_server(datapath, world.first(client, frontend), frontend, server);
    check_to_client(datapath, world.answer(server, peer), frontend, client);
    check_to_server(datapath, tcp(client, frontend, fin | ack), frontend, server);
    check_to_client(datapath, tcp(server, peer, fin | ack), frontend, client);
    for (const FlowEntry& found : datapath.flows()) CHECK((found.flow.client_fin && found.flow.backend_fin));

    service.publish({world.backend()});
    CHECK(establish(datapath, world, client, frontend).backend == world.backend());
}

TEST_CASE("hairpin: a pod spreads over itself and others", "[hairpin]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const Endpoint server{world.client().addr, 8080};
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {server, world.backend()});
    int itself = 0;
    for (std::uint16_t port = 40000; port < 40100; port++) {
        const Packet packet = world.first(world.client(port), world.frontend());
        const Run run = datapath.from_pod(packet);
        CHECK((run.verdict == redirected) == (destination_of(run.frame) == server));
        itself += run.verdict == redirected ? 1 : 0;
    }
    CHECK(itself > 25);
    CHECK(itself < 75);
}

TEST_CASE("hairpin: moves away when the pod itself stops serving", "[hairpin]") {
    const World world = udp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const Endpoint client = world.client();
    const Endpoint server{client.addr, 8080};
    const Endpoint frontend = world.frontend();
    ServiceFixture service(datapath, 1, frontend, world.proto, {server});
    check_to_server(datapath, world.first(client, frontend), frontend, server);
    check_to_client(datapath, world.answer(server, {frontend.addr, client.port}), frontend, client);
    service.publish({world.backend()});
    service.remove_backend(server);
    CHECK(establish(datapath, world, client, frontend).backend == world.backend());
}

TEST_CASE("hairpin: two ports of a Service that lead to one port of the pod are kept apart", "[hairpin]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const Endpoint client = world.client();
    const Endpoint server{client.addr, 8080};
    const Endpoint frontend = world.frontend();
    const Endpoint second{frontend.addr, 81};
    const ServiceFixture service(datapath, 1, frontend, world.proto, {server});
    const ServiceFixture other(datapath, 2, second, world.proto, {server});
    check_to_server(datapath, world.first(client, frontend), frontend, server);
    check_to_client(datapath, world.answer(server, {frontend.addr, client.port}), frontend, client);

    const Run run = datapath.from_pod(world.first(client, second));
    const Endpoint presented = source_of(run.frame);
    CHECK(presented.addr == frontend.addr);
    REQUIRE(presented.port != client.port);
    CHECK_RUN(run, redirected,
              sent_back(with_source(with_destination(world.first(client, second), server), presented)));
    check_to_client(datapath, world.answer(server, presented), second, client);
    check_to_client(datapath, world.data(server, {frontend.addr, client.port}), frontend, client);
}
