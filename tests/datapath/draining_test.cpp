// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Backends that leave (behaviour rows 1.14 and 1.31): what they have stays theirs, new flows go elsewhere.
#include "conversation.hpp"

using namespace svclb::test;

TEST_CASE("draining: a backend keeps its flows and gets no new ones", "[draining]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation open = establish(datapath, world, world.client(), world.frontend());
    const Conversation opening = begin(datapath, world, world.client(40001), world.frontend());
    service.publish({world.backend(1)});
    service.drain(world.backend(0));

    check_data_out(datapath, world, open);
    check_data_back(datapath, world, open);
    // The SYN, or the question, is sent again.
    check_out(datapath, opening, world.first(opening.client, opening.dialled));
    check_answer(datapath, world, opening);
    check_data_out(datapath, world, opening);
    for (std::uint16_t port = 41000; port < 41032; port++)
        CHECK(begin(datapath, world, world.client(port), world.frontend()).backend == world.backend(1));
}

TEST_CASE("draining: where all are draining the agent puts them into the set, and they serve", "[draining]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0), world.backend(1)});
    const Conversation open = establish(datapath, world, world.client(), world.frontend());
    service.publish({world.backend(1)});
    service.drain(world.backend(0));
    service.publish({world.backend(0), world.backend(1)});

    check_data_out(datapath, world, open);
    const Conversation more = establish(datapath, world, world.client(40001), world.frontend());
    check_data_back(datapath, world, more);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("draining: where nobody serves TCP goes on and the rest is refused", "[draining]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation open = establish(datapath, world, world.client(), world.frontend());
    service.publish({});
    service.remove_backend(world.backend());

    if (world.tcp_flow()) {
        check_data_out(datapath, world, open);
        check_data_back(datapath, world, open);
    } else {
        CHECK(datapath.from_pod(world.data(open.client, open.dialled)).verdict == redirected);
    }
    datapath.with_complete_checksums(false);  // the refused SYN's options are cut off
    CHECK(datapath.from_pod(world.first(world.client(40001), world.frontend())).verdict == redirected);
    CHECK(datapath.reasons() == (world.tcp_flow() ? 1 : 2));
}
