// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Two pods that are each other's backends, by way of two Services, and dial from the very ports that they serve
// (gossip, SIP): what the one sends looks like the other one's answers.
#include "outside.hpp"

using namespace svclb::test;

namespace {

// Two pods, and a Service before each.
struct Pair {
    explicit Pair(const World& at) : world(at) { set_node_addresses(datapath); }

    // Both devices on the way: what has been translated at the one goes on as it is at the other.
    void check_there(const Conversation& flow, const Packet& packet) const {
        check_out(datapath, flow, packet);
        const Packet arrives = with_source(with_destination(packet, flow.backend), flow.presented);
        CHECK_RUN(datapath.to_pod(arrives), next, arrives);
    }
    void check_here(const Conversation& flow, const Packet& packet) const {
        CHECK_RUN(datapath.from_pod(packet), next, packet);
        check_back(datapath, flow, packet);
    }
    [[nodiscard]] Conversation dial(const Endpoint& client, const Endpoint& dialled) const {
        const Conversation flow = begin(datapath, world, client, dialled);
        const Packet arrives = world.first(flow.presented, flow.backend);
        CHECK_RUN(datapath.to_pod(arrives), next, arrives);
        return flow;
    }
    void check_answered(const Conversation& flow) const {
        check_here(flow, world.answer(flow.backend, flow.presented));
    }
    void check_goes_on(const Conversation& flow) const {
        check_there(flow, world.data(flow.client, flow.dialled));
        check_here(flow, world.data(flow.backend, flow.presented));
    }

    World world;
    Datapath& datapath = fresh_datapath();
    Endpoint one{world.client().addr, 5060};
    Endpoint other{world.other_client().addr, 5060};
    Endpoint to_one = world.frontend(1);
    Endpoint to_other = world.frontend(0);
    ServiceFixture service_of_one{datapath, 1, to_one, world.proto, {one}, {.on_node = {one}}};
    ServiceFixture service_of_other{datapath, 2, to_other, world.proto, {other}, {.on_node = {other}}};
};

}  // namespace

TEST_CASE("mutual: pods that are each other's backends on the same ports have two flows", "[mutual]") {
    const World world = every_world();
    const int steps_before = GENERATE(0, 1, 2, 3);
    CAPTURE(world, steps_before);
    const Pair at(world);
    const Conversation first = at.dial(at.one, at.to_other);
    CHECK(first.presented == at.one);
    if (steps_before > 0) at.check_answered(first);
    if (steps_before > 1) at.check_goes_on(first);
    if (steps_before > 2) at.check_goes_on(first);

    const Conversation second = at.dial(at.other, at.to_one);
    CHECK(second.backend == at.one);
    CHECK(second.presented.port != at.other.port);
    if (steps_before == 0) at.check_answered(first);
    at.check_answered(second);
    for (int i = 0; i < 3; i++) {
        at.check_goes_on(first);
        at.check_goes_on(second);
    }
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("mutual: another backend is preferred to another source port", "[mutual]") {
    const World world = every_world();
    CAPTURE(world);
    const Pair at(world);
    int other_backend = 0;
    for (std::uint16_t port = 5061; port < 5093; port++) {
        const Endpoint one{at.one.addr, port};
        const Endpoint other{at.other.addr, port};
        const ServiceFixture to_other(at.datapath, 4, world.frontend(3), world.proto, {other});
        const ServiceFixture to_one(at.datapath, 5, world.frontend(4), world.proto, {one, world.backend()});
        at.check_answered(at.dial(one, world.frontend(3)));
        const Conversation second = at.dial(other, world.frontend(4));
        CHECK((second.backend == world.backend()) == (second.presented == other));
        other_backend += second.backend == world.backend() ? 1 : 0;
    }
    CHECK(other_backend >= 24);  // four tries: 15 of 16 in the long run
}

TEST_CASE("mutual: the way back of a flow that has ended, or been given up, is no obstacle", "[mutual]") {
    const World world = GENERATE(World{4, IPPROTO_TCP}, World{6, IPPROTO_TCP}, World{4, IPPROTO_UDP});
    CAPTURE(world);
    const Pair at(world);
    const Conversation first = at.dial(at.one, at.to_other);
    make_idle(at.datapath, reply_key(world, first), 61);
    const Conversation second = at.dial(at.other, at.to_one);
    CHECK(second.presented == at.other);
    at.check_answered(second);
    at.check_goes_on(second);
}

TEST_CASE("mutual: who lost the tuple after a long silence begins anew, beside the one who has it", "[mutual]") {
    const World world = every_world();
    const int steps_before = GENERATE(0, 1, 2, 3);
    CAPTURE(world, steps_before);
    const Pair at(world);
    const Conversation first = at.dial(at.one, at.to_other);
    if (steps_before > 0) at.check_answered(first);
    if (steps_before > 1) at.check_goes_on(first);
    if (steps_before > 2) at.check_goes_on(first);
    for (const auto& key : {forward_key(world, first), reply_key(world, first)}) make_idle(at.datapath, key, 1'000'000);

    const Conversation second = at.dial(at.other, at.to_one);
    CHECK(second.presented == at.other);
    at.check_answered(second);
    at.check_goes_on(second);
    const Conversation again = at.dial(at.one, at.to_other);
    CHECK(again.presented.port != at.one.port);
    at.check_answered(again);
    for (int i = 0; i < 3; i++) {
        at.check_goes_on(again);
        at.check_goes_on(second);
    }
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("mutual: who lost the tuple with an evicted entry begins anew, beside the one who has it", "[mutual]") {
    const World world = every_world();
    const bool answered_before = GENERATE(false, true);
    CAPTURE(world, answered_before);
    const Pair at(world);
    const Conversation first = at.dial(at.one, at.to_other);
    if (answered_before) at.check_answered(first);
    at.datapath.remove_flow(reply_key(world, first), false);

    const Conversation second = at.dial(at.other, at.to_one);
    REQUIRE(second.presented == at.other);
    const Conversation again = at.dial(at.one, at.to_other);
    CHECK(again.presented.port != at.one.port);
    at.check_answered(again);
    at.check_answered(second);
    for (int i = 0; i < 3; i++) {
        at.check_goes_on(again);
        at.check_goes_on(second);
    }
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("mutual: so does one who lost it to a direct connection", "[mutual]") {
    const World world =
        GENERATE(World{4, IPPROTO_TCP}, World{4, IPPROTO_SCTP}, World{6, IPPROTO_TCP}, World{6, IPPROTO_SCTP});
    CAPTURE(world);
    const Pair at(world);
    const auto check_direct = [&](const Packet& packet) {
        CHECK_RUN(at.datapath.from_pod(packet), next, packet);
        CHECK_RUN(at.datapath.to_pod(packet), next, packet);
    };
    const Conversation first = at.dial(at.one, at.to_other);
    at.datapath.remove_flow(reply_key(world, first), false);
    check_direct(world.first(at.other, at.one));
    check_direct(world.answer(at.one, at.other));
    const Conversation again = at.dial(at.one, at.to_other);
    CHECK(again.presented.port != at.one.port);
    at.check_answered(again);
    for (int i = 0; i < 3; i++) {
        at.check_goes_on(again);
        check_direct(world.data(at.other, at.one));
        check_direct(world.data(at.one, at.other));
    }
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("mutual: datagrams of the backend's while its entry is evicted are no conversation of its own", "[mutual]") {
    const World world = udp_world();
    CAPTURE(world);
    const Pair at(world);
    const Conversation first = at.dial(at.one, at.to_other);
    at.check_answered(first);
    at.datapath.remove_flow(reply_key(world, first), false);
    const Packet lost = world.data(first.backend, first.presented);
    CHECK_RUN(at.datapath.from_pod(lost), next, lost);
    for (int i = 0; i < 3; i++) at.check_goes_on(first);
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("mutual: a forged reset costs nobody the tuple that another flow looked at and did not take", "[mutual]") {
    const World world = GENERATE(World{4, IPPROTO_TCP}, World{6, IPPROTO_TCP});
    CAPTURE(world);
    const Pair at(world);
    const Conversation first = at.dial(at.one, at.to_other);
    at.check_answered(first);
    at.check_goes_on(first);
    at.check_there(first, tcp(first.client, first.dialled, rst));
    const Packet direct = world.first(at.other, at.one);
    CHECK_RUN(at.datapath.from_pod(direct), next, direct);
    const Conversation second = at.dial(at.other, at.to_one);
    CHECK(second.presented.port != at.other.port);
    at.check_here(first, world.data(first.backend, first.presented));
    at.check_there(first, world.first(first.client, first.dialled));  // a late one
    at.check_goes_on(first);
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("mutual: a flow against a direct conversation keeps to itself", "[mutual]") {
    const World world = every_world();
    const bool answered_before = GENERATE(false, true);
    CAPTURE(world, answered_before);
    const Pair at(world);
    const auto check_direct = [&](const Packet& packet) {
        CHECK_RUN(at.datapath.from_pod(packet), next, packet);
        CHECK_RUN(at.datapath.to_pod(packet), next, packet);
    };
    check_direct(world.first(at.other, at.one));
    if (answered_before) check_direct(world.answer(at.one, at.other));
    const Conversation flow = at.dial(at.one, at.to_other);
    CHECK(flow.presented != at.one);
    if (!answered_before) check_direct(world.answer(at.one, at.other));
    at.check_answered(flow);
    for (int i = 0; i < 3; i++) {
        at.check_goes_on(flow);
        check_direct(world.data(at.other, at.one));
        check_direct(world.data(at.one, at.other));
    }
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("mutual: with the node as the source of the one, of the other, or of both", "[mutual]") {
    const World world = every_world();
    const bool first_masqueraded = GENERATE(false, true);
    const bool second_masqueraded = GENERATE(false, true);
    CAPTURE(world, first_masqueraded, second_masqueraded);
    const Pair at(world);
    const ServiceOptions from_outside{.kind = SVCLB_FRONTEND_NODE_PORT, .on_node = {at.one, at.other}};
    const Endpoint port_of_one{node_address(world), 30081};
    const Endpoint port_of_other{node_address(world), 30082};
    const ServiceFixture outside_one(at.datapath, 3, port_of_one, world.proto, {at.one}, from_outside);
    const ServiceFixture outside_other(at.datapath, 4, port_of_other, world.proto, {at.other}, from_outside);

    struct Leg {
        Conversation flow;
        bool masqueraded;
        Endpoint seen;
    };
    const auto dial = [&](const Endpoint& client, const Endpoint& dialled, bool masqueraded) {
        const Conversation flow = begin(at.datapath, world, client, dialled);
        const Packet between = world.first(flow.presented, flow.backend);
        const Run in = at.datapath.to_pod(between);
        CHECK(in.verdict == next);
        const Leg leg{flow, masqueraded, source_of(in.frame)};
        CHECK((leg.seen.addr == node_address(world)) == masqueraded);
        CHECK(difference(with_source(between, leg.seen).frame(), in.frame) == std::string());
        return leg;
    };
    const auto check_there = [&](const Leg& leg, const Packet& packet) {
        check_out(at.datapath, leg.flow, packet);
        const Packet between = with_source(with_destination(packet, leg.flow.backend), leg.flow.presented);
        CHECK_RUN(at.datapath.to_pod(between), next, with_source(between, leg.seen));
    };
    const auto check_here = [&](const Leg& leg, const Packet& packet) {
        const Packet between = with_destination(packet, leg.flow.presented);
        CHECK_RUN(at.datapath.from_pod(packet), next, between);
        check_back(at.datapath, leg.flow, between);
    };
    const Leg first = dial(at.one, first_masqueraded ? port_of_other : at.to_other, first_masqueraded);
    check_here(first, world.answer(at.other, first.seen));
    const Leg second = dial(at.other, second_masqueraded ? port_of_one : at.to_one, second_masqueraded);
    check_here(second, world.answer(at.one, second.seen));
    for (int i = 0; i < 3; i++) {
        for (const Leg& leg : {first, second}) {
            check_there(leg, world.data(leg.flow.client, leg.flow.dialled));
            check_here(leg, world.data(leg.flow.backend, leg.seen));
        }
    }
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("mutual: a pod of this node and one of another, which dials the node's port", "[mutual]") {
    const World world = every_world();
    const bool pod_first = GENERATE(false, true);
    CAPTURE(world, pod_first);
    const Pair at(world);
    const ServiceFixture outside(at.datapath, 3, node_port(world), world.proto, {at.one},
                                 {.set = SVCLB_SET_LOCAL, .kind = SVCLB_FRONTEND_NODE_PORT, .on_node = {at.one}});
    Conversation out;
    Conversation in;
    const auto dial_out = [&] {
        out = begin(at.datapath, world, at.one, at.to_other);
        const Packet leaves = world.first(out.presented, at.other);
        CHECK_RUN(at.datapath.to_uplink(leaves), next, leaves);
        const Packet answer = world.answer(at.other, out.presented);
        CHECK_RUN(at.datapath.from_uplink(answer), next, answer);
        check_back(at.datapath, out, answer);
    };
    const auto check_in = [&](const Packet& packet) {
        const Packet arrives = with_source(with_destination(packet, at.one), in.presented);
        CHECK_RUN(at.datapath.from_uplink(packet), next, arrives);
        CHECK_RUN(at.datapath.to_pod(arrives), next, arrives);
    };
    const auto check_in_back = [&](const Packet& packet) {
        CHECK_RUN(at.datapath.from_pod(packet), next, packet);
        CHECK_RUN(at.datapath.to_uplink(packet), next, with_source(with_destination(packet, at.other), in.dialled));
    };
    const auto dial_in = [&] {
        const Run run = at.datapath.from_uplink(world.first(at.other, node_port(world)));
        in = {at.other, node_port(world), at.one, source_of(run.frame)};
        check_in(world.first(at.other, node_port(world)));
        check_in_back(world.answer(at.one, in.presented));
    };
    if (pod_first) dial_out();
    dial_in();
    if (!pod_first) dial_out();
    CHECK((in.presented == at.other) != pod_first);
    CHECK((out.presented == at.one) == pod_first);
    for (int i = 0; i < 3; i++) {
        const Packet leaves = world.data(out.presented, at.other);
        check_out(at.datapath, out, world.data(at.one, at.to_other));
        CHECK_RUN(at.datapath.to_uplink(leaves), next, leaves);
        check_data_back(at.datapath, world, out);
        check_in(world.data(at.other, node_port(world)));
        check_in_back(world.data(at.one, in.presented));
    }
    CHECK(at.datapath.reasons() == 0);
}

TEST_CASE("mutual: a flow of another node to a pod here, which dials back", "[mutual]") {
    const World world = every_world();
    CAPTURE(world);
    const Pair at(world);
    const auto check_passes = [&](const Packet& packet) {
        const bool in = source_of(packet.frame()) == at.one;
        CHECK_RUN(in ? at.datapath.from_uplink(packet) : at.datapath.from_pod(packet), next, packet);
        CHECK_RUN(in ? at.datapath.to_pod(packet) : at.datapath.to_uplink(packet), next, packet);
    };
    check_passes(world.first(at.one, at.other));
    check_passes(world.answer(at.other, at.one));
    check_passes(world.data(at.one, at.other));
    const Conversation second = begin(at.datapath, world, at.other, at.to_one);
    CHECK(second.presented.port != at.other.port);
    check_answer(at.datapath, world, second);
    for (int i = 0; i < 3; i++) {
        check_passes(world.data(at.one, at.other));
        check_passes(world.data(at.other, at.one));
        check_data_out(at.datapath, world, second);
        check_data_back(at.datapath, world, second);
    }
    CHECK(at.datapath.reasons() == 0);
}
