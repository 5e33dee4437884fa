// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which backend a new flow gets: uniform over the slots, and the same again for a retransmitted SYN.
#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "conversation.hpp"

using namespace svclb::test;

namespace {

std::vector<Endpoint> backends_of(const World& world, std::uint32_t count) {
    std::vector<Endpoint> backends;
    for (std::uint32_t i = 0; i < count; i++) backends.push_back(world.backend(i));
    return backends;
}

// The value that chi-squared with so many degrees of freedom passes once in a million (Wilson and Hilferty, 1931).
double chi_squared_limit(double degrees) {
    constexpr double kOneInAMillion = 4.753;
    const double spread = 2.0 / (9.0 * degrees);
    return degrees * std::pow(1.0 - spread + kOneInAMillion * std::sqrt(spread), 3);
}

double chi_squared(const std::map<Endpoint, double>& seen, const std::map<Endpoint, double>& expected) {
    double sum = 0;
    for (const auto& [backend, count] : expected) {
        const auto found = seen.find(backend);
        const double got = found == seen.end() ? 0 : found->second;
        sum += (got - count) * (got - count) / count;
    }
    return sum;
}

// Source ports as clients have them: one after the other, in Linux's steps of two, or drawn at random.
std::vector<Endpoint> clients(const World& world, const std::string& order, std::size_t count) {
    std::vector<Endpoint> made;
    std::mt19937 random(1);
    for (std::size_t i = 0; i < count; i++) {
        const std::size_t step = order == "steps of two" ? 2 : 1;
        const std::size_t port = order == "random" ? random() % 60000 : i * step % 60000;
        made.push_back({world.client().addr + static_cast<std::uint32_t>(i * step / 60000),
                        static_cast<std::uint16_t>(1024 + port)});
    }
    return made;
}

Endpoint choice_for(Datapath& datapath, const World& world, const Endpoint& client) {
    const Run run = datapath.from_pod(world.first(client, world.frontend()));
    REQUIRE(run.verdict == next);
    return destination_of(run.frame);
}

}  // namespace

TEST_CASE("choice: new flows spread evenly over 1 to 64 backends", "[choice]") {
    const World world = GENERATE(World{4, IPPROTO_TCP}, World{6, IPPROTO_UDP});
    const std::uint32_t count = GENERATE(1u, 2u, 3u, 7u, 16u, 64u);
    const std::string order = GENERATE("sequential", "steps of two", "random");
    CAPTURE(world, count, order);
    constexpr std::size_t kFlows = 640;
    Datapath& datapath = fresh_datapath();
    const auto backends = backends_of(world, count);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, backends);

    std::map<Endpoint, double> expected;
    for (const Endpoint& backend : backends) expected[backend] = static_cast<double>(kFlows) / count;
    std::map<Endpoint, double> seen;
    for (const Endpoint& client : clients(world, order, kFlows)) seen[choice_for(datapath, world, client)] += 1;

    for (const auto& [backend, flows] : seen) CHECK(expected.count(backend) == 1);
    CHECK(chi_squared(seen, expected) <= (count == 1 ? 0 : chi_squared_limit(count - 1)));
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("choice: with Maglev flows spread as evenly over the slots", "[choice]") {
    const World world = GENERATE(World{4, IPPROTO_TCP}, World{6, IPPROTO_UDP});
    const std::string order = GENERATE("sequential", "steps of two", "random");
    CAPTURE(world, order);
    Datapath& datapath = fresh_datapath();
    const auto backends = backends_of(world, 16);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, backends,
                                 {.algorithm = SVCLB_ALGORITHM_MAGLEV});
    std::map<Endpoint, double> expected;
    for (const Endpoint& backend : backends) expected[backend] = 40;
    std::map<Endpoint, double> seen;
    for (const Endpoint& client : clients(world, order, 640)) seen[choice_for(datapath, world, client)] += 1;
    CHECK(chi_squared(seen, expected) <= chi_squared_limit(15));
}

TEST_CASE("choice: with Maglev every node leads a client outside to the same backend, by whatever address",
          "[choice]") {
    DatapathOptions other;
    other.settings.hash_seed = 1;
    Datapath& loaded = datapath_with(other);
    for (const World& world :
         {World{4, IPPROTO_TCP}, World{4, IPPROTO_UDP}, World{6, IPPROTO_TCP}, World{6, IPPROTO_UDP}}) {
        for (const auto algorithm : {SVCLB_ALGORITHM_MAGLEV, SVCLB_ALGORITHM_RANDOM}) {
            CAPTURE(world, algorithm);
            Datapath& here = fresh_datapath();
            loaded.clear();
            const auto backends = backends_of(world, 8);
            const ServiceOptions options{.algorithm = algorithm, .kind = SVCLB_FRONTEND_NODE_PORT, .on_node = backends};
            const Endpoint one{world.net("10.0.0.1", "fd00:77::1"), 30080};
            const Endpoint another{world.net("10.0.0.2", "fd00:77::2"), 30080};
            const ServiceFixture on_one(here, 1, one, world.proto, backends, options);
            const ServiceFixture on_another(loaded, 2, another, world.proto, backends, options);
            int same = 0;
            for (const Endpoint& client : clients(world, "sequential", 64)) {
                const Run first = here.from_uplink(world.first(client, one));
                const Run second = loaded.from_uplink(world.first(client, another));
                REQUIRE(first.verdict == next);
                REQUIRE(second.verdict == next);
                same += destination_of(first.frame) == destination_of(second.frame) ? 1 : 0;
            }
            CHECK((same == 64) == (algorithm == SVCLB_ALGORITHM_MAGLEV));
        }
    }
}

TEST_CASE("choice: one port of many clients spreads evenly", "[choice]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const auto backends = backends_of(world, 5);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, backends);

    std::map<Endpoint, double> expected;
    for (const Endpoint& backend : backends) expected[backend] = 200;
    std::map<Endpoint, double> seen;
    for (std::uint32_t i = 0; i < 1000; i++) {
        seen[choice_for(datapath, world, {world.net("10.250.0.1", "fd00:250::1") + i, 40000})] += 1;
    }
    CHECK(chi_squared(seen, expected) <= chi_squared_limit(4));
}

TEST_CASE("choice: a backend with three slots gets three times the flows", "[choice]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const Endpoint heavy = world.backend(0);
    const Endpoint light = world.backend(1);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {heavy, light, heavy, heavy});

    std::map<Endpoint, double> seen;
    for (const Endpoint& client : clients(world, "sequential", 1000)) seen[choice_for(datapath, world, client)] += 1;
    CHECK(chi_squared(seen, {{heavy, 750}, {light, 250}}) <= chi_squared_limit(1));
}

TEST_CASE("choice: the Local set is used where the frontend says so", "[choice]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceOptions options;
    options.set = SVCLB_SET_LOCAL;
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(1)}, options);
    // A run of the Cluster set with a backend of its own must not be touched.
    datapath.service(1).runs[SVCLB_SET_CLUSTER] = svclb_run(4000, 1, 77);

    CHECK(begin(datapath, world, world.client(), world.frontend()).backend == world.backend(1));
}

TEST_CASE("choice: a retransmitted SYN meets the same backend, also when the table has changed", "[choice]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, backends_of(world, 8));

    std::vector<Conversation> flows;
    for (const Endpoint& client : clients(world, "sequential", 32)) {
        flows.push_back(begin(datapath, world, client, world.frontend()));
        check_out(datapath, flows.back(), world.first(client, world.frontend()));
    }
    auto more = backends_of(world, 16);
    std::reverse(more.begin(), more.end());
    service.publish(more);
    for (const Conversation& flow : flows) check_out(datapath, flow, world.first(flow.client, flow.dialled));
    CHECK(datapath.service_counter(1).flows == flows.size());
}

TEST_CASE("choice: a retransmitted SYN meets the same backend though its entries were evicted", "[choice]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, backends_of(world, 8));

    for (const Endpoint& client : clients(world, "sequential", 32)) {
        const Conversation flow = begin(datapath, world, client, world.frontend());
        datapath.remove_flow(forward_key(world, flow), false);
        datapath.remove_flow(reply_key(world, flow), false);
        check_out(datapath, flow, world.first(client, world.frontend()));
        check_answer(datapath, world, flow);
    }
}

TEST_CASE("choice: a retransmitted SYN goes elsewhere when its backend is gone", "[choice]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation old = begin(datapath, world, world.client(), world.frontend());
    service.publish({world.backend(1)});
    service.remove_backend(world.backend(0));

    const Conversation moved = begin(datapath, world, world.client(), world.frontend());
    CHECK(moved.backend == world.backend(1));
    // A late answer of the old backend is not taken for one of the new backend's.
    const Packet late = world.answer(old.backend, old.presented);
    CHECK_RUN(datapath.to_pod(late), next, late);
    check_answer(datapath, world, moved);
    check_data_out(datapath, world, moved);
}
