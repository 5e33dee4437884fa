// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What becomes of a new flow where there is nothing to send it to: the table of behaviour row 1.16, cell by cell. The
// agent writes the verdicts (tests/unit/model); here is what the programs make of them.
#include "outside.hpp"
#include "refusal.hpp"

using namespace svclb::test;

namespace {

enum class From { pod, outside };
enum class Then { reject, drop, forward };

struct Cell {
    const char* row;
    bool internal;  // a ClusterIP, or one of the external addresses
    bool local;     // the policy of the address, and there are backends elsewhere; else there are none at all
    From from;
    Then then;
};

const Cell kCells[] = {
    {"ClusterIP, nothing anywhere, pod", true, false, From::pod, Then::reject},
    {"ClusterIP, nothing anywhere, outside", true, false, From::outside, Then::reject},
    {"ClusterIP, internal Local, none here, pod", true, true, From::pod, Then::drop},
    {"ClusterIP, internal Local, none here, outside", true, true, From::outside, Then::drop},
    {"external, nothing anywhere, pod", false, false, From::pod, Then::reject},
    {"external, nothing anywhere, outside", false, false, From::outside, Then::reject},
    {"external, Local, none here, pod", false, true, From::pod, Then::forward},
    {"external, Local, none here, outside", false, true, From::outside, Then::drop},
};

void check_cell(const World& world, const Cell& cell, svclb_frontend_kind kind) {
    Datapath& datapath = open_datapath();
    expect_cut_packets(datapath);
    set_node_addresses(datapath);
    const Endpoint dialled = cell.internal ? world.frontend() : node_port(world);
    const svclb_set policy = cell.local ? SVCLB_SET_LOCAL : SVCLB_SET_CLUSTER;
    ServiceFixture service(datapath, 1, dialled, world.proto, {},
                           {.set = cell.internal ? policy : SVCLB_SET_CLUSTER, .kind = kind, .outside_set = policy});
    if (cell.local) {
        service.publish({world.backend()}, SVCLB_SET_CLUSTER);
        datapath.service(1).verdicts[SVCLB_SET_LOCAL] = SVCLB_VERDICT_DROP;
    } else {
        datapath.service(1).verdicts[SVCLB_SET_LOCAL] = SVCLB_VERDICT_REJECT;
    }
    if (cell.internal) mark_cluster_ip(datapath, dialled.addr);
    const Endpoint client = cell.from == From::pod ? world.client() : outside_client(world);
    Packet packet = world.first(client, dialled);
    if (world.tcp_flow()) packet.tcp().options.clear();
    const Run run = cell.from == From::pod ? datapath.from_pod(packet) : datapath.from_uplink(packet);
    switch (cell.then) {
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
    CHECK(datapath.reasons() == (cell.then == Then::forward ? 0 : 1));
}

}  // namespace

TEST_CASE("verdict: what becomes of a new flow, in each cell of the table", "[verdict]") {
    const World world = any_world();
    CAPTURE(world);
    for (const Cell& cell : kCells) {
        CAPTURE(cell.row);
        if (cell.internal) {
            check_cell(world, cell, SVCLB_FRONTEND_CLUSTER_IP);
            continue;
        }
        for (const auto kind : {SVCLB_FRONTEND_NODE_PORT, SVCLB_FRONTEND_EXTERNAL_IP, SVCLB_FRONTEND_LOAD_BALANCER}) {
            CAPTURE(kind);
            check_cell(world, cell, kind);
        }
    }
}
