// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Session affinity by client address: kept over source ports, for as long as it is used, and only to a usable backend.
#include <arpa/inet.h>
#include <bpf/bpf.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "conversation.hpp"

using namespace svclb::test;

namespace {

constexpr std::uint32_t kTimeout = 10800;

std::vector<Endpoint> backends_of(const World& world, std::uint32_t count) {
    std::vector<Endpoint> backends;
    for (std::uint32_t i = 0; i < count; i++) backends.push_back(world.backend(i));
    return backends;
}

ServiceOptions sticky() {
    ServiceOptions options;
    options.affinity_s = kTimeout;
    return options;
}

// As if the client's last new flow had been so many seconds ago.
void make_older(const Datapath& datapath, const Ip& client, std::uint32_t seconds) {
    svclb_affinity_key key{};
    std::memcpy(key.client, client.bytes.data(), client.bytes.size());
    key.service = 1;
    svclb_affinity row{};
    REQUIRE(bpf_map_lookup_elem(datapath.map("affinity"), &key, &row) == 0);
    row.seen_s -= seconds;
    REQUIRE(bpf_map_update_elem(datapath.map("affinity"), &key, &row, BPF_ANY) == 0);
}

std::set<Endpoint> backends_met(Datapath& datapath, const World& world, std::uint16_t first_port,
                                std::uint32_t age_before_each) {
    std::set<Endpoint> met;
    for (std::uint16_t port = first_port; port < first_port + 32; port++) {
        met.insert(begin(datapath, world, world.client(port), world.frontend()).backend);
        if (age_before_each != 0) make_older(datapath, world.client().addr, age_before_each);
    }
    return met;
}

}  // namespace

TEST_CASE("affinity: a client meets one backend from all its ports, other clients meet others", "[affinity]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, backends_of(world, 8), sticky());

    CHECK(backends_met(datapath, world, 40000, 0).size() == 1);
    std::set<Endpoint> of_others;
    for (std::uint32_t i = 0; i < 32; i++) {
        of_others.insert(begin(datapath, world, {world.other_client().addr + i, 40000}, world.frontend()).backend);
    }
    CHECK(of_others.size() > 4);
}

TEST_CASE("affinity: without it a client meets many backends", "[affinity]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, backends_of(world, 8));
    CHECK(backends_met(datapath, world, 40000, 0).size() > 4);
}

TEST_CASE("affinity: lasts from one new flow to the next for the timeout, and no longer", "[affinity]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, backends_of(world, 8), sticky());
    // Two seconds of play: the clock runs on between the two programs.
    CHECK(backends_met(datapath, world, 40000, kTimeout - 2).size() == 1);
    CHECK(backends_met(datapath, world, 41000, kTimeout).size() > 4);
}

TEST_CASE("affinity: ends when the backend may not be given to new flows", "[affinity]") {
    const World world = any_world();
    const std::string how = GENERATE("removed", "draining");
    CAPTURE(world, how);
    Datapath& datapath = fresh_datapath();
    auto backends = backends_of(world, 8);
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, backends, sticky());
    const Endpoint old = begin(datapath, world, world.client(), world.frontend()).backend;
    backends.erase(std::find(backends.begin(), backends.end(), old));
    service.publish(backends);
    if (how == "removed") {
        service.remove_backend(old);
    } else {
        service.drain(old);
    }
    const auto met = backends_met(datapath, world, 41000, 0);
    CHECK(met.size() == 1);
    CHECK(met.count(old) == 0);
}

TEST_CASE("affinity: holds though the client's tuple is taken", "[affinity]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(0), world.proto, backends_of(world, 8), sticky());
    const Endpoint backend = begin(datapath, world, world.client(39999), world.frontend(0)).backend;
    const ServiceFixture other(datapath, 2, world.frontend(1), world.proto, {backend});
    begin(datapath, world, world.client(), world.frontend(1));

    const Conversation flow = establish(datapath, world, world.client(), world.frontend(0));
    CHECK(flow.backend == backend);
    CHECK(flow.presented != flow.client);
    check_data_back(datapath, world, flow);
}

TEST_CASE("affinity: all frontends of a service port and both of its sets share it", "[affinity]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(0), world.proto, backends_of(world, 8), sticky());
    service.add_frontend(world.frontend(1));
    // The second frontend uses the other set, which has the same members.
    datapath.service(1).runs[SVCLB_SET_LOCAL] = datapath.service(1).runs[SVCLB_SET_CLUSTER];
    svclb_backend_key backend{};
    for (const svclb_backend_key* last = nullptr; bpf_map_get_next_key(datapath.map("backends"), last, &backend) == 0;
         last = &backend) {
        svclb_backend row{};
        REQUIRE(bpf_map_lookup_elem(datapath.map("backends"), &backend, &row) == 0);
        row.flags |= SVCLB_BACKEND_IN_LOCAL;
        REQUIRE(bpf_map_update_elem(datapath.map("backends"), &backend, &row, BPF_EXIST) == 0);
    }
    svclb_frontend_key frontend{};
    std::memcpy(frontend.addr, world.frontend(1).addr.bytes.data(), sizeof(frontend.addr));
    frontend.port = htons(world.frontend(1).port);
    frontend.proto = world.proto;
    svclb_frontend row{};
    REQUIRE(bpf_map_lookup_elem(datapath.map("frontends"), &frontend, &row) == 0);
    row.set = SVCLB_SET_LOCAL;
    REQUIRE(bpf_map_update_elem(datapath.map("frontends"), &frontend, &row, BPF_EXIST) == 0);

    for (std::uint32_t i = 0; i < 8; i++) {
        const Ip client = world.client().addr + i;
        const Endpoint met = begin(datapath, world, {client, 40000}, world.frontend(i % 2)).backend;
        for (std::uint16_t port = 40001; port < 40009; port++)
            CHECK(begin(datapath, world, {client, port}, world.frontend(port % 2)).backend == met);
    }
}

TEST_CASE("affinity: packets of an open flow do not renew it", "[affinity]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, backends_of(world, 8), sticky());
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    make_older(datapath, world.client().addr, 100);
    svclb_affinity_key key{};
    std::memcpy(key.client, world.client().addr.bytes.data(), sizeof(key.client));
    key.service = 1;
    svclb_affinity before{};
    REQUIRE(bpf_map_lookup_elem(datapath.map("affinity"), &key, &before) == 0);
    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);
    svclb_affinity after{};
    REQUIRE(bpf_map_lookup_elem(datapath.map("affinity"), &key, &after) == 0);
    CHECK(after.seen_s == before.seen_s);
}
