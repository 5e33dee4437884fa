// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The view from outside, as svclb-ctl has it.
#include "svclb/datapath/pinned.hpp"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <map>
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

    CHECK(pinned->remove_flow(FlowKey(key4)) == true);
    CHECK(pinned->remove_flow(FlowKey(key4)) == false);
    CHECK(pinned->remove_flow(FlowKey(key6)) == true);
}

}  // namespace svclb::datapath
