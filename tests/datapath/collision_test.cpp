// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Two conversations whose packets to the backend would look the same (DESIGN's flow rule 2): the kernel reuses source
// ports across destinations, so this is everyday life.
#include <algorithm>

#include "conversation.hpp"

using namespace svclb::test;

namespace {

// Both conversations live, before and after their answers, and keep apart.
void check_both_live(Datapath& datapath, const World& world, const Conversation& one, const Conversation& two) {
    check_answer(datapath, world, one);
    check_answer(datapath, world, two);
    for (int i = 0; i < 2; i++) {
        for (const Conversation* flow : {&two, &one}) {
            check_data_out(datapath, world, *flow);
            check_data_back(datapath, world, *flow);
        }
    }
}

}  // namespace

TEST_CASE("collision: a second frontend with the same backend gets another source port", "[collision]") {
    const World world = any_world();
    const bool answered_before = GENERATE(false, true);
    CAPTURE(world, answered_before);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture first(datapath, 1, world.frontend(0), world.proto, {world.backend()});
    const ServiceFixture second(datapath, 2, world.frontend(1), world.proto, {world.backend()});

    const Conversation one = begin(datapath, world, world.client(), world.frontend(0));
    if (answered_before) check_answer(datapath, world, one);
    const Conversation two = begin(datapath, world, world.client(), world.frontend(1));
    CHECK(one.presented == world.client());
    CHECK(two.backend == world.backend());
    CHECK(two.presented.port != world.client().port);
    CHECK(two.presented.port >= 1024);
    check_both_live(datapath, world, one, two);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("collision: another backend is preferred to another source port", "[collision]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture first(datapath, 1, world.frontend(0), world.proto, {world.backend(0)});
    const ServiceFixture second(datapath, 2, world.frontend(1), world.proto, {world.backend(0), world.backend(1)});

    int other_backend = 0;
    for (std::uint16_t port = 40000; port < 40064; port++) {
        const Conversation one = begin(datapath, world, world.client(port), world.frontend(0));
        const Conversation two = begin(datapath, world, world.client(port), world.frontend(1));
        CHECK((two.backend == world.backend(1)) == (two.presented == two.client));
        other_backend += two.backend == world.backend(1) ? 1 : 0;
        check_both_live(datapath, world, one, two);
    }
    CHECK(other_backend >= 48);  // four tries: 15 of 16 in the long run
}

TEST_CASE("collision: many frontends share a backend and a client port", "[collision]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    std::vector<Conversation> flows;
    for (std::uint32_t i = 0; i < 20; i++) {
        const ServiceFixture service(datapath, i % 3 + 1, world.frontend(i), world.proto, {world.backend()});
        flows.push_back(establish(datapath, world, world.client(), world.frontend(i)));
    }
    for (const Conversation& flow : flows) {
        CHECK(std::count_if(flows.begin(), flows.end(),
                            [&](const Conversation& other) { return other.presented == flow.presented; }) == 1);
        check_data_out(datapath, world, flow);
        check_data_back(datapath, world, flow);
    }
}

TEST_CASE("collision: a frontend dialled after the backend itself gets another source port", "[collision]") {
    const World world = any_world();
    const bool answered_before = GENERATE(false, true);
    CAPTURE(world, answered_before);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});

    const Conversation direct = begin(datapath, world, world.client(), world.backend());
    CHECK(direct.presented == world.client());
    if (answered_before) check_answer(datapath, world, direct);
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    CHECK(flow.backend == world.backend());
    CHECK(flow.presented.port != world.client().port);
    check_both_live(datapath, world, direct, flow);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("collision: the backend itself dialled after a frontend gets another source port", "[collision]") {
    const World world = any_world();
    const bool answered_before = GENERATE(false, true);
    CAPTURE(world, answered_before);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});

    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    if (answered_before) check_answer(datapath, world, flow);
    const Conversation direct = begin(datapath, world, world.client(), world.backend());
    CHECK(direct.backend == world.backend());
    CHECK(direct.presented.port != world.client().port);
    check_both_live(datapath, world, flow, direct);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("collision: a direct conversation with another source port becomes established, and outlives a flood",
          "[collision]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    (void)establish(datapath, world, world.client(), world.frontend());
    const Conversation direct = establish(datapath, world, world.client(), world.backend());
    REQUIRE(direct.presented.port != world.client().port);
    CHECK(entry(datapath, forward_key(world, direct)).established);
    CHECK(entry(datapath, reply_key(world, direct)).established);
    for (std::uint16_t port = 1024; port < 1024 + 10 * 1024; port++)
        (void)datapath.from_pod(world.first(world.other_client(port), world.frontend()));
    check_data_back(datapath, world, direct);
    check_data_out(datapath, world, direct);
    CHECK(entry(datapath, forward_key(world, direct)).established);
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("collision: a closed flow does not touch a direct connection with its tuple", "[collision]") {
    const World world = tcp_world();
    const bool by_reset = GENERATE(false, true);
    CAPTURE(world, by_reset);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    if (by_reset) {
        check_back(datapath, flow, tcp(flow.backend, flow.presented, rst));
    } else {
        check_out(datapath, flow, tcp(flow.client, flow.dialled, fin | ack));
        check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
    }

    const Conversation direct = establish(datapath, world, world.client(), world.backend());
    CHECK(direct.presented == world.client());
    check_data_out(datapath, world, direct);
    check_data_back(datapath, world, direct);
}

// The backend's kernel keeps the tuple of a connection that it closed first for a minute (TIME_WAIT), and measures the
// next SYN of it against that connection's sequence numbers. Another conversation has others.
TEST_CASE("collision: a tuple whose backend closed first rests for a minute before another conversation gets it",
          "[collision]") {
    const World world = tcp_world();
    const bool to_backend = GENERATE(true, false);
    const std::uint32_t idle = GENERATE(0U, 50U, 61U);
    CAPTURE(world, to_backend, idle);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture first(datapath, 1, world.frontend(0), world.proto, {world.backend()});
    const ServiceFixture second(datapath, 2, world.frontend(1), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend(0));
    check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
    check_out(datapath, flow, tcp(flow.client, flow.dialled, fin | ack));
    check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));  // sent again: it was first all the same
    check_out(datapath, flow, tcp(flow.client, flow.dialled, ack));
    for (const auto& key : {forward_key(world, flow), reply_key(world, flow)}) make_idle(datapath, key, idle);

    const Endpoint dialled = to_backend ? world.backend() : world.frontend(1);
    const Conversation other = begin(datapath, world, world.client(), dialled);
    CHECK(other.backend == world.backend());
    CHECK((other.presented == world.client()) == (idle > 60));
    check_answer(datapath, world, other);
    check_data_out(datapath, world, other);
    check_data_back(datapath, world, other);
    if (idle <= 60) check_out(datapath, flow, tcp(flow.client, flow.dialled, ack));
}

TEST_CASE("collision: the minute begins with the last FIN, however long the connection was open", "[collision]") {
    const World world = tcp_world();
    const bool client_is_last = GENERATE(true, false);
    CAPTURE(world, client_is_last);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
    // In the same tick, which is when the time of other packets is not written.
    for (const auto& key : {forward_key(world, flow), reply_key(world, flow)}) make_idle(datapath, key, 3600);
    check_out(datapath, flow, tcp(flow.client, flow.dialled, fin | ack));
    if (!client_is_last) {
        for (const auto& key : {forward_key(world, flow), reply_key(world, flow)}) make_idle(datapath, key, 3600);
        check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
    }
    CHECK(begin(datapath, world, world.client(), world.backend()).presented != world.client());
}

TEST_CASE("collision: a RST ends the rest of a tuple, as it ends TIME_WAIT", "[collision]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
    check_out(datapath, flow, tcp(flow.client, flow.dialled, fin | ack));
    check_out(datapath, flow, tcp(flow.client, flow.dialled, rst));
    CHECK(begin(datapath, world, world.client(), world.backend()).presented == world.client());
}

TEST_CASE("collision: the same conversation begins anew at once, whichever end closed first", "[collision]") {
    const World world = tcp_world();
    const bool backend_first = GENERATE(true, false);
    CAPTURE(world, backend_first);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    for (int i = 0; i < 3; i++) {
        const Conversation flow = establish(datapath, world, world.client(), world.frontend());
        CHECK(flow.presented == world.client());
        if (backend_first) check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
        check_out(datapath, flow, tcp(flow.client, flow.dialled, fin | ack));
        if (!backend_first) check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
    }
}

TEST_CASE("collision: a silent flow does not touch a direct conversation with its tuple", "[collision]") {
    const World world = any_world();
    const bool answered = GENERATE(false, true);
    CAPTURE(world, answered);
    if (answered && world.tcp_flow()) return;  // lives on for as long as its ends like
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    if (answered) check_answer(datapath, world, flow);
    make_idle(datapath, reply_key(world, flow), answered ? 181 : 61);

    const Conversation direct = establish(datapath, world, world.client(), world.backend());
    CHECK(direct.presented == world.client());
    check_data_out(datapath, world, direct);
    check_data_back(datapath, world, direct);
}

TEST_CASE("collision: an idle TCP flow keeps its tuple", "[collision]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    make_idle(datapath, reply_key(world, flow), 86000);
    make_idle(datapath, forward_key(world, flow), 86000);

    const Conversation direct = begin(datapath, world, world.client(), world.backend());
    CHECK(direct.presented.port != world.client().port);
    check_both_live(datapath, world, flow, direct);
}

TEST_CASE("collision: a direct conversation that ended leaves its tuple to a flow", "[collision]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    // The end of a direct connection is seen where replies are looked at, which is from the first flow on.
    establish(datapath, world, world.other_client(), world.frontend());
    const Conversation direct = establish(datapath, world, world.client(), world.backend());
    const Packet end = tcp(world.backend(), world.client(), fin | ack);
    CHECK_RUN(datapath.to_pod(end), next, end);
    make_idle(datapath, reply_key(world, direct), 61);

    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    CHECK(flow.presented == world.client());
    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);
}

TEST_CASE(
    "collision: a flow whose tuple was taken, after its reply entry was evicted, stays out of the new owner's way",
    "[collision]") {
    const World world = any_world();
    const bool answered = GENERATE(false, true);
    const bool starts_over = GENERATE(false, true);
    CAPTURE(world, answered, starts_over);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture first(datapath, 1, world.frontend(0), world.proto, {world.backend()});
    const ServiceFixture second(datapath, 2, world.frontend(1), world.proto, {world.backend()});
    const Conversation old = begin(datapath, world, world.client(), world.frontend(0));
    datapath.remove_flow(reply_key(world, old), false);
    const Conversation owner = begin(datapath, world, world.client(), world.frontend(1));
    REQUIRE(owner.presented == world.client());
    if (answered) check_answer(datapath, world, owner);

    if (world.tcp_flow() && !starts_over) {
        const Packet packet = world.data(old.client, old.dialled);
        CHECK_RUN(datapath.from_pod(packet), next, packet);
        CHECK(datapath.reason(SVCLB_REASON_NO_FLOW).packets == 1);
    } else {
        const Conversation again = begin(datapath, world, world.client(), world.frontend(0));
        CHECK(again.presented != world.client());
        check_answer(datapath, world, again);
    }
    check_answer(datapath, world, owner);
    check_data_out(datapath, world, owner);
    check_data_back(datapath, world, owner);
}
