// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What keeps a flow alive and what ends it: silence, forged and real resets, a SYN on what is long dead.
#include <bpf/bpf.h>

#include <ctime>

#include "conversation.hpp"

using namespace svclb::test;

namespace {

std::uint32_t monotonic_s() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint32_t>(now.tv_sec);
}

// As if neither direction had been seen for so long, and not in this tick.
void silence(Datapath& datapath, const World& world, const Conversation& flow, std::uint32_t seconds) {
    for (const auto& key : {forward_key(world, flow), reply_key(world, flow)}) {
        FlowEntry aged = entry(datapath, key);
        aged.flow.seen_s -= seconds;
        aged.flow.tick -= 100;
        datapath.put_flow(aged);
    }
}

std::uint32_t idle_s(const Datapath& datapath, const svclb_flow_key6& key) {
    return monotonic_s() - entry(datapath, key).flow.seen_s;
}

}  // namespace

TEST_CASE("life: times are seconds of CLOCK_MONOTONIC, which no step of the clock changes", "[life]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const std::uint32_t before = monotonic_s();
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    const std::uint32_t seen = entry(datapath, forward_key(world, flow)).flow.seen_s;
    CHECK(seen >= before);
    CHECK(seen <= monotonic_s());
}

TEST_CASE("life: a packet of either direction keeps both entries alive", "[life]") {
    const World world = any_world();
    const bool from_client = GENERATE(true, false);
    const bool established = GENERATE(true, false);
    CAPTURE(world, from_client, established);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = established ? establish(datapath, world, world.client(), world.frontend())
                                          : begin(datapath, world, world.client(), world.frontend());
    silence(datapath, world, flow, 50);
    if (from_client) {
        check_data_out(datapath, world, flow);
    } else {
        check_answer(datapath, world, flow);
    }
    CHECK(idle_s(datapath, forward_key(world, flow)) < 10);
    CHECK(idle_s(datapath, reply_key(world, flow)) < 10);
}

TEST_CASE("life: a stream that is never answered keeps its tuple for as long as it flows", "[life]") {
    const World world = udp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(0), world.proto, {world.backend()});
    const ServiceFixture other(datapath, 2, world.frontend(1), world.proto, {world.backend()});
    const Conversation stream = begin(datapath, world, world.client(), world.frontend(0));
    for (int i = 0; i < 3; i++) {
        silence(datapath, world, stream, 50);
        check_data_out(datapath, world, stream);
    }
    CHECK(begin(datapath, world, world.client(), world.frontend(1)).presented != world.client());
    CHECK(begin(datapath, world, world.client(), world.backend()).presented != world.client());
    check_data_out(datapath, world, stream);
}

TEST_CASE("life: a connection that goes on after a RST was not reset", "[life]") {
    const World world = tcp_world();
    const bool rst_from_client = GENERATE(true, false);
    const bool client_goes_on = GENERATE(true, false);
    CAPTURE(world, rst_from_client, client_goes_on);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    if (rst_from_client) {
        check_out(datapath, flow, tcp(flow.client, flow.dialled, rst));
    } else {
        check_back(datapath, flow, tcp(flow.backend, flow.presented, rst | ack));
    }
    CHECK(entry(datapath, forward_key(world, flow)).flow.reset);
    CHECK(entry(datapath, reply_key(world, flow)).flow.reset);
    if (client_goes_on) {
        check_data_out(datapath, world, flow);
    } else {
        check_data_back(datapath, world, flow);
    }
    CHECK_FALSE(entry(datapath, forward_key(world, flow)).flow.reset);
    CHECK_FALSE(entry(datapath, reply_key(world, flow)).flow.reset);
    // Its tuple is its own again.
    CHECK(begin(datapath, world, world.client(), world.backend()).presented != world.client());
}

TEST_CASE("life: a RST that answers the last words is believed", "[life]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    check_out(datapath, flow, tcp(flow.client, flow.dialled, rst));
    check_data_back(datapath, world, flow);  // was on its way
    check_out(datapath, flow, tcp(flow.client, flow.dialled, rst));
    service.publish({world.backend(1)});
    CHECK(begin(datapath, world, world.client(), world.frontend()).backend == world.backend(1));
}

TEST_CASE("life: a SYN on a connection that was silent for long chooses anew, other packets go on", "[life]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    service.publish({world.backend(1)});
    service.remove_backend(world.backend(0));

    silence(datapath, world, flow, 59);
    check_out(datapath, flow, world.first(flow.client, flow.dialled));
    silence(datapath, world, flow, 80000);
    check_data_out(datapath, world, flow);
    silence(datapath, world, flow, 62);
    CHECK(establish(datapath, world, world.client(), world.frontend()).backend == world.backend(1));
}

TEST_CASE("life: TCP Fast Open: the SYN's data goes where the connection goes", "[life]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0), world.backend(1)});
    for (std::uint16_t port = 40000; port < 40016; port++) {
        const Conversation flow = begin(datapath, world, world.client(port), world.frontend());
        Packet fast = world.first(flow.client, flow.dialled);
        fast.payload = payload_of(300);
        check_out(datapath, flow, fast);  // as a retransmission, and below as a first packet
        fast = with_source(fast, world.other_client(port));
        const Run run = datapath.from_pod(fast);
        CHECK_RUN(run, next, with_destination(fast, destination_of(run.frame)));
        const Conversation other{world.other_client(port), world.frontend(), destination_of(run.frame),
                                 world.other_client(port)};
        // The server may send data before the client's next packet.
        check_answer(datapath, world, other);
        check_data_back(datapath, world, other);
        check_data_out(datapath, world, other);
    }
}

TEST_CASE("life: simultaneous close ends a connection, and its last acknowledgments arrive", "[life]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    check_out(datapath, flow, tcp(flow.client, flow.dialled, fin | ack));
    check_back(datapath, flow, tcp(flow.backend, flow.presented, fin | ack));
    check_out(datapath, flow, tcp(flow.client, flow.dialled, ack));
    check_back(datapath, flow, tcp(flow.backend, flow.presented, ack));
    service.publish({world.backend(1)});
    CHECK(begin(datapath, world, world.client(), world.frontend()).backend == world.backend(1));
}

TEST_CASE("life: a repeated answer restores the client's entry", "[life]") {
    const World world = any_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0), world.backend(1)});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    check_answer(datapath, world, flow);
    datapath.remove_flow(forward_key(world, flow), false);
    check_answer(datapath, world, flow);
    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);
}

TEST_CASE("life: a SYN from the server of a hairpin is translated like its other packets", "[life]") {
    const World world = tcp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const Endpoint server{world.client().addr, 8080};
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {server});
    CHECK(datapath.from_pod(world.first(world.client(), world.frontend())).verdict == redirected);
    const Endpoint peer{world.frontend().addr, world.client().port};
    CHECK(datapath.from_pod(world.answer(server, peer)).verdict == redirected);
    CHECK(datapath.from_pod(tcp(world.client(), world.frontend(), fin | ack)).verdict == redirected);
    const Run run = datapath.from_pod(tcp(server, peer, syn));
    CHECK(run.verdict == redirected);
    CHECK(source_of(run.frame) == world.frontend());
    CHECK(destination_of(run.frame) == world.client());
}
