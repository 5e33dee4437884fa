// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Whose flows get the node's address as their source: the matrix of behaviour rows 1.19 to 1.23, cell by cell, and what
// happens to such a flow afterwards where both ends are pods of the node. docs/behaviour.md has the same tables.
#include <algorithm>
#include <optional>

#include "callers.hpp"

using namespace svclb::test;

namespace {

enum class Sees { client, node, node_where_elsewhere, frontend };
// Where the backend is. On the host network of this node it is met at no device of ours.
enum class Backend { here, elsewhere, host_network };

constexpr auto kCluster = SVCLB_SET_CLUSTER;
constexpr auto kLocal = SVCLB_SET_LOCAL;
constexpr std::nullopt_t kAny = std::nullopt;

// A row of the matrix as docs/behaviour.md has it: who dials what and is shown to a backend of which set as whom.
struct Row {
    const char* name;
    bool internal;  // a ClusterIP, or one of the external kinds
    std::optional<svclb_set> policy;
    std::vector<By> by;
    std::optional<bool> masquerade_all;
    Sees sees;
    std::optional<svclb_set> set;  // else the policy's own
};

const Row kRows[] = {
    {"1.19 a pod", true, kAny, {By::pod}, false, Sees::client, kAny},
    {"1.19 a pod, masqueradeAll", true, kAny, {By::pod}, true, Sees::node, kAny},
    {"1.19 outside of the range", true, kAny, {By::pod_out_of_range, By::outside}, kAny, Sees::node, kAny},
    {"1.19 outside, in the range", true, kAny, {By::outside_in_range}, false, Sees::node_where_elsewhere, kAny},
    {"1.19 outside, in the range, masqueradeAll", true, kAny, {By::outside_in_range}, true, Sees::node, kAny},
    {"1.20 Cluster",
     false,
     kCluster,
     {By::pod, By::pod_out_of_range, By::outside, By::outside_in_range},
     kAny,
     Sees::node,
     kAny},
    {"1.20 Local, out of the range", false, kLocal, {By::pod_out_of_range, By::outside}, kAny, Sees::client, kAny},
    {"1.22 Local, a pod", false, kLocal, {By::pod}, kAny, Sees::client, kCluster},
    {"1.22 Local, outside, in the range",
     false,
     kLocal,
     {By::outside_in_range},
     kAny,
     Sees::node_where_elsewhere,
     kCluster},
    {"1.21 itself, ClusterIP", true, kAny, {By::itself}, kAny, Sees::frontend, kAny},
    {"1.21 itself, external", false, kAny, {By::itself}, kAny, Sees::frontend, kCluster},
};

// One cell: everything that a row leaves open is said.
struct Cell {
    svclb_frontend_kind kind;
    svclb_set policy;
    By by;
    bool masquerade_all;
    bool with_range;  // pods of the cluster are known by a range, else by their links
    Backend backend;
};

bool belongs(const Row& row, const Cell& cell) {
    return row.internal == (cell.kind == SVCLB_FRONTEND_CLUSTER_IP) &&
           row.policy.value_or(cell.policy) == cell.policy && std::count(row.by.begin(), row.by.end(), cell.by) == 1 &&
           row.masquerade_all.value_or(cell.masquerade_all) == cell.masquerade_all;
}
// Each cell is in one row, or the table is not one.
const Row& row_of(const Cell& cell) {
    const Row* found = nullptr;
    for (const Row& row : kRows) {
        if (!belongs(row, cell)) continue;
        REQUIRE(found == nullptr);
        found = &row;
    }
    REQUIRE(found != nullptr);
    return *found;
}
svclb_set set_of(const Cell& cell) {
    return row_of(cell).set.value_or(cell.policy);
}
bool can_be(const Cell& cell) {
    if (!cell.with_range && (cell.by == By::pod_out_of_range || cell.by == By::outside_in_range)) return false;
    if (cell.by == By::itself) return cell.backend == Backend::here;
    return cell.backend != Backend::elsewhere || set_of(cell) == kCluster;
}
std::vector<Cell> every_cell() {
    std::vector<Cell> cells;
    for (const auto kind : {SVCLB_FRONTEND_CLUSTER_IP, SVCLB_FRONTEND_NODE_PORT, SVCLB_FRONTEND_EXTERNAL_IP,
                            SVCLB_FRONTEND_LOAD_BALANCER})
        for (const auto policy : {kCluster, kLocal})
            for (const auto by : {By::pod, By::pod_out_of_range, By::itself, By::outside, By::outside_in_range})
                for (const bool all : {false, true})
                    for (const bool with_range : {false, true})
                        for (const auto backend : {Backend::here, Backend::elsewhere, Backend::host_network}) {
                            const Cell cell{kind, policy, by, all, with_range, backend};
                            if (can_be(cell)) cells.push_back(cell);
                        }
    return cells;
}
std::string to_string(const Cell& cell) {
    std::string text = row_of(cell).name;
    text += ", kind " + std::to_string(cell.kind) + ", policy " + std::to_string(cell.policy);
    text += ", by " + std::to_string(static_cast<int>(cell.by)) + (cell.masquerade_all ? ", all" : "");
    return text + (cell.with_range ? ", range" : "") + ", backend " + std::to_string(static_cast<int>(cell.backend));
}

void set_masquerade(Datapath& datapath, const World& world, const Cell& cell) {
    datapath.masquerade().all = cell.masquerade_all ? 1 : 0;
    if (cell.with_range) set_pod_range(datapath, world);
}

// The service of a cell, with one backend in each set and its row of masquerading.
struct Dialled {
    Dialled(Datapath& datapath, const World& world, const Cell& cell)
        : internal(cell.kind == SVCLB_FRONTEND_CLUSTER_IP),
          frontend(internal ? world.frontend() : node_port(world)),
          in_cluster(cell.by == By::itself ? Endpoint{client_of(world, cell.by).addr, 8080} : world.backend(0)),
          in_local(cell.by == By::itself ? in_cluster : world.backend(1)),
          service(emptied(datapath, world, cell), 1, frontend, world.proto, {}, options(cell)) {
        service.publish({in_cluster}, kCluster);
        service.publish({in_local}, kLocal);
        if (internal) mark_cluster_ip(datapath, frontend.addr);
    }

    static Datapath& emptied(Datapath& datapath, const World& world, const Cell& cell) {
        datapath.clear();
        datapath.bare_uplinks(world.bare);
        set_node_addresses(datapath);
        set_masquerade(datapath, world, cell);
        return datapath;
    }
    [[nodiscard]] ServiceOptions options(const Cell& cell) const {
        ServiceOptions made{.set = internal ? cell.policy : kCluster, .kind = cell.kind, .outside_set = cell.policy};
        if (cell.backend != Backend::elsewhere) made.on_node = {in_cluster, in_local};
        return made;
    }

    bool internal;
    Endpoint frontend;
    Endpoint in_cluster;
    Endpoint in_local;
    ServiceFixture service;
};

// A pod that is its own backend: back out of its own device, in both directions.
void check_itself(Datapath& datapath, const World& world, const Endpoint& client, const Endpoint& frontend,
                  const Endpoint& backend) {
    const Endpoint peer{frontend.addr, client.port};
    const auto check = [&](const Packet& packet, const Endpoint& from, const Endpoint& to) {
        Packet met = with_source(with_destination(packet, to), from);
        std::swap(met.to_mac, met.from_mac);
        CHECK_RUN(datapath.from_pod(packet), redirected, met);
    };
    check(world.first(client, frontend), peer, backend);
    check(world.answer(backend, peer), frontend, client);
    check(world.data(client, frontend), peer, backend);
    check(world.data(backend, peer), frontend, client);
    CHECK(datapath.flows().size() == 2);
}

void check_cell(Datapath& datapath, const World& world, const Cell& cell) {
    const Dialled dialled(datapath, world, cell);
    const Endpoint client = client_of(world, cell.by);
    const Endpoint backend = set_of(cell) == kLocal ? dialled.in_local : dialled.in_cluster;
    const Sees sees = row_of(cell).sees;
    if (sees == Sees::frontend) return check_itself(datapath, world, client, dialled.frontend, backend);

    // From outside to another node the answer would not come back without.
    const bool masqueraded =
        sees == Sees::node || (sees == Sees::node_where_elsewhere && cell.backend == Backend::elsewhere);
    const bool here = cell.backend == Backend::here;
    Endpoint seen = client;
    const auto go = [&](const Packet& packet) {
        const Packet forwarded = with_destination(packet, backend);
        CHECK_RUN(first_step(datapath, cell.by, packet, !world.bare), next, forwarded);
        if (cell.backend == Backend::host_network) return;
        const Run out = here ? datapath.to_pod(forwarded) : datapath.to_uplink(forwarded);
        if (masqueraded && seen == client) seen = source_of(out.frame);
        CHECK_RUN(out, next, with_source(forwarded, seen));
    };
    const auto come = [&](const Packet& packet) {
        const Packet back = with_destination(packet, client);
        if (cell.backend != Backend::host_network)
            CHECK_RUN(here ? datapath.from_pod(packet) : datapath.from_uplink(packet), next, back);
        CHECK_RUN(is_pod(cell.by) ? datapath.to_pod(back) : datapath.to_uplink(back), next,
                  with_source(back, dialled.frontend));
    };
    go(world.first(client, dialled.frontend));
    if (masqueraded && cell.backend != Backend::host_network) {
        CHECK(seen.addr == node_address(world));
        CHECK(seen.port >= 61000);
    }
    come(world.answer(backend, seen));
    go(world.data(client, dialled.frontend));
    come(world.data(backend, seen));
}

}  // namespace

TEST_CASE("masquerade: whom a backend sees, in each cell of the matrix", "[masquerade]") {
    const World world = wire_world();
    CAPTURE(world);
    Datapath& datapath = open_datapath();
    const std::vector<Cell> cells = every_cell();
    CHECK(cells.size() == 290);
    for (const Cell& cell : cells) {
        CAPTURE(to_string(cell));
        check_cell(datapath, world, cell);
        CHECK(datapath.reasons() == 0);
    }
}

TEST_CASE("masquerade: what XDP turns round has the source that the matrix says", "[masquerade]") {
    const World world = any_world();
    CAPTURE(world);
    const RoutedNetns netns;
    Datapath& datapath = open_datapath();
    const auto serve = [&datapath](bool on) {
        for (const std::uint32_t device : {kEntry, TurnedFlow::uplink()}) {
            if (on)
                put_xdp_link(datapath, device, device == kEntry ? Packet{}.to_mac : kUplink);
            else
                remove_xdp_link(datapath, device);
        }
    };
    for (const Cell& cell : every_cell()) {
        if (is_pod(cell.by) || cell.backend != Backend::elsewhere) continue;
        CAPTURE(to_string(cell));
        const Dialled dialled(datapath, world, cell);
        const Outside flow = dial(datapath, world, client_of(world, cell.by), dialled.frontend, Seen::node_elsewhere);
        check_reply(datapath, flow, answer_of(world, flow));
        const Packet out = world.data(flow.client, flow.dialled);
        const Packet back = data_from(world, flow);
        const auto tick_of_flow = [&] {
            check_in(datapath, flow, out);
            check_reply(datapath, flow, back);
            return datapath.find_flow(flow_key(flow.client, flow.dialled, world.proto, SVCLB_FROM_WIRE))->flow.tick;
        };
        // A tick may end at any time, and then the next packet is tc's.
        const auto turned = [&](const Packet& packet) {
            for (;;) {
                const auto before = tick_of_flow();
                serve(true);
                Run run = datapath.from_wire(packet.frame());
                serve(false);
                if (tick_of_flow() == before) return run;
            }
        };
        const auto forwarded = [](Packet packet) {
            packet.ttl--;
            packet.to_mac = kGateway;
            packet.from_mac = kUplink;
            return packet;
        };
        CHECK_RUN(turned(out), xdp_redirect, forwarded(with_source(with_destination(out, flow.backend), flow.node)));
        CHECK_RUN(turned(back), xdp_redirect,
                  forwarded(with_source(with_destination(back, flow.client), flow.dialled)));
        CHECK(datapath.reasons() == 0);
    }
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
