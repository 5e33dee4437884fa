// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Flow tables under pressure: floods, full tables, and entries that are evicted alone.
#include "conversation.hpp"

using namespace svclb::test;

TEST_CASE("tables: a flood of unanswered packets leaves every established flow alive", "[tables]") {
    const World world = GENERATE(World{4, IPPROTO_TCP}, World{6, IPPROTO_UDP});
    CAPTURE(world);
    DatapathOptions options;
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0), world.backend(1)});
    std::vector<Conversation> flows;
    for (std::uint16_t port = 50000; port < 50050; port++) {
        flows.push_back(establish(datapath, world, world.client(port), world.frontend()));
        make_idle(datapath, forward_key(world, flows.back()), 100);
        make_idle(datapath, reply_key(world, flows.back()), 100);
    }

    for (std::uint32_t i = 0; i < 10 * options.transient; i++) {
        const Endpoint attacker{world.other_client().addr + i / 50000, static_cast<std::uint16_t>(1024 + i % 50000)};
        REQUIRE(datapath.from_pod(world.first(attacker, world.frontend())).verdict == next);
    }
    for (const Conversation& flow : flows) {
        check_data_out(datapath, world, flow);
        check_data_back(datapath, world, flow);
    }
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("tables: a flood that the backend answers, and nobody goes on with, establishes nothing", "[tables]") {
    const World world = any_world();
    CAPTURE(world);
    DatapathOptions options;
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0), world.backend(1)});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    for (std::uint32_t i = 0; i < 2 * options.transient; i++) {
        const auto port = static_cast<std::uint16_t>(1024 + i % 50000);
        const Conversation attack = begin(datapath, world, world.other_client(port), world.frontend());
        check_answer(datapath, world, attack);
    }
    std::size_t established = 0;
    for (const FlowEntry& entry : datapath.flows()) established += entry.established ? 1 : 0;
    CHECK(established == 2);
    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);
}

TEST_CASE("tables: a flow works though the established table is full, and moves there when there is room", "[tables]") {
    const World world = any_world();
    CAPTURE(world);
    DatapathOptions options;
    options.established = 64;
    Datapath& datapath = datapath_with(options);
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const auto filler = [&](std::uint16_t i) {
        return FlowEntry{.key = flow_key(world.other_client(i), world.stranger(), world.proto, SVCLB_TO_POD),
                         .flow = {},
                         .established = true};
    };
    for (std::uint16_t i = 1; i <= options.established; i++) datapath.put_flow(filler(i));
    REQUIRE_THROWS(datapath.put_flow(filler(1000)));

    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    CHECK(datapath.reason(SVCLB_REASON_ESTABLISHED_FULL).packets == 1);
    CHECK(datapath.reasons() == 1);
    for (int i = 0; i < 3; i++) {
        check_data_out(datapath, world, flow);
        check_data_back(datapath, world, flow);
    }
    CHECK_FALSE(entry(datapath, forward_key(world, flow)).established);
    CHECK_FALSE(entry(datapath, reply_key(world, flow)).established);

    // Half of the room that it needs; then all of it. It is tried again once a tick.
    for (std::uint16_t room = 1; room <= 2; room++) {
        datapath.remove_flow(filler(room).key, true);
        FlowEntry reply = entry(datapath, reply_key(world, flow));
        reply.flow.tick--;
        datapath.put_flow(reply);
        check_data_back(datapath, world, flow);
        CHECK(entry(datapath, forward_key(world, flow)).established == (room == 2));
        CHECK(entry(datapath, reply_key(world, flow)).established == (room == 2));
        check_data_out(datapath, world, flow);
    }
}

TEST_CASE("tables: the answer rebuilds a forward entry that was evicted alone", "[tables]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    datapath.remove_flow(forward_key(world, flow), false);

    check_answer(datapath, world, flow);
    check_data_out(datapath, world, flow);
    CHECK(entry(datapath, forward_key(world, flow)).established);
    check_data_back(datapath, world, flow);
}

TEST_CASE("tables: the client's next packet rebuilds a reply entry that was evicted alone", "[tables]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    datapath.remove_flow(reply_key(world, flow), false);
    service.publish({world.backend(1), world.backend(0)});

    check_out(datapath, flow, world.first(flow.client, flow.dialled));
    check_answer(datapath, world, flow);
    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);
}

TEST_CASE("tables: a translated source port outlives the eviction of one entry", "[tables]") {
    const World world = any_world();
    const bool lose_forward = GENERATE(true, false);
    CAPTURE(world, lose_forward);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture first(datapath, 1, world.frontend(0), world.proto, {world.backend()});
    const ServiceFixture second(datapath, 2, world.frontend(1), world.proto, {world.backend()});
    establish(datapath, world, world.client(), world.frontend(0));
    const Conversation flow = begin(datapath, world, world.client(), world.frontend(1));
    REQUIRE(flow.presented != flow.client);
    datapath.remove_flow(lose_forward ? forward_key(world, flow) : reply_key(world, flow), false);

    check_out(datapath, flow, world.first(flow.client, flow.dialled));
    check_answer(datapath, world, flow);
    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);
}

TEST_CASE("tables: a slot of another generation is not used", "[tables]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const std::uint64_t run = datapath.service(1).runs[SVCLB_SET_CLUSTER];
    datapath.slot(svclb_run_base(run)).generation++;

    const Packet packet = world.first(world.client(), world.frontend());
    CHECK_RUN(datapath.from_pod(packet), dropped, packet);
    CHECK(datapath.reason(SVCLB_REASON_STALE_SLOT).packets == 1);
    CHECK(datapath.flows().empty());
}
