// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The view from outside, as svclb-ctl has it.
#include "svclb/datapath/pinned.hpp"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <map>
#include <optional>
#include <vector>

#include "kernel_sandbox.hpp"

namespace svclb::datapath {
namespace {

template <class Key, class Value>
void write_row(const KernelSandbox& sandbox, const char* map, const Key& key, const Value* value) {
    const UniqueFd fd(bpf_obj_get((sandbox.bpf_dir() / "maps" / map).c_str()));
    REQUIRE(bpf_map_update_elem(fd.get(), &key, value, BPF_ANY) == 0);
}

}  // namespace

TEST_CASE("a directory where no agent has run is named as that") {
    const KernelSandbox sandbox;
    CHECK(error_of(Pinned::open(sandbox.bpf_dir())) ==
          sandbox.bpf_dir().string() + " holds no maps of svclb: no agent has run with this --bpf-dir");
}

TEST_CASE("an agent is known to run as long as one does, a successor that overlaps with it too") {
    const KernelSandbox sandbox;
    auto first = std::make_optional(open_or_fail(sandbox.options()));
    const auto pinned = Pinned::open(sandbox.bpf_dir());
    REQUIRE(pinned);
    CHECK(pinned->agent_runs());
    auto second = std::make_optional(open_or_fail(sandbox.options()));
    first.reset();
    CHECK(pinned->agent_runs());
    second.reset();
    CHECK(!pinned->agent_runs());
}

TEST_CASE("everything that an agent left can be read without it, and nothing is written") {
    const KernelSandbox sandbox;
    const int link = sandbox.add_pod_link("pod0");
    {
        Datapath datapath = open_or_fail(sandbox.options());
        REQUIRE(datapath.attach_pod_link(link, "pod0"));
        datapath.status().pid = 42;
        svclb_service service{};
        service.family = 6;
        REQUIRE(datapath.tables().publish(1, service));
        REQUIRE(datapath.tables().put_string(1, {.text = "node-a"}));
    }
    svclb_flow flow{};
    flow.kind = SVCLB_FLOW_FORWARD;
    svclb_flow_key4 key4{};
    key4.sport = 1;
    svclb_flow_key6 key6{};
    key6.sport = 2;
    write_row(sandbox, "established4", key4, &flow);
    write_row(sandbox, "transient6", key6, &flow);
    const auto cpus = static_cast<std::size_t>(libbpf_num_possible_cpus());
    const std::vector<svclb_counter> counters(cpus, {.flows = 1, .packets = 2, .bytes = 300});
    write_row(sandbox, "service_counters", std::uint32_t{1}, counters.data());

    auto pinned = Pinned::open(sandbox.bpf_dir());
    INFO(error_of(pinned));
    REQUIRE(pinned);
    CHECK(pinned->agent().pid == 42);
    CHECK(pinned->services().size() == 64);
    CHECK(pinned->services()[1].family == 6);
    CHECK(pinned->service_counter(1)->bytes == 300 * cpus);
    CHECK(pinned->service_counter(1)->flows == cpus);
    CHECK(error_of(pinned->backend_counter(64)) == "index 64 is outside of map backend_counters with 64 entries");
    CHECK(pinned->drop_counter(SVCLB_REASON_MALFORMED)->packets == 0);
    std::map<std::uint16_t, bool> flows;
    REQUIRE(pinned->each_flow([&flows](const FlowKey& key, const svclb_flow&, bool established) {
        flows[std::visit([](const auto& typed) { return typed.sport; }, key)] = established;
    }));
    CHECK(flows == std::map<std::uint16_t, bool>{{1, true}, {2, false}});

    const auto links = pinned->links();
    REQUIRE(links);
    REQUIRE(links->size() == 1);
    CHECK(links->front().name == "pod0");
    CHECK(links->front().hooks.size() == 2);

    const auto maps = pinned->maps();
    REQUIRE(maps);
    std::map<std::string, MapInfo> by_name;
    for (const auto& map : *maps) by_name[map.name] = map;
    CHECK(by_name["established4"].type == "hash");
    CHECK(by_name["established4"].entries == 1);
    CHECK(by_name["established4"].max_entries == 1024);
    CHECK(by_name["established4"].bytes >= 1024 * (sizeof(svclb_flow_key4) + sizeof(svclb_flow)));
    CHECK(by_name["transient6"].type == "lru_hash");
    CHECK(by_name["services"].entries == 64);
    CHECK(by_name["strings"].entries == 1);
}

TEST_CASE("flows that are flushed go in pairs, wherever their entries are, and nothing else goes") {
    const KernelSandbox sandbox;
    const Datapath datapath = open_or_fail(sandbox.options());
    const auto flow = [](svclb_flow_kind kind, std::uint32_t address, std::uint16_t port, std::uint16_t client_port) {
        svclb_flow made{};
        made.addr[2] = htonl(SVCLB_V4_MAPPED_PREFIX);
        made.addr[3] = htonl(address);
        made.port = htons(port);
        made.client_port = htons(client_port);
        made.kind = static_cast<std::uint8_t>(kind);
        return made;
    };
    // 10.0.0.1 dials 10.0.0.9:80 and is sent to 10.0.0.2:8080, from each of these ports.
    for (std::uint16_t port = 1000; port < 1003; ++port) {
        const svclb_flow_key4 out{htonl(0x0a000001), htonl(0x0a000009), htons(port), htons(80),
                                  IPPROTO_TCP,       SVCLB_FROM_POD,    /*.pad=*/0};
        const svclb_flow_key4 back{htonl(0x0a000002), htonl(0x0a000001), htons(8080), htons(port),
                                   IPPROTO_TCP,       SVCLB_TO_POD,      /*.pad=*/0};
        const svclb_flow forward = flow(SVCLB_FLOW_FORWARD, 0x0a000002, 8080, port);
        const svclb_flow reply = flow(SVCLB_FLOW_REPLY, 0x0a000009, 80, port);
        if (port != 1002) write_row(sandbox, "established4", out, &forward);  // the last one lost its forward entry
        write_row(sandbox, port == 1001 ? "transient4" : "established4", back, &reply);
    }
    svclb_flow_key6 direct_at{};
    direct_at.sport = htons(1000);
    const svclb_flow direct = flow(SVCLB_FLOW_DIRECT, 0, 0, 0);
    write_row(sandbox, "transient6", direct_at, &direct);

    auto pinned = Pinned::open(sandbox.bpf_dir());
    REQUIRE(pinned);
    const auto count = [&pinned] {
        std::size_t entries = 0;
        REQUIRE(pinned->each_flow([&entries](const FlowKey&, const svclb_flow&, bool) { ++entries; }));
        return entries;
    };
    CHECK(count() == 6);
    CHECK(pinned->flush_flows([](const FlowKey&, const svclb_flow&) { return false; }) == 0U);
    CHECK(pinned->flush_flows([](const FlowKey&, const svclb_flow& found) {
        return found.kind == SVCLB_FLOW_FORWARD && found.client_port == htons(1001);
    }) == 1U);
    CHECK(count() == 4);
    CHECK(pinned->flush_flows([](const FlowKey&, const svclb_flow&) { return true; }) == 3U);
    CHECK(count() == 0);
    CHECK(pinned->flush_flows([](const FlowKey&, const svclb_flow&) { return true; }) == 0U);
}

}  // namespace svclb::datapath
