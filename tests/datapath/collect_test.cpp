// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The collector removes dead pairs, whole, and nothing else.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <netinet/in.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "kernel_sandbox.hpp"

namespace svclb::datapath {
namespace {

constexpr std::uint64_t kNow = 500'000;

// Writes entries as the programs do.
class FlowTable {
public:
    FlowTable(const KernelSandbox& sandbox, const char* name)
        : map_(bpf_obj_get((sandbox.bpf_dir() / "maps" / name).c_str())) {
        REQUIRE(map_);
    }

    void put(const svclb_flow_key4& key, const svclb_flow& flow) const {
        REQUIRE(bpf_map_update_elem(map_.get(), &key, &flow, BPF_ANY) == 0);
    }
    // As a packet does that finds its entry; false if that is gone.
    [[nodiscard]] bool refresh(const svclb_flow_key4& key, const svclb_flow& flow) const {
        return bpf_map_update_elem(map_.get(), &key, &flow, BPF_EXIST) == 0;
    }
    [[nodiscard]] bool has(const svclb_flow_key4& key) const {
        svclb_flow flow{};
        return bpf_map_lookup_elem(map_.get(), &key, &flow) == 0;
    }
    [[nodiscard]] std::size_t size() const {
        svclb_flow_key4 key{};
        std::size_t count = 0;
        for (bool first = true; bpf_map_get_next_key(map_.get(), first ? nullptr : &key, &key) == 0; first = false)
            ++count;
        return count;
    }

private:
    UniqueFd map_;
};

struct Pair {
    svclb_flow_key4 forward_key{};
    svclb_flow_key4 reply_key{};
    svclb_flow forward{};
    svclb_flow reply{};

    // Client 10.0.0.1:port by way of 10.0.0.9:80 to 10.0.0.2:8080.
    Pair(std::uint16_t port, std::uint64_t forward_idle_s, std::uint64_t reply_idle_s) {
        const __be32 client = htonl(0x0a000001);
        const __be32 frontend = htonl(0x0a000009);
        const __be32 backend = htonl(0x0a000002);
        forward_key = {.saddr = client,
                       .daddr = frontend,
                       .sport = htons(port),
                       .dport = htons(80),
                       .proto = IPPROTO_TCP,
                       .direction = SVCLB_FROM_POD,
                       .pad = 0};
        reply_key = {.saddr = backend,
                     .daddr = client,
                     .sport = htons(8080),
                     .dport = htons(port),
                     .proto = IPPROTO_TCP,
                     .direction = SVCLB_TO_POD,
                     .pad = 0};
        forward = flow(SVCLB_FLOW_FORWARD, backend, 8080, port, forward_idle_s);
        reply = flow(SVCLB_FLOW_REPLY, frontend, 80, port, reply_idle_s);
    }

private:
    static svclb_flow flow(svclb_flow_kind kind, __be32 address, std::uint16_t port, std::uint16_t client_port,
                           std::uint64_t idle_s) {
        svclb_flow flow{};
        flow.addr[2] = htonl(SVCLB_V4_MAPPED_PREFIX);
        flow.addr[3] = address;
        flow.port = htons(port);
        flow.client_port = htons(client_port);
        flow.kind = static_cast<std::uint8_t>(kind);
        flow.answered = 1;
        flow.seen_s = static_cast<std::uint32_t>(kNow - idle_s);
        return flow;
    }
};

CollectStep whole_walk(Datapath& datapath, std::uint32_t budget) {
    CollectStep total;
    for (int steps = 0; steps < 100000; ++steps) {
        const auto step = datapath.collect({}, kNow, budget);
        REQUIRE(step);
        total.visited += step->visited;
        total.removed += step->removed;
        if (step->finished) return total;
    }
    FAIL("the walk does not end");
    return total;
}

}  // namespace

TEST_CASE("dead pairs go whole, living ones stay whole, a half that is idle is kept by the other") {
    const KernelSandbox sandbox;
    Datapath datapath = open_or_fail(sandbox.options());
    const FlowTable table(sandbox, "established4");
    const Pair dead(1000, 90000, 90000);
    const Pair alive(1001, 5, 5);
    const Pair one_way(1002, 5, 90000);
    Pair closed(1003, 130, 130);
    closed.forward.client_fin = 1;
    closed.reply.backend_fin = 1;
    for (const Pair& pair : {dead, alive, one_way, closed}) {
        table.put(pair.forward_key, pair.forward);
        table.put(pair.reply_key, pair.reply);
    }
    const CollectStep walk = whole_walk(datapath, 2);
    CHECK(walk.removed == 4);
    for (const Pair& pair : {alive, one_way}) {
        CHECK(table.has(pair.forward_key));
        CHECK(table.has(pair.reply_key));
    }
    CHECK(table.size() == 4);
    CHECK(whole_walk(datapath, 2).removed == 0);
}

TEST_CASE("a partner in the transient table keeps a flow alive, and goes with it") {
    const KernelSandbox sandbox;
    Datapath datapath = open_or_fail(sandbox.options());
    const FlowTable established(sandbox, "established4");
    const FlowTable transient(sandbox, "transient4");
    const Pair alive(1000, 90000, 5);
    const Pair dead(1001, 90000, 90000);
    for (const Pair& pair : {alive, dead}) {
        established.put(pair.forward_key, pair.forward);
        transient.put(pair.reply_key, pair.reply);
    }
    CHECK(whole_walk(datapath, 100).removed == 2);
    CHECK(established.has(alive.forward_key));
    CHECK(transient.has(alive.reply_key));
    CHECK_FALSE(transient.has(dead.reply_key));
}

TEST_CASE("flows that packets come for while the collector walks stay, and none is left in halves") {
    const KernelSandbox sandbox;
    Options options = sandbox.options();
    options.sizes.established = 16384;
    Datapath datapath = open_or_fail(options);
    const FlowTable table(sandbox, "established4");
    constexpr std::uint16_t kPairs = 4000;
    std::vector<Pair> pairs;
    for (std::uint16_t i = 0; i < kPairs; ++i) {
        pairs.emplace_back(static_cast<std::uint16_t>(1000 + i), 90000, 90000);
        table.put(pairs.back().forward_key, pairs.back().forward);
        table.put(pairs.back().reply_key, pairs.back().reply);
    }
    std::vector<bool> met(kPairs);
    // From the other end than the collector, and from either direction: somewhere they meet.
    std::thread traffic([&] {
        for (std::size_t i = kPairs; i-- > 0;) {
            Pair pair = pairs[i];
            pair.forward.seen_s = pair.reply.seen_s = static_cast<std::uint32_t>(kNow);
            const auto forward = [&] { return table.refresh(pair.forward_key, pair.forward); };
            const auto reply = [&] { return table.refresh(pair.reply_key, pair.reply); };
            met[i] = i % 2 == 0 ? forward() && reply() : reply() && forward();
        }
    });
    const CollectStep walk = whole_walk(datapath, 16);
    traffic.join();

    std::size_t kept = 0;
    for (std::size_t i = 0; i < kPairs; ++i) {
        CAPTURE(i);
        const bool there = table.has(pairs[i].forward_key);
        kept += there ? 1 : 0;
        if (table.has(pairs[i].reply_key) != there) FAIL("half a flow");
        if (met[i] && !there) FAIL("a flow that was met is gone");
    }
    CHECK(walk.removed == 2 * (kPairs - kept));
}

TEST_CASE("an entry that merely sits where the partner would be stays") {
    const KernelSandbox sandbox;
    Datapath datapath = open_or_fail(sandbox.options());
    const FlowTable table(sandbox, "established4");
    Pair dead(1000, 90000, 90000);
    svclb_flow foreign = dead.reply;
    foreign.port = htons(443);  // of another frontend, whose client uses the same tuple
    foreign.seen_s = static_cast<std::uint32_t>(kNow);
    table.put(dead.forward_key, dead.forward);
    table.put(dead.reply_key, foreign);
    CHECK(whole_walk(datapath, 100).removed == 1);
    CHECK(table.has(dead.reply_key));
}

TEST_CASE("a table that is nearly full of closed flows is emptied of them by the next walk, and of nothing else") {
    const KernelSandbox sandbox;
    Options options = sandbox.options();
    options.sizes.established = 1024;
    Datapath datapath = open_or_fail(options);
    const FlowTable table(sandbox, "established4");
    for (std::uint16_t port = 1000; port < 1400; ++port) {
        Pair pair(port, 5, 5);
        if (port % 4 != 0) {
            pair.forward.client_fin = pair.reply.client_fin = 1;
            pair.forward.backend_fin = pair.reply.backend_fin = SVCLB_FIN_FIRST;
        }
        table.put(pair.forward_key, pair.forward);
        table.put(pair.reply_key, pair.reply);
    }
    const auto first = datapath.collect({}, kNow, 10000);
    REQUIRE(first);
    REQUIRE(first->finished);
    CHECK(first->removed == 0);
    CHECK(first->crowded);
    CHECK(whole_walk(datapath, 10000).removed == 600);
    CHECK(table.size() == 200);
    CHECK(whole_walk(datapath, 10000).removed == 0);
}

TEST_CASE("a step sees about its budget, and the steps together see all") {
    const KernelSandbox sandbox;
    Datapath datapath = open_or_fail(sandbox.options());
    const FlowTable table(sandbox, "established4");
    for (std::uint16_t port = 1000; port < 1400; ++port) {
        const Pair pair(port, 5, 5);
        table.put(pair.forward_key, pair.forward);
        table.put(pair.reply_key, pair.reply);
    }
    const auto step = datapath.collect({}, kNow, 100);
    REQUIRE(step);
    CHECK(step->visited >= 100);
    CHECK(step->visited <= 228);  // and one batch
    CHECK_FALSE(step->finished);
    const CollectStep rest = whole_walk(datapath, 100);
    CHECK(step->visited + rest.visited == 800);
}

}  // namespace svclb::datapath
