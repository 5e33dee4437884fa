// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What is counted: flows, packets and bytes of whole frames, per service port and per backend; and when a flow's clock
// is written.
#include "conversation.hpp"

using namespace svclb::test;

TEST_CASE("counters: flows, packets and bytes of both directions", "[counters]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture one(datapath, 1, world.frontend(0), world.proto, {world.backend(0)});
    const ServiceFixture two(datapath, 2, world.frontend(1), world.proto, {world.backend(1)});

    std::uint64_t bytes = 0;
    for (std::uint16_t port = 40000; port < 40003; port++) {
        const Conversation flow = establish(datapath, world, world.client(port), world.frontend(0));
        bytes += world.first(flow.client, flow.dialled).frame().size() +
                 world.answer(flow.backend, flow.presented).frame().size() +
                 world.data(flow.client, flow.dialled).frame().size();
    }
    for (const svclb_counter& counter :
         {datapath.service_counter(1), datapath.backend_counter(one.id_of(world.backend(0)))}) {
        CHECK(counter.flows == 3);
        CHECK(counter.packets == 9);
        CHECK(counter.bytes == bytes);
    }
    for (const svclb_counter& counter :
         {datapath.service_counter(2), datapath.backend_counter(two.id_of(world.backend(1)))}) {
        CHECK(counter.flows == 0);
        CHECK(counter.packets == 0);
    }
}

TEST_CASE("counters: a retransmitted first packet is no new flow", "[counters]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    for (int i = 0; i < 4; i++) begin(datapath, world, world.client(), world.frontend());
    CHECK(datapath.service_counter(1).flows == 1);
    CHECK(datapath.service_counter(1).packets == 4);
}

TEST_CASE("counters: the time of the last packet is written once a tick", "[counters]") {
    const World world = any_world();
    const bool reply = GENERATE(false, true);
    CAPTURE(world, reply);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    const auto key = reply ? reply_key(world, flow) : forward_key(world, flow);
    const auto packet = [&] {
        if (reply) {
            check_data_back(datapath, world, flow);
        } else {
            check_data_out(datapath, world, flow);
        }
    };
    const std::uint32_t seen_s = entry(datapath, key).flow.seen_s;

    // A tick is a second or more. One may end between the two packets, but not twice in a row.
    bool written_again = true;
    for (int tries = 0; tries < 3 && written_again; tries++) {
        packet();
        make_idle(datapath, key, 1000);
        const std::uint32_t marked = entry(datapath, key).flow.seen_s;
        packet();
        written_again = entry(datapath, key).flow.seen_s != marked;
    }
    CHECK_FALSE(written_again);

    FlowEntry last_tick = entry(datapath, key);
    last_tick.flow.tick--;
    datapath.put_flow(last_tick);
    packet();
    CHECK(entry(datapath, key).flow.seen_s >= seen_s);
    CHECK(entry(datapath, key).flow.seen_s <= seen_s + 60);
    CHECK(entry(datapath, key).flow.tick > last_tick.flow.tick);
}
