// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What becomes of a new flow where there is nothing to send it to: the table of behaviour row 1.16, cell by cell. The
// agent writes the verdicts (tests/unit/model); here is what the programs make of them.
#include "callers.hpp"
#include "node_netns.hpp"
#include "refusal.hpp"

using namespace svclb::test;

namespace {

enum class Then { reject, drop, forward };

struct Row {
    const char* name;
    bool internal;  // a ClusterIP, or one of the external addresses
    bool local;     // the policy of the address, and there are backends elsewhere; else there are none at all
    std::vector<By> by;
    Then then;
};

const Row kRows[] = {
    {"ClusterIP, nothing anywhere",
     true,
     false,
     {By::pod, By::pod_out_of_range, By::outside, By::outside_in_range},
     Then::reject},
    {"ClusterIP, Local, none here",
     true,
     true,
     {By::pod, By::pod_out_of_range, By::outside, By::outside_in_range},
     Then::drop},
    {"external, nothing anywhere",
     false,
     false,
     {By::pod, By::pod_out_of_range, By::outside, By::outside_in_range},
     Then::reject},
    {"external, Local, none here", false, true, {By::pod_out_of_range, By::outside}, Then::drop},
    {"external, Local, none here, inside", false, true, {By::pod, By::outside_in_range}, Then::forward},
};

ServiceFixture service_of(Datapath& datapath, const World& world, const Row& row, svclb_frontend_kind kind,
                          const Endpoint& dialled, bool source_ranges = false) {
    const svclb_set policy = row.local ? SVCLB_SET_LOCAL : SVCLB_SET_CLUSTER;
    ServiceFixture service(datapath, 1, dialled, world.proto, {},
                           {.set = row.internal ? policy : SVCLB_SET_CLUSTER,
                            .kind = kind,
                            .outside_set = policy,
                            .source_ranges = source_ranges});
    if (row.local) service.publish({world.backend()}, SVCLB_SET_CLUSTER);
    datapath.service(1).verdicts[SVCLB_SET_LOCAL] = row.local ? SVCLB_VERDICT_DROP : SVCLB_VERDICT_REJECT;
    if (row.internal) mark_cluster_ip(datapath, dialled.addr);
    return service;
}
// Only those of whom it is said need one.
void set_range(Datapath& datapath, const World& world, By by) {
    if (by == By::pod_out_of_range || by == By::outside_in_range) set_pod_range(datapath, world);
}

// The test-run knows where the headers of a packet end that it believes to have another one: TCP's answer over IPv6
// alone can be made from it (tunnel_test.cpp).
bool can_refuse(const World& world, By by) {
    return is_pod(by) || !world.bare;
}

Packet plain_first(const World& world, const Endpoint& client, const Endpoint& dialled) {
    Packet packet = world.first(client, dialled);
    if (world.tcp_flow()) packet.tcp().options.clear();
    return packet;
}

void check_cell(Datapath& datapath, const World& world, const Row& row, svclb_frontend_kind kind, By by, bool xdp) {
    datapath.clear();
    datapath.bare_uplinks(world.bare);
    expect_cut_packets(datapath);
    set_node_addresses(datapath);
    set_range(datapath, world, by);
    const Endpoint dialled = row.internal ? world.frontend() : node_port(world);
    const ServiceFixture service = service_of(datapath, world, row, kind, dialled);
    const Endpoint client = client_of(world, by);
    if (world.proto != IPPROTO_UDP) {
        // Begun before: whoever knows it has it.
        const Packet middle = world.data(client, dialled);
        CHECK_RUN(first_step(datapath, by, middle, xdp), next, middle);
        CHECK(datapath.reason(SVCLB_REASON_NO_FLOW).packets == 1);
    }
    const std::uint64_t before = datapath.reasons();
    const Packet packet = plain_first(world, client, dialled);
    if (row.then == Then::reject && !can_refuse(world, by)) return;
    const Run run = first_step(datapath, by, packet, xdp);
    switch (row.then) {
        case Then::reject:
            CHECK_RUN(run, redirected, refusal_of(world, packet));
            CHECK(datapath.reason(SVCLB_REASON_NO_BACKEND_REJECTED).packets == 1);
            break;
        case Then::drop:
            CHECK_RUN(run, dropped, packet);
            CHECK(datapath.reason(SVCLB_REASON_NO_LOCAL_BACKEND_DROPPED).packets == 1);
            break;
        case Then::forward:
            CHECK_RUN(run, next, with_destination(packet, world.backend()));
            break;
    }
    CHECK(datapath.reasons() == before + (row.then == Then::forward ? 0 : 1));
    if (row.then != Then::forward) CHECK(datapath.flows().empty());
}

template <class Act>
void with_kinds(const Row& row, const Act& act) {
    if (row.internal) return act(SVCLB_FRONTEND_CLUSTER_IP);
    for (const auto kind : {SVCLB_FRONTEND_NODE_PORT, SVCLB_FRONTEND_EXTERNAL_IP, SVCLB_FRONTEND_LOAD_BALANCER})
        act(kind);
}

}  // namespace

TEST_CASE("verdict: what becomes of a new flow, in each cell of the table", "[verdict]") {
    const World world = wire_world();
    const bool xdp = GENERATE(false, true);
    if (xdp && world.bare) return;
    CAPTURE(world, xdp);
    Datapath& datapath = open_datapath();
    for (const Row& row : kRows) {
        with_kinds(row, [&](svclb_frontend_kind kind) {
            for (const By by : row.by) {
                CAPTURE(row.name, kind, by);
                check_cell(datapath, world, row, kind, by, xdp);
            }
        });
    }
}

TEST_CASE("verdict: whoever is in no source range is dropped, whatever there is to send to", "[verdict]") {
    const World world = wire_world();
    const bool xdp = GENERATE(false, true);
    if (xdp && world.bare) return;
    CAPTURE(world, xdp);
    Datapath& datapath = open_datapath();
    for (const Row& row : kRows) {
        if (row.internal) continue;
        for (const By by : row.by) {
            CAPTURE(row.name, by);
            datapath.clear();
            datapath.bare_uplinks(world.bare);
            set_range(datapath, world, by);
            const ServiceFixture service =
                service_of(datapath, world, row, SVCLB_FRONTEND_LOAD_BALANCER, node_port(world), true);
            const Packet packet = plain_first(world, client_of(world, by), node_port(world));
            CHECK_RUN(first_step(datapath, by, packet, xdp), dropped, packet);
            CHECK(datapath.reason(SVCLB_REASON_SOURCE_RANGE_DROPPED).packets == 1);
            CHECK(datapath.reasons() == 1);
        }
    }
}

TEST_CASE("verdict: from outside a ClusterIP is silent whatever it has, unless it may be dialled from there",
          "[verdict]") {
    const World world = wire_world();
    const bool xdp = GENERATE(false, true);
    if (xdp && world.bare) return;
    CAPTURE(world, xdp);
    Datapath& datapath = fresh_datapath();
    for (const Row& row : kRows) {
        if (!row.internal) continue;
        for (const By by : {By::outside, By::outside_in_range}) {
            CAPTURE(row.name, by);
            datapath.clear();
            datapath.bare_uplinks(world.bare);
            set_range(datapath, world, by);
            const ServiceFixture service =
                service_of(datapath, world, row, SVCLB_FRONTEND_CLUSTER_IP, world.frontend());
            const Packet packet = plain_first(world, client_of(world, by), world.frontend());
            CHECK_RUN(first_step(datapath, by, packet, xdp), dropped, packet);
            CHECK(datapath.reason(SVCLB_REASON_CLUSTER_IP_FROM_OUTSIDE).packets == 1);
            CHECK(datapath.reasons() == 1);
        }
    }
}

TEST_CASE("verdict: the node itself, by way of the catch-all", "[verdict]") {
    const NodeNetns netns;
    Datapath& datapath = fresh_datapath();
    for (const int family : {4, 6}) {
        for (const auto proto : {std::uint8_t{IPPROTO_TCP}, std::uint8_t{IPPROTO_UDP}, std::uint8_t{IPPROTO_SCTP}}) {
            const World world{family, proto};
            const Endpoint node{world.net("192.0.2.1", "2001:db8::1"), 40000};
            for (const Row& row : kRows) {
                if (!row.internal) continue;
                CAPTURE(world, row.name);
                datapath.clear();
                expect_cut_packets(datapath);
                const ServiceFixture service =
                    service_of(datapath, world, row, SVCLB_FRONTEND_CLUSTER_IP, world.frontend());
                const Packet packet = plain_first(world, node, world.frontend());
                const Run run = datapath.from_host(packet);
                if (row.then == Then::drop) {
                    CHECK_RUN(run, dropped, packet);
                    CHECK(datapath.reason(SVCLB_REASON_NO_LOCAL_BACKEND_DROPPED).packets == 1);
                } else {
                    CHECK_RUN(run, redirected, refusal_of(world, packet));
                    CHECK(datapath.reason(SVCLB_REASON_NO_BACKEND_REJECTED).packets == 1);
                }
                CHECK(datapath.reasons() == 1);
            }
        }
    }
}
