// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Whose flows get the node's address as their source: the matrix of behaviour rows 1.19 to 1.23, cell by cell, and what
// happens to such a flow afterwards where both ends are pods of the node. docs/behaviour.md has the same tables.
#include <cstring>

#include "outside.hpp"
#include "refusal.hpp"

using namespace svclb::test;

namespace {

enum class Kind { cluster_ip, external };
enum class From { pod, pod_out_of_range, outside, outside_in_range };
enum class To { chosen_here, chosen_elsewhere };

// One cell: who dials what, and which set's backend sees whom.
struct Cell {
    const char* row;
    Kind kind;
    svclb_set policy;
    bool masquerade_all;
    bool with_range;  // pods of the cluster are known by a range, else by their links
    From from;
    svclb_set set;
    bool masqueraded;
};

constexpr auto kCluster = SVCLB_SET_CLUSTER;
constexpr auto kLocal = SVCLB_SET_LOCAL;

// For a backend on this node; one elsewhere differs in one cell, which the test has.
const Cell kCells[] = {
    {"1.19 pod", Kind::cluster_ip, kCluster, false, false, From::pod, kCluster, false},
    {"1.19 pod, range", Kind::cluster_ip, kCluster, false, true, From::pod, kCluster, false},
    {"1.19 pod, masqueradeAll", Kind::cluster_ip, kCluster, true, false, From::pod, kCluster, true},
    {"1.19 pod, range, masqueradeAll", Kind::cluster_ip, kCluster, true, true, From::pod, kCluster, true},
    {"1.19 pod out of the range", Kind::cluster_ip, kCluster, false, true, From::pod_out_of_range, kCluster, true},
    {"1.19 outside", Kind::cluster_ip, kCluster, false, false, From::outside, kCluster, true},
    {"1.19 outside, range", Kind::cluster_ip, kCluster, false, true, From::outside, kCluster, true},
    {"1.19 outside in the range", Kind::cluster_ip, kCluster, false, true, From::outside_in_range, kCluster, false},
    {"1.19 outside in the range, masqueradeAll", Kind::cluster_ip, kCluster, true, true, From::outside_in_range,
     kCluster, true},
    {"1.19 internal policy Local has no influence", Kind::cluster_ip, kLocal, false, false, From::pod, kLocal, false},
    {"1.19 internal policy Local, masqueradeAll", Kind::cluster_ip, kLocal, true, false, From::pod, kLocal, true},
    {"1.19 internal policy Local, outside", Kind::cluster_ip, kLocal, false, false, From::outside, kLocal, true},
    {"1.20 Cluster, pod", Kind::external, kCluster, false, false, From::pod, kCluster, true},
    {"1.20 Cluster, pod, range", Kind::external, kCluster, false, true, From::pod, kCluster, true},
    {"1.20 Cluster, pod out of the range", Kind::external, kCluster, false, true, From::pod_out_of_range, kCluster,
     true},
    {"1.20 Cluster, outside", Kind::external, kCluster, false, false, From::outside, kCluster, true},
    {"1.20 Cluster, outside in the range", Kind::external, kCluster, false, true, From::outside_in_range, kCluster,
     true},
    {"1.20 Local, outside", Kind::external, kLocal, false, false, From::outside, kLocal, false},
    {"1.20 Local, outside, masqueradeAll", Kind::external, kLocal, true, false, From::outside, kLocal, false},
    {"1.20 Local, outside, range", Kind::external, kLocal, false, true, From::outside, kLocal, false},
    {"1.22 Local, pod", Kind::external, kLocal, false, false, From::pod, kCluster, false},
    {"1.22 Local, pod, masqueradeAll", Kind::external, kLocal, true, false, From::pod, kCluster, false},
    {"1.22 Local, pod, range", Kind::external, kLocal, false, true, From::pod, kCluster, false},
    {"1.22 Local, pod out of the range", Kind::external, kLocal, false, true, From::pod_out_of_range, kLocal, false},
    {"1.22 Local, outside in the range", Kind::external, kLocal, false, true, From::outside_in_range, kCluster, false},
};

bool is_pod(From from) {
    return from == From::pod || from == From::pod_out_of_range;
}

// The range is 10.244.0.0/16 and fd00:244::/32.
void set_range(svclb_cidr& range, const Ip& address, std::initializer_list<std::uint32_t> mask) {
    std::memcpy(range.addr, address.bytes.data(), sizeof(range.addr));
    std::copy(mask.begin(), mask.end(), range.mask);
}
void set_masquerade(Datapath& datapath, bool all, bool with_range) {
    svclb_masquerade& row = datapath.masquerade();
    row = {};
    row.all = all ? 1 : 0;
    if (!with_range) return;
    row.has_v4 = row.has_v6 = 1;
    set_range(row.v4, ip("10.244.0.0"), {~0U, ~0U, ~0U, htonl(0xffff0000)});
    set_range(row.v6, ip("fd00:244::"), {~0U, 0, 0, 0});
}

Endpoint client_of(const World& world, From from) {
    switch (from) {
        case From::pod:
            return world.client();
        case From::outside_in_range:
            return {world.net("10.244.9.9", "fd00:244:9::9"), 40000};
        case From::pod_out_of_range:
            return {world.net("10.9.9.9", "fd00:9::9"), 40000};
        case From::outside:
            break;
    }
    return outside_client(world);
}

// The first packet of a flow at the client's device.
Run first_step(Datapath& datapath, From from, const Packet& packet) {
    return is_pod(from) ? datapath.from_pod(packet) : datapath.from_uplink(packet);
}
// What comes back to the client, there.
Run last_step(Datapath& datapath, From from, const Packet& packet) {
    return is_pod(from) ? datapath.to_pod(packet) : datapath.to_uplink(packet);
}

void check_cell(Datapath& datapath, const World& world, const Cell& cell, svclb_frontend_kind kind, To where) {
    datapath.clear();
    set_node_addresses(datapath);
    set_masquerade(datapath, cell.masquerade_all, cell.with_range);
    const bool internal = cell.kind == Kind::cluster_ip;
    const Endpoint dialled = internal ? world.frontend() : node_port(world);
    const Endpoint in_cluster = world.backend(0);
    const Endpoint in_local = world.backend(1);
    ServiceOptions options{.set = internal ? cell.policy : kCluster, .kind = kind, .outside_set = cell.policy};
    if (where == To::chosen_here) options.on_node = {in_cluster, in_local};
    ServiceFixture service(datapath, 1, dialled, world.proto, {}, options);
    service.publish({in_cluster}, kCluster);
    service.publish({in_local}, kLocal);
    if (internal) mark_cluster_ip(datapath, dialled.addr);
    const Endpoint client = client_of(world, cell.from);
    const Endpoint backend = cell.set == kLocal ? in_local : in_cluster;

    const Packet first = world.first(client, dialled);
    const Packet forwarded = with_destination(first, backend);
    CHECK_RUN(first_step(datapath, cell.from, first), next, forwarded);
    // From outside to another node the answer would not come back without.
    const bool masqueraded = cell.masqueraded || (where == To::chosen_elsewhere && !is_pod(cell.from));
    const Run out = where == To::chosen_here ? datapath.to_pod(forwarded) : datapath.to_uplink(forwarded);
    CHECK(out.verdict == next);
    const Endpoint seen = source_of(out.frame);
    CHECK(seen.addr == (masqueraded ? node_address(world) : client.addr));
    CHECK(difference(with_source(forwarded, seen).frame(), out.frame) == std::string());

    const Packet answer = world.answer(backend, seen);
    const Packet back = with_destination(answer, client);
    const Run in = where == To::chosen_here ? datapath.from_pod(answer) : datapath.from_uplink(answer);
    CHECK(in.verdict == next);
    CHECK(difference(back.frame(), in.frame) == std::string());
    CHECK_RUN(last_step(datapath, cell.from, back), next, with_source(back, dialled));
    CHECK(datapath.reasons() == 0);
}

}  // namespace

TEST_CASE("masquerade: whom a backend sees, in each cell of the matrix", "[masquerade]") {
    const World world = any_world();
    const To where = GENERATE(To::chosen_here, To::chosen_elsewhere);
    CAPTURE(world, where);
    Datapath& datapath = open_datapath();
    for (const Cell& cell : kCells) {
        CAPTURE(cell.row);
        if (cell.kind == Kind::cluster_ip) {
            check_cell(datapath, world, cell, SVCLB_FRONTEND_CLUSTER_IP, where);
            continue;
        }
        for (const auto kind : {SVCLB_FRONTEND_NODE_PORT, SVCLB_FRONTEND_EXTERNAL_IP, SVCLB_FRONTEND_LOAD_BALANCER}) {
            CAPTURE(kind);
            check_cell(datapath, world, cell, kind, where);
        }
    }
}

TEST_CASE("masquerade: a pod that reaches itself is a hairpin in every setting", "[masquerade]") {
    const World world = any_world();
    const auto kind = GENERATE(SVCLB_FRONTEND_CLUSTER_IP, SVCLB_FRONTEND_LOAD_BALANCER);
    const bool all = GENERATE(false, true);
    const bool with_range = GENERATE(false, true);
    CAPTURE(world, kind, all, with_range);
    Datapath& datapath = fresh_datapath();
    set_node_addresses(datapath);
    set_masquerade(datapath, all, with_range);
    const Endpoint itself{world.client().addr, 8080};
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {itself},
                                 {.kind = kind, .on_node = {itself}});
    const Packet first = world.first(world.client(), world.frontend());
    Packet met = with_source(with_destination(first, itself), {world.frontend().addr, world.client().port});
    std::swap(met.to_mac, met.from_mac);
    CHECK_RUN(datapath.from_pod(first), redirected, met);
    CHECK(datapath.flows().size() == 2);
}

TEST_CASE("masquerade: a pod's flow through the node's address lives on as any other", "[masquerade]") {
    const World world = wire_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    set_node_addresses(datapath);
    ServiceFixture service(datapath, 1, node_port(world), world.proto, {world.backend()},
                           {.kind = SVCLB_FRONTEND_NODE_PORT, .on_node = {world.backend()}});
    const auto out = [&](const Packet& packet) {
        const Packet forwarded = with_destination(packet, world.backend());
        CHECK_RUN(datapath.from_pod(packet), next, forwarded);
        return datapath.to_pod(forwarded);
    };
    const Endpoint node = source_of(out(world.first(world.client(), node_port(world))).frame);
    CHECK(node.addr == node_address(world));
    const auto back = [&](const Packet& packet) {
        const Packet forwarded = with_destination(packet, world.client());
        CHECK_RUN(datapath.from_pod(packet), next, forwarded);
        CHECK_RUN(datapath.to_pod(forwarded), next, with_source(forwarded, node_port(world)));
    };
    back(world.answer(world.backend(), node));
    const Packet data = world.data(world.client(), node_port(world));
    const Packet seen = with_source(with_destination(data, world.backend()), node);
    CHECK(difference(seen.frame(), out(data).frame) == std::string());
    CHECK(datapath.flows().size() == 4);
    for (const FlowEntry& entry : datapath.flows()) CHECK(entry.established);
    if (world.tcp_flow()) {
        service.remove();
        CHECK(difference(seen.frame(), out(data).frame) == std::string());
    }
    back(world.data(world.backend(), node));
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("masquerade: packets of others to one of the node's source ports go on untouched", "[masquerade]") {
    const World world = any_world();
    CAPTURE(world);
    const NodePort at(world, Seen::node_here);
    const Outside flow = establish(at);
    const Packet stranger = world.data(world.other_client(), flow.node);
    CHECK_RUN(at.datapath.from_pod(stranger), next, stranger);
    const Packet first = world.first(world.other_client(), flow.node);
    CHECK_RUN(at.datapath.from_pod(first), next, first);
    CHECK_RUN(at.datapath.from_uplink(stranger), next, stranger);
    CHECK(at.datapath.reasons() == 0);
}
