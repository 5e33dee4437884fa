// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// UDP conversations: with their backend as long as it serves, elsewhere with the very next datagram when it does not.
#include "conversation.hpp"

using namespace svclb::test;

TEST_CASE("UDP: a conversation moves with the first datagram after its backend left", "[udp]") {
    const World world = udp_world();
    const bool answered = GENERATE(false, true);
    CAPTURE(world, answered);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation old = begin(datapath, world, world.client(), world.frontend());
    if (answered) check_answer(datapath, world, old);
    service.publish({world.backend(1)});
    service.remove_backend(world.backend(0));

    const Conversation moved = begin(datapath, world, world.client(), world.frontend());
    CHECK(moved.backend == world.backend(1));
    CHECK(moved.presented == world.client());
    check_answer(datapath, world, moved);
    check_data_out(datapath, world, moved);
    check_data_back(datapath, world, moved);
}

TEST_CASE("UDP: a late answer of the backend that left does not take the conversation back", "[udp]") {
    const World world = udp_world();
    const bool answered = GENERATE(false, true);
    const bool answered_since = GENERATE(false, true);
    CAPTURE(world, answered, answered_since);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation old = begin(datapath, world, world.client(), world.frontend());
    if (answered) check_answer(datapath, world, old);
    service.publish({world.backend(1)});
    service.remove_backend(world.backend(0));
    const Conversation moved = begin(datapath, world, world.client(), world.frontend());
    if (answered_since) check_answer(datapath, world, moved);

    check_answer(datapath, world, old);  // it still comes from the frontend that was asked
    check_data_out(datapath, world, moved);
    check_answer(datapath, world, moved);
    check_data_out(datapath, world, moved);
}

TEST_CASE("UDP: a conversation stays with a draining backend", "[udp]") {
    const World world = udp_world();
    const bool answered = GENERATE(false, true);
    CAPTURE(world, answered);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    if (answered) check_answer(datapath, world, flow);
    service.publish({world.backend(1)});
    service.drain(world.backend(0));

    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);
    CHECK(begin(datapath, world, world.client(40001), world.frontend()).backend == world.backend(1));
    // Drained and gone.
    service.remove_backend(world.backend(0));
    CHECK(begin(datapath, world, world.client(), world.frontend()).backend == world.backend(1));
}

TEST_CASE("UDP: a change elsewhere in the table moves no conversation", "[udp]") {
    const World world = udp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    for (std::uint32_t i = 1; i < 10; i++) {
        service.publish({world.backend(i), world.backend(0), world.backend(i + 1)});
        check_data_out(datapath, world, flow);
    }
    CHECK(datapath.service_counter(1).flows == 1);
}

TEST_CASE("UDP: a conversation whose last backend left is refused", "[udp]") {
    const World world = udp_world();
    const bool answered = GENERATE(false, true);
    CAPTURE(world, answered);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    if (answered) check_answer(datapath, world, flow);
    service.publish({});
    service.remove_backend(world.backend());

    CHECK(datapath.from_pod(world.data(flow.client, flow.dialled)).verdict == redirected);
    CHECK(datapath.reason(SVCLB_REASON_NO_BACKEND_REJECTED).packets == 1);
    CHECK(datapath.reasons() == 1);
    service.publish({world.backend(1)});
    CHECK(begin(datapath, world, world.client(), world.frontend()).backend == world.backend(1));
}

TEST_CASE("UDP: a conversation ends with its Service", "[udp]") {
    const World world = udp_world();
    const bool answered = GENERATE(false, true);
    CAPTURE(world, answered);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    if (answered) check_answer(datapath, world, flow);
    service.remove();

    const Packet packet = world.data(flow.client, flow.dialled);
    CHECK_RUN(datapath.from_pod(packet), next, packet);
}

TEST_CASE("UDP: a conversation follows its frontend to another service port", "[udp]") {
    const World world = udp_world();
    const bool same_backend = GENERATE(false, true);
    CAPTURE(world, same_backend);
    Datapath& datapath = fresh_datapath();
    ServiceFixture old(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    establish(datapath, world, world.client(), world.frontend());
    old.remove();
    const Endpoint backend = world.backend(same_backend ? 0 : 1);
    const ServiceFixture service(datapath, 2, world.frontend(), world.proto, {backend});

    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    CHECK(flow.backend == backend);
    CHECK(datapath.service_counter(2).packets == 3);
    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);
}
