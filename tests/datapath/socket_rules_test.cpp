// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Socket hooks: the choice of a backend is by the rules of packets, in whatever way a socket names a frontend.
#include <cerrno>
#include <cstdint>
#include <numeric>
#include <vector>

#include "socket_node.hpp"

using namespace svclb::test;

namespace {

struct Way {
    World world;
    bool mapped = false;     // an IPv6 socket that names an IPv4 frontend
    bool connected = false;  // by connect(); else by sendto()
};

std::string to_string(const Way& way) {
    return to_string(way.world) + (way.mapped ? " mapped" : "") + (way.connected ? " connect" : " sendto");
}

Way any_way() {
    const World world = any_world();
    const bool mapped = world.family == 4 && GENERATE(false, true);
    const bool connected = world.tcp_flow() || GENERATE(false, true);
    return {world, mapped, connected};
}

// A new socket that names the service port. Whether its backend is listening does not matter to the choice.
Socket dial(const Way& way) {
    Socket client(way.mapped ? AF_INET6 : family_of(way.world), type_of(way.world) | SOCK_NONBLOCK);
    const Address to(way.world.frontend(), way.mapped);
    if (way.connected) {
        const int error = client.connect(to);
        CHECK((error == 0 || error == EINPROGRESS));
    } else {
        CHECK(client.send_to("question", to) == 0);
    }
    return client;
}

struct Backends {
    std::vector<Socket> servers;
    std::vector<Endpoint> names;

    Backends(const World& world, int count) {
        for (int i = 0; i < count; i++) {
            servers.push_back(server_of(world));
            names.push_back(servers.back().name());
        }
    }
};

// By backend: how many sockets have chosen it.
std::vector<std::uint64_t> chosen(const Node& node, const ServiceFixture& service, const Backends& backends) {
    std::vector<std::uint64_t> flows;
    for (const auto& name : backends.names) flows.push_back(node.datapath.backend_counter(service.id_of(name)).flows);
    return flows;
}

}  // namespace

TEST_CASE("sockets: each choice is counted once, by service port and backend", "[sockets]") {
    const Way way = any_way();
    CAPTURE(to_string(way));
    Node node;
    const Backends backends(way.world, 2);
    const ServiceFixture service(node.datapath, 1, way.world.frontend(), way.world.proto, backends.names);
    for (int i = 0; i < 10; i++) {
        const Socket client = dial(way);
        if (!way.connected) CHECK(client.send_to("more", Address(way.world.frontend(), way.mapped)) == 0);
    }
    CHECK(node.datapath.service_counter(1).flows == 10);
    const auto flows = chosen(node, service, backends);
    CHECK(std::accumulate(flows.begin(), flows.end(), std::uint64_t{0}) == 10);
}

// By chance the lighter of two misses 400 sockets in one of 10^11 runs; more of the shares is not asked for.
TEST_CASE("sockets: weights are heard", "[sockets]") {
    const Way way = any_way();
    const auto algorithm = GENERATE(SVCLB_ALGORITHM_RANDOM, SVCLB_ALGORITHM_MAGLEV);
    CAPTURE(to_string(way), algorithm);
    Node node;
    const Backends backends(way.world, 2);
    ServiceFixture service(node.datapath, 1, way.world.frontend(), way.world.proto, backends.names,
                           {.algorithm = algorithm});
    std::vector<Endpoint> slots(15, backends.names[0]);
    slots.push_back(backends.names[1]);
    service.publish(slots);
    for (int i = 0; i < 400; i++) (void)dial(way);
    const auto flows = chosen(node, service, backends);
    CHECK(flows[0] > 3 * flows[1]);
    CHECK(flows[1] > 0);
}

TEST_CASE("sockets: a draining backend gets no new socket", "[sockets]") {
    const Way way = any_way();
    CAPTURE(to_string(way));
    Node node;
    const Backends backends(way.world, 2);
    ServiceFixture service(node.datapath, 1, way.world.frontend(), way.world.proto, backends.names);
    service.publish({backends.names[1]});
    service.drain(backends.names[0]);
    for (int i = 0; i < 20; i++) (void)dial(way);
    CHECK(chosen(node, service, backends) == std::vector<std::uint64_t>{0, 20});
}

TEST_CASE("sockets: with policy Local a socket meets the backends of the node", "[sockets]") {
    const Way way = any_way();
    CAPTURE(to_string(way));
    Node node;
    const Backends backends(way.world, 2);
    ServiceFixture service(node.datapath, 1, way.world.frontend(), way.world.proto, {backends.names[0]},
                           {.set = SVCLB_SET_LOCAL});
    service.publish(backends.names, SVCLB_SET_CLUSTER);
    for (int i = 0; i < 20; i++) (void)dial(way);
    CHECK(chosen(node, service, backends).at(0) == 20);
}

// Without it, 32 sockets would meet one of eight backends in one of 8^31 runs.
TEST_CASE("sockets: session affinity knows a client by whatever way it comes", "[sockets]") {
    const World world = udp_world();
    CAPTURE(world);
    Node node;
    const Backends backends(world, 8);
    const ServiceFixture service(node.datapath, 1, world.frontend(), world.proto, backends.names, {.affinity_s = 3600});
    for (int i = 0; i < 32; i++) (void)dial({world, world.family == 4 && i % 4 >= 2, i % 2 == 0});
    auto flows = chosen(node, service, backends);
    std::erase(flows, 0);
    CHECK(flows == std::vector<std::uint64_t>{32});
}
