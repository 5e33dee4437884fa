// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Socket hooks: the matrix of behaviour rows 1.19 to 1.22 and the table of row 1.16, cell by cell, as processes of the
// node and pods with --pod-sockets meet them. No hook changes a source: a backend sees whom the kernel names.
#include <bpf/bpf.h>
#include <poll.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "socket_node.hpp"

using namespace svclb::test;

namespace {

struct Cell {
    svclb_frontend_kind kind;
    svclb_set policy;

    [[nodiscard]] bool internal() const { return kind == SVCLB_FRONTEND_CLUSTER_IP; }
    // Of an external address node and pods use the Cluster set, whatever its policy.
    [[nodiscard]] svclb_set set() const { return internal() ? policy : SVCLB_SET_CLUSTER; }
    [[nodiscard]] ServiceOptions options() const { return {.set = set(), .kind = kind, .outside_set = policy}; }
};

std::vector<Cell> every_cell() {
    std::vector<Cell> cells;
    for (const auto kind : {SVCLB_FRONTEND_CLUSTER_IP, SVCLB_FRONTEND_NODE_PORT, SVCLB_FRONTEND_EXTERNAL_IP,
                            SVCLB_FRONTEND_LOAD_BALANCER})
        for (const auto policy : {SVCLB_SET_CLUSTER, SVCLB_SET_LOCAL}) cells.push_back({kind, policy});
    return cells;
}

// No masquerading concerns a socket, not even all of it.
void masquerade_all(Datapath& datapath) {
    datapath.masquerade().all = 1;
}

ServiceFixture service_of(const Node& node, const World& world, const Cell& cell) {
    if (cell.internal()) mark_cluster_ip(node.datapath, world.frontend().addr);
    return {node.datapath, 1, world.frontend(), world.proto, {}, cell.options()};
}

// Whom the server has got a connection or a datagram from; waits for twenty seconds at most, then it is nobody.
Endpoint client_at(const World& world, const Socket& server) {
    if (!world.tcp_flow()) return server.receive().from;
    Address from;
    pollfd incoming{.fd = server.fd(), .events = POLLIN, .revents = 0};
    if (::poll(&incoming, 1, 20000) != 1) return {};
    const svclb::UniqueFd accepted(::accept4(server.fd(), from.get(), &from.size, SOCK_CLOEXEC));
    return accepted.get() >= 0 ? from.endpoint() : Endpoint{};
}

enum class Then { refused, forwarded, goes_on };

// Row 1.16: nothing usable anywhere, and policy Local with backends elsewhere only. A call cannot be dropped.
Then verdict_of(const Cell& cell, bool elsewhere, bool pod) {
    if (!elsewhere) return Then::refused;
    if (!cell.internal()) return Then::forwarded;
    return pod ? Then::goes_on : Then::refused;
}

// The Cluster set has `backend` if there is one elsewhere, the Local set never has any.
void publish_verdict(const Node& node, ServiceFixture& service, const Cell& cell, bool elsewhere,
                     const Endpoint& backend) {
    if (elsewhere) service.publish({backend}, SVCLB_SET_CLUSTER);
    node.datapath.service(1).verdicts[SVCLB_SET_LOCAL] =
        elsewhere && cell.policy == SVCLB_SET_LOCAL ? SVCLB_VERDICT_DROP : SVCLB_VERDICT_REJECT;
}

bool serve_this_pod(const Node& node, const Ip& address) {
    const auto cookie = netns_cookie();
    svclb_pod pod{};
    std::memcpy(address.v4() ? pod.v4 : pod.v6, address.bytes.data(), sizeof(pod.v4));
    return bpf_map_update_elem(node.hooks->map("pod_netns"), &cookie, &pod, BPF_ANY) == 0;
}

}  // namespace

TEST_CASE("socket matrix: the node reaches the set that the address has for it, and is seen as the kernel says",
          "[sockets]") {
    const World world = any_world();
    const bool connected = GENERATE(true, false);
    CAPTURE(world, connected);
    if (world.tcp_flow() && !connected) return;
    Node node;
    for (const Cell& cell : every_cell()) {
        CAPTURE(cell.kind, cell.policy);
        node.datapath.clear();
        masquerade_all(node.datapath);
        const std::array<Socket, 2> servers{server_of(world), server_of(world)};
        ServiceFixture service = service_of(node, world, cell);
        for (const auto set : {SVCLB_SET_CLUSTER, SVCLB_SET_LOCAL}) service.publish({servers[set].name()}, set);
        const Socket client(family_of(world), type_of(world));
        if (connected) {
            REQUIRE(client.connect(Address(world.frontend())) == 0);
            CHECK(client.peer() == world.frontend());
            if (!world.tcp_flow()) REQUIRE(client.send("question") == 0);
        } else {
            REQUIRE(client.send_to("question", Address(world.frontend())) == 0);
        }
        const Endpoint seen = client_at(world, servers[cell.set()]);
        CHECK(seen == Endpoint{world.net("127.0.0.1", "::1"), client.name().port});
        CHECK(node.datapath.service_counter(1).flows == 1);
        CHECK(node.datapath.reasons() == 0);
    }
}

TEST_CASE("socket matrix: what becomes of the node's call, in each cell of the table of verdicts", "[sockets]") {
    const World world = any_world();
    CAPTURE(world);
    Node node;
    if (!node.hooks->set_errno()) SKIP("this kernel lets no hook refuse a call (it came with 5.18)");
    const Socket server = server_of(world);
    for (const Cell& cell : every_cell())
        for (const bool elsewhere : {false, true}) {
            if (elsewhere && cell.policy != SVCLB_SET_LOCAL) continue;
            CAPTURE(cell.kind, cell.policy, elsewhere);
            node.datapath.clear();
            ServiceFixture service = service_of(node, world, cell);
            publish_verdict(node, service, cell, elsewhere, server.name());
            const bool refused = verdict_of(cell, elsewhere, false) == Then::refused;
            const int expected = refused ? ECONNREFUSED : 0;
            CHECK(Socket(family_of(world), type_of(world)).connect(Address(world.frontend())) == expected);
            if (!world.tcp_flow())
                CHECK(Socket(family_of(world), SOCK_DGRAM).send_to("?", Address(world.frontend())) == expected);
            const std::uint64_t calls = world.tcp_flow() ? 1 : 2;
            CHECK(node.datapath
                      .reason(elsewhere ? SVCLB_REASON_NO_LOCAL_BACKEND_DROPPED : SVCLB_REASON_NO_BACKEND_REJECTED)
                      .packets == (refused ? calls : 0));
            CHECK(node.datapath.reasons() == (refused ? calls : 0));
        }
}

TEST_CASE("socket matrix: a pod reaches the set that the address has for pods, and is seen as itself", "[sockets]") {
    const World world = tcp_world();
    CAPTURE(world);
    Node node;
    if (netns_cookie() == 0) SKIP("this kernel does not tell a network namespace's cookie (it came with 5.14)");
    const Ip loopback = world.net("127.0.0.1", "::1");
    const std::array<Endpoint, 2> backends{Endpoint{loopback, 8080}, Endpoint{loopback, 8081}};
    for (const Cell& cell : every_cell()) {
        CAPTURE(cell.kind, cell.policy);
        node.datapath.clear();
        masquerade_all(node.datapath);
        ServiceFixture service = service_of(node, world, cell);
        for (const auto set : {SVCLB_SET_CLUSTER, SVCLB_SET_LOCAL}) service.publish({backends[set]}, set);
        const int result = in_pod([&] {
            if (!serve_this_pod(node, world.client().addr)) return 1;
            const Socket server(family_of(world), SOCK_STREAM);
            const Address at(backends[cell.set()]);
            if (::bind(server.fd(), at.get(), at.size) != 0 || ::listen(server.fd(), 1) != 0) return 2;
            const Socket client(family_of(world), SOCK_STREAM);
            if (client.connect(Address(world.frontend())) != 0) return 3;
            if (client.peer() != world.frontend()) return 4;
            return client_at(world, server) == Endpoint{loopback, client.name().port} ? 0 : 5;
        });
        CHECK(result == 0);
        CHECK(node.datapath.service_counter(1).flows == 1);
    }
}

TEST_CASE("socket matrix: what becomes of a pod's call, in each cell of the table of verdicts", "[sockets]") {
    const World world = tcp_world();
    CAPTURE(world);
    Node node;
    if (!node.hooks->set_errno()) SKIP("this kernel lets no hook refuse a call (it came with 5.18)");
    const Endpoint backend{world.net("127.0.0.1", "::1"), 8080};
    for (const Cell& cell : every_cell())
        for (const bool elsewhere : {false, true}) {
            if (elsewhere && cell.policy != SVCLB_SET_LOCAL) continue;
            CAPTURE(cell.kind, cell.policy, elsewhere);
            node.datapath.clear();
            ServiceFixture service = service_of(node, world, cell);
            publish_verdict(node, service, cell, elsewhere, backend);
            const int error = in_pod([&] {
                if (!serve_this_pod(node, world.client().addr)) return 1;
                const Socket server(family_of(world), SOCK_STREAM);
                const Address at(backend);
                if (::bind(server.fd(), at.get(), at.size) != 0 || ::listen(server.fd(), 1) != 0) return 1;
                return Socket(family_of(world), SOCK_STREAM).connect(Address(world.frontend()));
            });
            switch (verdict_of(cell, elsewhere, true)) {
                case Then::refused:
                    CHECK(error == ECONNREFUSED);
                    CHECK(node.datapath.reason(SVCLB_REASON_NO_BACKEND_REJECTED).packets == 1);
                    break;
                case Then::goes_on:
                    // As a packet, which its link drops; here it has no route.
                    CHECK(error == ENETUNREACH);
                    CHECK(node.datapath.reasons() == 0);
                    break;
                case Then::forwarded:
                    CHECK(error == 0);
                    CHECK(node.datapath.reasons() == 0);
                    break;
            }
        }
}
