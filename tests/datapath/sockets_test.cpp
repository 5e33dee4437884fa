// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Real sockets through the socket hooks: what they reach, and what they are told of it.
#include <bpf/bpf.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "socket_hooks.hpp"
#include "world.hpp"

using namespace svclb::test;

namespace {

// The hooks on top of empty tables.
struct Node {
    Datapath& datapath = fresh_datapath();
    std::optional<SocketHooks> hooks;

    explicit Node(const HookOptions& options = {}) {
        try {
            hooks.emplace(datapath, options);
        } catch (const NotPermitted& reason) {
            SKIP(reason.what());
        }
    }
};

int type_of(const World& world) {
    return world.tcp_flow() ? SOCK_STREAM : SOCK_DGRAM;
}
int family_of(const World& world) {
    return world.family == 4 ? AF_INET : AF_INET6;
}
Socket server_of(const World& world) {
    return serve(world.net("127.0.0.1", "::1"), type_of(world));
}

// Where the kernel cannot be told what a call fails with, the call goes on, to an address that nobody has.
bool was_refused(const Node& node, int error) {
    return node.hooks->set_errno() ? error == ECONNREFUSED : error != EPERM && error != EACCES;
}

// Addresses that nobody has here: what is not translated reaches nobody.
Endpoint external(const World& world) {
    return {world.net("198.51.100.7", "2001:db8:100::7"), 30080};
}
Endpoint node_port(const World& world) {
    return {world.net("192.0.2.1", "2001:db8::1"), 30080};
}

// As the agent tells what the node's own address is.
void set_node_address(const Node& node) {
    auto& row = node.datapath.node_addresses();
    std::memcpy(row.v4, ip("192.0.2.1").bytes.data(), sizeof(row.v4));
    std::memcpy(row.v6, ip("2001:db8::1").bytes.data(), sizeof(row.v6));
}

// `address` alone may dial service port 1.
void allow(const Node& node, const Ip& address) {
    svclb_source_range key{};
    key.prefix = SVCLB_SOURCE_RANGE_SERVICE_BITS + 128;
    key.service = 1;
    std::memcpy(key.addr, address.bytes.data(), sizeof(key.addr));
    const std::uint32_t yes = 1;
    REQUIRE(bpf_map_update_elem(node.datapath.map("source_ranges"), &key, &yes, BPF_ANY) == 0);
}

// A pod, as far as a socket can tell: a network namespace of its own with its loopback device on, by a child process
// that runs `act` in it, and ends with what that returns.
template <class Act>
int in_pod(const Act& act) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        if (::unshare(CLONE_NEWNET) != 0) ::_exit(77);
        const Socket any(AF_INET, SOCK_DGRAM);
        ifreq request{};
        std::strcpy(static_cast<char*>(request.ifr_name), "lo");
        request.ifr_flags = IFF_UP;
        ::_exit(::ioctl(any.fd(), SIOCSIFFLAGS, &request) != 0 ? 77 : act());
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) SKIP("no network namespace can be made");
    return WEXITSTATUS(status);
}

// Answers one datagram; whom it came from.
Endpoint answer_one(const Socket& server, const std::string& text) {
    const auto asked = server.receive();
    if (!asked.text.empty()) (void)server.send_to(text, Address(asked.from));
    return asked.from;
}

}  // namespace

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

TEST_CASE("sockets: a question that is asked again after a while without an answer goes to another backend",
          "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    // One in 16^8 chances that eight tries in a row meet the silent one.
    std::vector<Socket> servers;
    std::vector<Endpoint> backends;
    for (int i = 0; i < 16; i++) {
        servers.push_back(server_of(world));
        backends.push_back(servers.back().name());
    }
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, backends);
    const auto reached = [&servers] {
        std::set<std::size_t> heard;
        for (std::size_t i = 0; i < servers.size(); i++) {
            std::array<char, 16> text{};
            while (::recv(servers[i].fd(), text.data(), text.size(), MSG_DONTWAIT) > 0) heard.insert(i);
        }
        return heard;
    };
    const Socket client(family_of(world), SOCK_DGRAM);
    REQUIRE(client.send_to("question", Address(world.frontend())) == 0);
    const auto first = reached();
    CHECK(first.size() == 1);
    ::usleep(2'100'000);
    REQUIRE(client.send_to("question", Address(world.frontend())) == 0);
    const auto second = reached();
    CHECK(second.size() == 1);
    CHECK(first != second);
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

TEST_CASE("sockets: node ports, external and load-balancer addresses are served as ClusterIPs are", "[sockets]") {
    const World world = any_world();
    const auto kind = GENERATE(SVCLB_FRONTEND_NODE_PORT, SVCLB_FRONTEND_EXTERNAL_IP, SVCLB_FRONTEND_LOAD_BALANCER);
    CAPTURE(world, kind);
    Node node;
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, external(world), world.proto, {server.name()}, {.kind = kind});

    const Socket client(family_of(world), type_of(world));
    REQUIRE(client.connect(Address(external(world))) == 0);
    CHECK(client.peer() == external(world));
    CHECK(node.datapath.service_counter(1).flows == 1);
    if (world.tcp_flow()) return;
    const Socket unconnected(AF_INET6, SOCK_DGRAM);
    REQUIRE(unconnected.send_to("question", Address(external(world), true)) == 0);
    answer_one(server, "answer");
    CHECK(unconnected.receive().from == external(world));
}

TEST_CASE("sockets: of an external address only the very port is ours", "[sockets]") {
    const World world = any_world();
    CAPTURE(world);
    Node node;
    const Socket server = server_of(world);
    const Endpoint frontend{server.name().addr, static_cast<std::uint16_t>(server.name().port ^ 1U)};
    ServiceFixture service(node.datapath, 1, frontend, world.proto, {}, {.kind = SVCLB_FRONTEND_EXTERNAL_IP});
    const Socket client(family_of(world), type_of(world));
    REQUIRE(client.connect(Address(server.name())) == 0);
    CHECK(client.peer() == server.name());
    CHECK(node.datapath.reasons() == 0);
}

TEST_CASE("sockets: a node port is served at loopback addresses, too, and an external address is not", "[sockets]") {
    const World world = any_world();
    const auto kind = GENERATE(SVCLB_FRONTEND_NODE_PORT, SVCLB_FRONTEND_EXTERNAL_IP);
    const auto* loopback = GENERATE("127.0.0.1", "127.1.2.3");
    CAPTURE(world, kind, loopback);
    Node node;
    set_node_address(node);
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, node_port(world), world.proto, {server.name()}, {.kind = kind});

    const Endpoint to{world.net(loopback, "::1"), 30080};
    const Socket client(family_of(world), type_of(world));
    const int error = client.connect(Address(to));
    const bool served = kind == SVCLB_FRONTEND_NODE_PORT;
    CHECK(error == (world.tcp_flow() && !served ? ECONNREFUSED : 0));
    CHECK(node.datapath.service_counter(1).flows == (served ? 1 : 0));
    if (served) CHECK(client.peer() == to);
}

TEST_CASE("sockets: only who is in a load balancer's source ranges may dial it from the node", "[sockets]") {
    const World world = any_world();
    CAPTURE(world);
    Node node;
    set_node_address(node);
    const Socket server = server_of(world);
    ServiceFixture service(node.datapath, 1, external(world), world.proto, {server.name()},
                           {.kind = SVCLB_FRONTEND_LOAD_BALANCER, .source_ranges = true});
    const auto dial = [&world](const Socket& client) { return client.connect(Address(external(world))); };
    const auto bound = [&world] {
        Socket client(family_of(world), type_of(world));
        const Address at({world.net("127.0.0.1", "::1"), 0});
        REQUIRE(::bind(client.fd(), at.get(), at.size) == 0);
        return client;
    };

    CHECK(was_refused(node, dial(Socket(family_of(world), type_of(world)))));
    CHECK(was_refused(node, dial(bound())));
    CHECK(node.datapath.reason(SVCLB_REASON_SOURCE_RANGE_DROPPED).packets == (node.hooks->set_errno() ? 2 : 0));
    CHECK(node.datapath.service_counter(1).flows == 0);
    allow(node, node_port(world).addr);
    CHECK(dial(Socket(family_of(world), type_of(world))) == 0);
    CHECK(was_refused(node, dial(bound())));
    allow(node, world.net("127.0.0.1", "::1"));
    CHECK(dial(bound()) == 0);
}

TEST_CASE("sockets: an external address without a backend is refused, whatever the policy", "[sockets]") {
    const World world = any_world();
    const auto verdict = GENERATE(SVCLB_VERDICT_REJECT, SVCLB_VERDICT_DROP);
    CAPTURE(world, verdict);
    Node node;
    if (!node.hooks->set_errno()) SKIP("this kernel lets no hook refuse a call (it came with 5.18)");
    ServiceFixture service(
        node.datapath, 1, external(world), world.proto, {},
        {.set = SVCLB_SET_LOCAL, .verdict_when_empty = verdict, .kind = SVCLB_FRONTEND_LOAD_BALANCER});
    CHECK(Socket(family_of(world), type_of(world)).connect(Address(external(world))) == ECONNREFUSED);
    CHECK(node.datapath.reasons() == 1);
}

namespace {

// As the agent makes it, of the caller's network namespace.
bool serve_this_pod(const Node& node, const svclb_pod& pod) {
    const auto cookie = netns_cookie();
    return bpf_map_update_elem(node.hooks->map("pod_netns"), &cookie, &pod, BPF_ANY) == 0;
}

svclb_pod pod_with(const Ip& address) {
    svclb_pod pod{};
    std::memcpy(address.v4() ? pod.v4 : pod.v6, address.bytes.data(), sizeof(pod.v4));
    return pod;
}

}  // namespace

TEST_CASE("sockets: a pod that is to be served is, over TCP, and as the client that its address says", "[sockets]") {
    const World world = any_world();
    const bool knows_address = GENERATE(true, false);
    CAPTURE(world, knows_address);
    Node node;
    if (netns_cookie() == 0) SKIP("this kernel does not tell a network namespace's cookie (it came with 5.14)");
    const Endpoint backend{world.net("127.0.0.1", "::1"), 8080};
    const ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {backend}, {.affinity_s = 60});
    const Ip own = world.client().addr;
    const Ip of_other_family = world.family == 4 ? ip("fd00::1") : ip("10.0.0.1");
    const int result = in_pod([&] {
        if (!serve_this_pod(node, pod_with(knows_address ? own : of_other_family))) return 1;
        const Socket server(family_of(world), type_of(world));
        const Address at(backend);
        if (::bind(server.fd(), at.get(), at.size) != 0) return 2;
        if (world.tcp_flow() && ::listen(server.fd(), 1) != 0) return 3;
        const Socket client(family_of(world), type_of(world));
        if (client.connect(Address(world.frontend())) != 0) return 4;
        return client.peer() == world.frontend() ? 0 : 5;
    });
    // What is left to its packets has no route here.
    const bool served = world.tcp_flow() && knows_address;
    CHECK(result == (served ? 0 : 4));
    CHECK(node.datapath.service_counter(1).flows == (served ? 1 : 0));
    svclb_affinity_key key{.client = {}, .service = 1};
    std::memcpy(key.client, own.bytes.data(), sizeof(key.client));
    svclb_affinity last{};
    CHECK((bpf_map_lookup_elem(node.datapath.map("affinity"), &key, &last) == 0) == served);
}

TEST_CASE("sockets: a pod's loopback addresses are its own", "[sockets]") {
    const World world = tcp_world();
    CAPTURE(world);
    Node node;
    if (netns_cookie() == 0) SKIP("this kernel does not tell a network namespace's cookie (it came with 5.14)");
    set_node_address(node);
    const ServiceFixture service(node.datapath, 1, node_port(world), world.proto, {world.backend()},
                                 {.kind = SVCLB_FRONTEND_NODE_PORT});
    const int error = in_pod([&] {
        if (!serve_this_pod(node, pod_with(world.client().addr))) return 1;
        const Endpoint to{world.net("127.0.0.1", "::1"), 30080};
        return Socket(family_of(world), type_of(world)).connect(Address(to));
    });
    CHECK(error == ECONNREFUSED);
    CHECK(node.datapath.service_counter(1).flows == 0);
}

TEST_CASE("sockets: a pod's own address is what a load balancer's source ranges are asked for", "[sockets]") {
    const World world = tcp_world();
    CAPTURE(world);
    Node node;
    if (netns_cookie() == 0) SKIP("this kernel does not tell a network namespace's cookie (it came with 5.14)");
    set_node_address(node);
    allow(node, node_port(world).addr);
    const ServiceFixture service(node.datapath, 1, external(world), world.proto, {world.backend()},
                                 {.kind = SVCLB_FRONTEND_LOAD_BALANCER, .source_ranges = true});
    const auto dial = [&] {
        return in_pod([&] {
            if (!serve_this_pod(node, pod_with(world.client().addr))) return 1;
            return Socket(family_of(world), type_of(world)).connect(Address(external(world)));
        });
    };
    CHECK(dial() == ENETUNREACH);
    CHECK(node.datapath.service_counter(1).flows == 0);
    allow(node, world.client().addr);
    CHECK(dial() == ENETUNREACH);
    CHECK(node.datapath.service_counter(1).flows == 1);
}
