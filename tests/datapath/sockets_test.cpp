// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Real sockets through the socket hooks: what they reach, and what they are told of it.
#include <bpf/bpf.h>
#include <netinet/tcp.h>

#include <array>
#include <cerrno>
#include <map>
#include <set>
#include <vector>

#include "socket_node.hpp"

using namespace svclb::test;

TEST_CASE("sockets: what connects to a frontend reaches a backend, and its peer is the frontend", "[sockets]") {
    const World world = any_world();
    const bool learn_netns = GENERATE(false, true);
    CAPTURE(world, learn_netns);
    Node node({.learn_netns = learn_netns});
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});

    const Socket client(family_of(world), type_of(world));
    REQUIRE(client.connect(Address(world.frontend())) == 0);
    CHECK(client.peer() == world.frontend());
    CHECK(node.datapath.service_counter(1).flows == 1);
    CHECK(node.datapath.backend_counter(service.id_of(server.name())).flows == 1);
    if (world.tcp_flow()) return;
    REQUIRE(client.send("question") == 0);
    CHECK(answer_one(server, "answer") == client.name());
    const auto received = client.receive();
    CHECK(received.text == "answer");
    CHECK(received.from == world.frontend());
}

TEST_CASE("sockets: an IPv4 frontend in an IPv6 socket stays an IPv4-mapped one", "[sockets]") {
    const auto proto = GENERATE(int{IPPROTO_TCP}, int{IPPROTO_UDP});
    const World world{4, static_cast<std::uint8_t>(proto)};
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});
    const Address frontend(world.frontend(), true);

    const Socket connected(AF_INET6, type_of(world));
    REQUIRE(connected.connect(frontend) == 0);
    CHECK(connected.peer() == world.frontend());
    if (world.tcp_flow()) return;
    const Socket unconnected(AF_INET6, SOCK_DGRAM);
    REQUIRE(unconnected.send_to("question", frontend) == 0);
    answer_one(server, "answer");
    CHECK(unconnected.receive().from == world.frontend());
}

TEST_CASE("sockets: each datagram of an unconnected socket has the frontend as its sender, and nobody else's has",
          "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    const Socket stranger = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});

    const Socket client(family_of(world), SOCK_DGRAM);
    for (int i = 0; i < 3; i++) {
        REQUIRE(client.send_to("question", Address(world.frontend())) == 0);
        const Endpoint asked = answer_one(server, "answer");
        CHECK(client.receive().from == world.frontend());
        REQUIRE(stranger.send_to("who am I", Address(asked)) == 0);
        CHECK(client.receive().from == stranger.name());
    }
    CHECK(node.datapath.service_counter(1).flows == 1);
}

TEST_CASE("sockets: a backend that is dialled itself after its frontend answers in its own name", "[sockets]") {
    const World world = udp_world();
    const bool connected = GENERATE(false, true);
    CAPTURE(world, connected);
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});

    const Socket client(family_of(world), SOCK_DGRAM);
    if (connected) {
        REQUIRE(client.connect(Address(world.frontend())) == 0);
        REQUIRE(client.disconnect() == 0);
        CHECK(client.peer() == Endpoint{});
        REQUIRE(client.connect(Address(server.name())) == 0);
        CHECK(client.peer() == server.name());
        REQUIRE(client.send("question") == 0);
    } else {
        REQUIRE(client.send_to("question", Address(world.frontend())) == 0);
        answer_one(server, "answer");
        CHECK(client.receive().from == world.frontend());
        REQUIRE(client.send_to("question", Address(server.name())) == 0);
    }
    answer_one(server, "answer");
    CHECK(client.receive().from == server.name());
}

TEST_CASE("sockets: a disconnected socket that sends to its old backend is answered by it", "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});
    const Socket client(family_of(world), SOCK_DGRAM);
    REQUIRE(client.connect(Address(world.frontend())) == 0);
    REQUIRE(client.disconnect() == 0);
    REQUIRE(client.send_to("question", Address(server.name())) == 0);
    answer_one(server, "answer");
    CHECK(client.receive().from == server.name());
}

TEST_CASE("sockets: without a backend, and on a port that the ClusterIP has not, the call is refused", "[sockets]") {
    const World world = any_world();
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {});
    mark_cluster_ip(node.datapath, world.frontend().addr);
    const Endpoint unknown{world.frontend().addr, 81};

    CHECK(was_refused(node, Socket(family_of(world), type_of(world)).connect(Address(world.frontend()))));
    CHECK(was_refused(node, Socket(family_of(world), type_of(world)).connect(Address(unknown))));
    if (!world.tcp_flow()) {
        CHECK(was_refused(node, Socket(family_of(world), SOCK_DGRAM).send_to("?", Address(world.frontend()))));
    }
    if (!node.hooks->set_errno()) return;
    CHECK(node.datapath.reason(SVCLB_REASON_NO_BACKEND_REJECTED).packets == (world.tcp_flow() ? 1 : 2));
    CHECK(node.datapath.reason(SVCLB_REASON_UNKNOWN_PORT_REJECTED).packets == 1);
}

TEST_CASE("sockets: a refused connect() leaves the socket's conversation as it was", "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    if (!node.hooks->set_errno()) SKIP("this kernel lets no hook refuse a call (it came with 5.18)");
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(0), world.proto, {server.name()});
    ServiceFixture empty(node.datapath, 2, world.frontend(1), world.proto, {});
    const Socket client(family_of(world), SOCK_DGRAM);
    REQUIRE(client.connect(Address(world.frontend(0))) == 0);
    REQUIRE(client.connect(Address(world.frontend(1))) == ECONNREFUSED);
    CHECK(client.peer() == world.frontend(0));
}

TEST_CASE("sockets: TCP Fast Open and connect() that does not wait are translated", "[sockets]") {
    const World world = tcp_world();
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});
    const Socket fast(family_of(world), SOCK_STREAM);
    REQUIRE(fast.send_to("question", Address(world.frontend()), MSG_FASTOPEN) == 0);
    CHECK(fast.peer() == world.frontend());
    const Socket patient(family_of(world), SOCK_STREAM | SOCK_NONBLOCK);
    const int begun = patient.connect(Address(world.frontend()));
    CHECK((begun == 0 || begun == EINPROGRESS));
    CHECK(node.datapath.service_counter(1).flows == 2);
}

TEST_CASE("sockets: another network namespace's are left alone", "[sockets]") {
    const World world = any_world();
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});
    CHECK(in_pod([&] {
              const Socket socket(family_of(world), type_of(world));
              return socket.connect(Address(world.frontend()));
          }) == ENETUNREACH);
    CHECK(node.datapath.service_counter(1).flows == 0);
}

TEST_CASE("sockets: an unconnected socket moves with its next datagram when its backend left", "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    const Socket old_server = server_of(world);
    const Socket new_server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {old_server.name()});
    const Socket client(family_of(world), SOCK_DGRAM);
    REQUIRE(client.send_to("question", Address(world.frontend())) == 0);
    const Endpoint asked = answer_one(old_server, "answer");
    CHECK(client.receive().from == world.frontend());
    service.publish({new_server.name()});
    service.remove_backend(old_server.name());

    REQUIRE(client.send_to("question", Address(world.frontend())) == 0);
    answer_one(new_server, "moved");
    CHECK(client.receive().text == "moved");
    // It still comes from the frontend that was asked.
    REQUIRE(old_server.send_to("late", Address(asked)) == 0);
    CHECK(client.receive().from == world.frontend());
}

TEST_CASE("sockets: a draining backend keeps its unconnected sockets", "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    const Socket draining = server_of(world);
    const Socket other = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {draining.name()});
    const Socket client(family_of(world), SOCK_DGRAM);
    REQUIRE(client.send_to("question", Address(world.frontend())) == 0);
    answer_one(draining, "answer");
    CHECK(client.receive().text == "answer");
    service.publish({other.name()});
    service.drain(draining.name());
    REQUIRE(client.send_to("question", Address(world.frontend())) == 0);
    answer_one(draining, "still here");
    CHECK(client.receive().text == "still here");
}

namespace {

// As if that much time had passed since the socket's peers were last written down.
void let_pass(const Node& node, const Socket& client, std::uint32_t ms) {
    const int fd = client.fd();
    svclb_socket row{};
    REQUIRE(bpf_map_lookup_elem(node.hooks->map("sockets"), &fd, &row) == 0);
    for (auto& peer : row.peers) peer.sent_ms -= ms;
    REQUIRE(bpf_map_update_elem(node.hooks->map("sockets"), &fd, &row, BPF_EXIST) == 0);
}

// Sixteen backends. One in 16^8 chances that eight tries in a row meet the silent one.
struct Backends {
    std::vector<Socket> servers;
    std::vector<Endpoint> names;

    explicit Backends(const World& world) {
        for (int i = 0; i < 16; i++) {
            servers.push_back(server_of(world));
            names.push_back(servers.back().name());
        }
    }
    // Who has been asked since the last look.
    [[nodiscard]] std::set<std::size_t> reached() const {
        std::set<std::size_t> heard;
        for (std::size_t i = 0; i < servers.size(); i++) {
            std::array<char, 16> text{};
            while (::recv(servers[i].fd(), text.data(), text.size(), MSG_DONTWAIT) > 0) heard.insert(i);
        }
        return heard;
    }
};

}  // namespace

TEST_CASE("sockets: a question that is asked again after a while without an answer goes to another backend",
          "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    const Backends backends(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, backends.names);
    const Socket client(family_of(world), SOCK_DGRAM);
    REQUIRE(client.send_to("question", Address(world.frontend())) == 0);
    const auto first = backends.reached();
    CHECK(first.size() == 1);
    let_pass(node, client, 500);
    REQUIRE(client.send_to("question", Address(world.frontend())) == 0);
    const auto second = backends.reached();
    CHECK(second.size() == 1);
    CHECK(first != second);
}

TEST_CASE("sockets: a backend that has answered is left when it is silent for long, however often it is asked",
          "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    const Backends backends(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, backends.names);
    const Socket client(family_of(world), SOCK_DGRAM);
    const auto ask = [&] {
        REQUIRE(client.send_to("question", Address(world.frontend())) == 0);
        return backends.reached();
    };
    REQUIRE(client.send_to("question", Address(world.frontend())) == 0);
    for (const auto& server : backends.servers) {
        std::array<char, 16> text{};
        Address from;
        if (::recvfrom(server.fd(), text.data(), text.size(), MSG_DONTWAIT, from.get(), &from.size) > 0)
            REQUIRE(server.send_to("answer", from) == 0);
    }
    REQUIRE(client.receive().text == "answer");
    let_pass(node, client, 60'000);
    const auto stays = ask();  // it was heard: the pause was the client's
    CHECK(stays.size() == 1);
    let_pass(node, client, 2'000);
    CHECK(ask() == stays);
    let_pass(node, client, 4'000);
    CHECK(ask() != stays);
}

TEST_CASE(
    "sockets: one that is connected keeps its backend, however silent, also where it names the frontend each time",
    "[sockets]") {
    const World world = udp_world();
    const bool mapped = world.family == 4 && GENERATE(false, true);
    CAPTURE(world, mapped);
    Node node;
    const Backends backends(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, backends.names);
    const Socket client(mapped ? AF_INET6 : family_of(world), SOCK_DGRAM);
    const Address frontend(world.frontend(), mapped);
    REQUIRE(client.connect(frontend) == 0);
    REQUIRE(client.send("question") == 0);
    const auto first = backends.reached();
    CHECK(first.size() == 1);
    for (int i = 0; i < 4; i++) {
        let_pass(node, client, 60'000);
        REQUIRE(client.send_to("question", frontend) == 0);
        CHECK(backends.reached() == first);
    }
}

TEST_CASE("sockets: one socket may talk to any number of frontends", "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    constexpr std::uint32_t kFrontends = 7;  // more than a socket keeps by itself
    Node node;
    std::vector<Socket> servers;
    std::vector<ServiceFixture> services;
    services.reserve(kFrontends);
    const Socket client(family_of(world), SOCK_DGRAM);
    Endpoint asked;
    for (std::uint32_t i = 0; i < kFrontends; i++) {
        servers.push_back(server_of(world));
        services.emplace_back(node.datapath, i + 1, world.frontend(i), world.proto,
                              std::vector<Endpoint>{servers.back().name()});
        REQUIRE(client.send_to("question", Address(world.frontend(i))) == 0);
        asked = servers.back().receive().from;
    }
    for (std::uint32_t i = 0; i < kFrontends; i++) {
        CAPTURE(i);
        REQUIRE(servers[i].send_to("answer", Address(asked)) == 0);
        CHECK(client.receive().from == world.frontend(i));
    }
}

TEST_CASE("sockets: whom a UDP socket is connected to is shown for as long as it is", "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    const Socket other = server_of(world);
    const ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});
    const ServiceFixture another(node.datapath, 2, world.frontend(1), world.proto, {other.name()});
    const auto shown = [map = node.hooks->map("connected_peers")] {
        std::vector<std::uint16_t> ports;
        for (const auto cookie : keys_of<std::uint64_t>(map)) {
            svclb_peer peer{};
            REQUIRE(bpf_map_lookup_elem(map, &cookie, &peer) == 0);
            ports.push_back(ntohs(peer.port));
        }
        return ports;
    };
    using Ports = std::vector<std::uint16_t>;

    std::optional<Socket> client(std::in_place, family_of(world), SOCK_DGRAM);
    REQUIRE(client->connect(Address(world.frontend())) == 0);
    CHECK(shown() == Ports{server.name().port});
    // Other sockets have more peers than there is room for.
    for (svclb_socket_peer_key key{}; key.cookie < 70000; key.cookie++) {
        const svclb_peer peer{};
        REQUIRE(bpf_map_update_elem(node.hooks->map("socket_peers"), &key, &peer, BPF_ANY) == 0);
    }
    CHECK(shown() == Ports{server.name().port});
    REQUIRE(client->connect(Address(world.frontend(1))) == 0);
    CHECK(shown() == Ports{other.name().port});
    REQUIRE(client->connect(Address(other.name())) == 0);
    CHECK(shown().empty());
    REQUIRE(client->connect(Address(world.frontend())) == 0);
    CHECK(shown() == Ports{server.name().port});
    client.reset();
    CHECK(shown().empty());
}

TEST_CASE("sockets: with session affinity all of a network namespace's sockets go to one backend", "[sockets]") {
    const World world = any_world();
    CAPTURE(world);
    Node node;
    // Without it, 24 sockets would meet one of eight by one in 8^23 chances.
    std::vector<Socket> servers;
    std::vector<Endpoint> backends;
    for (int i = 0; i < 8; i++) {
        servers.push_back(server_of(world));
        backends.push_back(servers.back().name());
    }
    const std::uint32_t affinity_s = GENERATE(0U, 3600U);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, backends, {.affinity_s = affinity_s});
    for (int i = 0; i < 24; i++) {
        const Socket client(family_of(world), type_of(world));
        REQUIRE(client.connect(Address(world.frontend())) == 0);
    }
    std::size_t used = 0;
    for (const auto& backend : backends) used += node.datapath.backend_counter(service.id_of(backend)).flows != 0;
    if (affinity_s == 0)
        CHECK(used > 1);
    else
        CHECK(used == 1);
}
