// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Socket hooks: addresses that are no ClusterIPs, as the node dials them (behaviour rows 1.16, 1.22, 1.24 to 1.26), and
// pods as callers.
#include <bpf/bpf.h>

#include <cerrno>
#include <cstring>

#include "ranges.hpp"
#include "socket_node.hpp"

using namespace svclb::test;

namespace {

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
    allow(node.datapath, node_port(world).addr);
    CHECK(dial(Socket(family_of(world), type_of(world))) == 0);
    CHECK(was_refused(node, dial(bound())));
    allow(node.datapath, world.net("127.0.0.1", "::1"));
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

TEST_CASE("sockets: a ClusterIP without a backend here is refused, whatever the policy", "[sockets]") {
    const World world = any_world();
    CAPTURE(world);
    Node node;
    if (!node.hooks->set_errno()) SKIP("this kernel lets no hook refuse a call (it came with 5.18)");
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {},
                           {.set = SVCLB_SET_LOCAL, .verdict_when_empty = SVCLB_VERDICT_DROP});
    mark_cluster_ip(node.datapath, world.frontend().addr);
    CHECK(Socket(family_of(world), type_of(world)).connect(Address(world.frontend())) == ECONNREFUSED);
    CHECK(node.datapath.reason(SVCLB_REASON_NO_LOCAL_BACKEND_DROPPED).packets == 1);
    if (world.tcp_flow()) return;
    CHECK(Socket(family_of(world), SOCK_DGRAM).send_to("?", Address(world.frontend())) == ECONNREFUSED);
    CHECK(node.datapath.reason(SVCLB_REASON_NO_LOCAL_BACKEND_DROPPED).packets == 2);
}

TEST_CASE(
    "sockets: an IPv6 socket's conversation with an IPv4 backend stays, were the backend's address a frontend, too",
    "[sockets]") {
    const World world{4, IPPROTO_UDP};
    Node node;
    set_node_address(node);
    const Socket server = server_of(world);
    const Socket other = server_of(world);
    ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, {server.name()});
    // At loopback addresses the node port is the backend's very address.
    ServiceFixture same(node.datapath, 2, {node_port(world).addr, server.name().port}, world.proto, {other.name()},
                        {.kind = SVCLB_FRONTEND_NODE_PORT});

    const Socket client(AF_INET6, SOCK_DGRAM);
    REQUIRE(client.connect(Address(world.frontend(), true)) == 0);
    REQUIRE(client.send("question") == 0);
    CHECK(node.datapath.service_counter(2).flows == 0);
    answer_one(server, "answer");
    const auto received = client.receive();
    CHECK(received.text == "answer");
    CHECK(received.from == world.frontend());
    // Who is connected to nobody, and names it, dials the frontend.
    const Socket dialling(AF_INET6, SOCK_DGRAM);
    REQUIRE(dialling.send_to("question", Address(server.name(), true)) == 0);
    CHECK(node.datapath.service_counter(2).flows == 1);
}

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
    allow(node.datapath, node_port(world).addr);
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
    allow(node.datapath, world.client().addr);
    CHECK(dial() == ENETUNREACH);
    CHECK(node.datapath.service_counter(1).flows == 1);
}
