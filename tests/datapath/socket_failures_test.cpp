// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Socket hooks: a connect() that the kernel cannot do after the hook has chosen a backend, and sockets of other kinds.
#include <bpf/bpf.h>
#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <vector>

#include "socket_node.hpp"

using namespace svclb::test;

namespace {

// Nobody can be connected to it.
Endpoint impossible(const World& world) {
    return {world.net("255.255.255.255", "fe80::1"), 9};
}

std::uint64_t cookie_of(const Socket& socket) {
    std::uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    REQUIRE(::getsockopt(socket.fd(), SOL_SOCKET, SO_COOKIE, &cookie, &size) == 0);
    return cookie;
}

// As the agent looks for it: whom the hooks remember that the socket dialled when it is connected to `backend`.
bool agent_finds(const Node& node, const Socket& socket, const Endpoint& backend) {
    svclb_socket_peer_key key{};
    key.cookie = cookie_of(socket);
    std::memcpy(key.addr, backend.addr.bytes.data(), sizeof(key.addr));
    key.port = htons(backend.port);
    svclb_peer peer{};
    if (bpf_map_lookup_elem(node.hooks->map("connected_peers"), &key.cookie, &peer) == 0 && peer.port == key.port &&
        std::memcmp(peer.addr, key.addr, sizeof(key.addr)) == 0)
        return true;
    return bpf_map_lookup_elem(node.hooks->map("socket_peers"), &key, &peer) == 0;
}

}  // namespace

TEST_CASE("sockets: a connect() that fails after the hook leaves a UDP socket with whom it was connected to",
          "[sockets]") {
    const World world = udp_world();
    const bool to_frontend = GENERATE(true, false);
    const int tries = GENERATE(1, 6);
    CAPTURE(world, to_frontend, tries);
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(0), world.proto, {server.name()});
    ServiceFixture broken(node.datapath, 2, world.frontend(1), world.proto, {impossible(world)});

    const Socket client(family_of(world), SOCK_DGRAM);
    REQUIRE(client.connect(Address(world.frontend(0))) == 0);
    for (int i = 0; i < tries; i++)
        REQUIRE(client.connect(Address(to_frontend ? world.frontend(1) : impossible(world))) != 0);
    CHECK(client.peer() == world.frontend(0));
    CHECK(agent_finds(node, client, server.name()));
    REQUIRE(client.send("question") == 0);
    answer_one(server, "answer");
    CHECK(client.receive().from == world.frontend(0));
    REQUIRE(client.connect(Address(server.name())) == 0);
    CHECK(client.peer() == server.name());
    CHECK_FALSE(agent_finds(node, client, server.name()));
}

TEST_CASE("sockets: an IPv6 socket's peers of IPv4 are kept as well", "[sockets]") {
    const World world{4, IPPROTO_UDP};
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(0), world.proto, {server.name()});
    ServiceFixture broken(node.datapath, 2, world.frontend(1), world.proto, {impossible(world)});
    const Socket client(AF_INET6, SOCK_DGRAM);
    REQUIRE(client.connect(Address(world.frontend(0), true)) == 0);
    REQUIRE(client.connect(Address(world.frontend(1), true)) != 0);
    CHECK(client.peer() == world.frontend(0));
    CHECK(agent_finds(node, client, server.name()));
}

TEST_CASE("sockets: a connect() that fails after the hook leaves no name behind on a TCP socket", "[sockets]") {
    const World world = tcp_world();
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(0), world.proto, {server.name()});
    ServiceFixture broken(node.datapath, 2, world.frontend(1), world.proto, {impossible(world)});
    const bool through_us = GENERATE(true, false);
    const Endpoint to = through_us ? world.frontend(0) : server.name();
    const Socket client(family_of(world), SOCK_STREAM);
    REQUIRE(client.connect(Address(world.frontend(1))) != 0);
    CHECK(client.peer() == Endpoint{});
    REQUIRE(client.connect(Address(to)) == 0);
    CHECK(client.peer() == to);
}

TEST_CASE("sockets: a TCP socket that was disconnected is named by whom it dials next", "[sockets]") {
    const World world = tcp_world();
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});
    const Socket client(family_of(world), SOCK_STREAM);
    for (const Endpoint& to : {world.frontend(), server.name(), world.frontend()}) {
        REQUIRE(client.connect(Address(to)) == 0);
        CHECK(client.peer() == to);
        CHECK(client.connect(Address(world.frontend())) == EISCONN);
        CHECK(client.peer() == to);
        REQUIRE(client.disconnect() == 0);
    }
}

TEST_CASE("sockets: what was heard before connect() keeps the name of whom it is from", "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    const Socket other = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(0), world.proto, {server.name()});
    ServiceFixture another(node.datapath, 2, world.frontend(1), world.proto, {other.name()});
    const Socket client(family_of(world), SOCK_DGRAM);
    REQUIRE(client.send_to("question", Address(world.frontend(0))) == 0);
    answer_one(server, "answer");
    REQUIRE(client.connect(Address(world.frontend(1))) == 0);
    CHECK(client.receive().from == world.frontend(0));
    CHECK(client.peer() == world.frontend(1));
}

TEST_CASE("sockets: one that is bound, to an address or for one family alone, is translated", "[sockets]") {
    const World world = any_world();
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});
    const Socket client(family_of(world), type_of(world));
    const int yes = 1;
    if (world.family == 6) REQUIRE(::setsockopt(client.fd(), IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes)) == 0);
    const Address at({world.net("127.0.0.1", "::1"), 0});
    REQUIRE(::bind(client.fd(), at.get(), at.size) == 0);
    const std::uint16_t port = client.name().port;
    REQUIRE(client.connect(Address(world.frontend())) == 0);
    CHECK(client.peer() == world.frontend());
    CHECK(client.name().port == port);
}

TEST_CASE("sockets: an IPv6 socket that takes no IPv4 fails at an IPv4 frontend as at any IPv4 address", "[sockets]") {
    const auto proto = GENERATE(int{IPPROTO_TCP}, int{IPPROTO_UDP});
    const World world{4, static_cast<std::uint8_t>(proto)};
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});
    const Socket client(AF_INET6, type_of(world));
    const int yes = 1;
    REQUIRE(::setsockopt(client.fd(), IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes)) == 0);
    const int error = client.connect(Address(server.name(), true));
    CHECK(error != 0);
    CHECK(client.connect(Address(world.frontend(), true)) == error);
}

TEST_CASE("sockets: datagrams that are sent and received several at a time have a name each", "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    const std::array servers = {server_of(world), server_of(world)};
    const ServiceFixture first(node.datapath, 1, world.frontend(0), world.proto, {servers[0].name()});
    const ServiceFixture second(node.datapath, 2, world.frontend(1), world.proto, {servers[1].name()});
    const Socket client(family_of(world), SOCK_DGRAM);

    std::array to = {Address(world.frontend(0)), Address(world.frontend(1))};
    std::array<char, 2> text = {'a', 'b'};
    std::array<iovec, 2> parts{};
    std::array<mmsghdr, 2> messages{};
    for (std::size_t i = 0; i < messages.size(); i++) {
        parts.at(i) = {.iov_base = &text.at(i), .iov_len = 1};
        messages.at(i).msg_hdr.msg_name = to.at(i).get();
        messages.at(i).msg_hdr.msg_namelen = to.at(i).size;
        messages.at(i).msg_hdr.msg_iov = &parts.at(i);
        messages.at(i).msg_hdr.msg_iovlen = 1;
    }
    REQUIRE(::sendmmsg(client.fd(), messages.data(), 2, 0) == 2);
    for (const auto& server : servers) answer_one(server, "x");
    for (auto& message : messages) message.msg_hdr.msg_namelen = sizeof(sockaddr_storage);
    // Both have come: they were sent on this very machine.
    REQUIRE(::recvmmsg(client.fd(), messages.data(), 2, MSG_DONTWAIT, nullptr) == 2);
    for (std::size_t i = 0; i < messages.size(); i++) {
        to.at(i).size = messages.at(i).msg_hdr.msg_namelen;
        CHECK(to.at(i).endpoint() == world.frontend(static_cast<std::uint32_t>(i)));
    }
}

TEST_CASE("sockets: UDP-Lite dials no UDP port", "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});
    const svclb::UniqueFd lite(::socket(family_of(world), SOCK_DGRAM, IPPROTO_UDPLITE));
    if (!lite) SKIP("this kernel has no UDP-Lite");
    const Address to(world.frontend());
    (void)::sendto(lite.get(), "?", 1, 0, to.get(), to.size);
    (void)::connect(lite.get(), to.get(), to.size);
    CHECK(node.datapath.service_counter(1).flows == 0);
}

TEST_CASE("sockets: what the error queue tells of is the backend", "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    const Endpoint closed = server_of(world).name();
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {closed});
    const Socket client(family_of(world), SOCK_DGRAM);
    const int yes = 1;
    const bool v4 = world.family == 4;
    REQUIRE(::setsockopt(client.fd(), v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVERR : IPV6_RECVERR, &yes,
                         sizeof(yes)) == 0);
    REQUIRE(client.send_to("?", Address(world.frontend())) == 0);
    Address from;
    std::array<char, 16> text{};
    iovec part{.iov_base = text.data(), .iov_len = text.size()};
    std::array<char, 512> control{};
    msghdr message{};
    message.msg_name = from.get();
    message.msg_namelen = from.size;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    // The port is closed on this very machine: its answer is there before sendto() returns.
    REQUIRE(::recvmsg(client.fd(), &message, MSG_ERRQUEUE) == 1);
    from.size = message.msg_namelen;
    CHECK(from.endpoint() == closed);
}
