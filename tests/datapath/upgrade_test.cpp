// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Opening over what another release has left, whose maps have other names and shapes.
#include <bpf/bpf.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "attached_program.hpp"
#include "svclb/abi/uplinks.h"
#include "svclb/datapath/pinned.hpp"

namespace svclb::datapath {
namespace {

namespace fs = std::filesystem;

struct Shape {
    bpf_map_type type;
    std::uint32_t value_size;
    std::uint32_t rows;
};

// As another release has it, in place of ours if there is one.
void pin_other(const KernelSandbox& sandbox, const char* name, const Shape& shape) {
    const auto path = sandbox.bpf_dir() / "maps" / name;
    fs::remove(path);
    const UniqueFd map(bpf_map_create(shape.type, name, sizeof(std::uint32_t), shape.value_size, shape.rows, nullptr));
    REQUIRE(map);
    REQUIRE(bpf_obj_pin(map.get(), path.c_str()) == 0);
}

std::map<std::string, std::uint32_t> pinned_maps(const KernelSandbox& sandbox) {
    std::map<std::string, std::uint32_t> ids;
    for (const auto& entry : fs::directory_iterator(sandbox.bpf_dir() / "maps")) {
        const auto name = entry.path().filename().string();
        ids[name] = id_of_pinned(sandbox, name.c_str());
    }
    return ids;
}

struct LinkNow {
    std::uint32_t id;
    std::uint32_t program;
};

std::map<std::string, LinkNow> pinned_links(const KernelSandbox& sandbox) {
    std::map<std::string, LinkNow> links;
    for (const auto& entry : fs::directory_iterator(sandbox.bpf_dir() / "links")) {
        const UniqueFd link(bpf_obj_get(entry.path().c_str()));
        bpf_link_info info{};
        __u32 size = sizeof(info);
        REQUIRE(bpf_link_get_info_by_fd(link.get(), &info, &size) == 0);
        links[entry.path().filename()] = {info.id, info.prog_id};
    }
    return links;
}

bool uses(const UniqueFd& program, std::uint32_t map_id) {
    bpf_prog_info info{};
    const auto maps = maps_of(program.get(), info);
    return std::ranges::find(maps, map_id) != maps.end();
}

template <class Key, class Value>
void write_row(const KernelSandbox& sandbox, const char* name, const Key& key, const Value& value) {
    const UniqueFd map(bpf_obj_get((sandbox.bpf_dir() / "maps" / name).c_str()));
    REQUIRE(bpf_map_update_elem(map.get(), &key, &value, BPF_ANY) == 0);
}

}  // namespace

TEST_CASE("over another release's maps the links stay, their programs change, and nothing that is known is lost") {
    const KernelSandbox sandbox;
    const int pod = sandbox.add_pod_link("pod0");
    const int uplink = sandbox.add_pod_link("up0");
    Options options = sandbox.options(GENERATE(AttachMode::automatic, AttachMode::clsact));
    options.xdp = XdpMode::generic;
    {
        Datapath before = open_or_fail(options);
        REQUIRE(before.attach_pod_link(pod, "pod0"));
        REQUIRE(before.attach(uplink, "up0", LinkKind::uplink, false));
    }
    svclb_flow_key4 key{};
    key.sport = 1;
    svclb_flow flow{};
    flow.kind = SVCLB_FLOW_FORWARD;
    write_row(sandbox, "established4", key, flow);
    const auto links_before = pinned_links(sandbox);

    // A node may have gone to the former release and come back: then both names are there.
    const bool both_names = GENERATE(false, true);
    if (both_names)
        write_row(sandbox, "uplink_addresses", std::uint32_t{9}, svclb_node_addresses{});
    else
        fs::remove(sandbox.bpf_dir() / "maps" / "uplink_addresses");
    svclb_node_addresses address{};
    address.v4[3] = 0x01020304;
    pin_other(sandbox, "tunnel_addresses", {BPF_MAP_TYPE_HASH, sizeof(svclb_node_addresses), 1024});
    write_row(sandbox, "tunnel_addresses", std::uint32_t{7}, address);
    pin_other(sandbox, "xdp_counters", {BPF_MAP_TYPE_PERCPU_ARRAY, sizeof(svclb_xdp_counter), 1});
    pin_other(sandbox, "work_area", {BPF_MAP_TYPE_PERCPU_ARRAY, 1076, 1});
    pin_other(sandbox, "frame_area", {BPF_MAP_TYPE_PERCPU_ARRAY, 8, 1});
    auto expected = pinned_maps(sandbox);
    for (const auto* other : {"tunnel_addresses", "uplink_addresses", "work_area", "frame_area", "xdp_counters"})
        expected.erase(other);

    const Datapath after = open_or_fail(options);
    auto maps = pinned_maps(sandbox);
    const auto counters = maps.extract("xdp_counters");
    const auto addresses = maps.extract("uplink_addresses");
    REQUIRE(counters);
    REQUIRE(addresses);
    CHECK(maps == expected);

    const auto links = pinned_links(sandbox);
    const bool tcx = is_tcx(after, pod);
    CHECK(links.size() == (tcx ? 5 : 1));  // filters have no pins
    for (const auto& [name, link] : links) {
        INFO(name);
        CHECK(links_before.at(name).id == link.id);
        CHECK(links_before.at(name).program != link.program);
        const UniqueFd program(bpf_prog_get_fd_by_id(link.program));
        CHECK(uses(program, maps["established4"]));
        if (name.ends_with("uplink-ingress")) CHECK(uses(program, addresses.mapped()));
        if (name.find("xdp") != std::string::npos) CHECK(uses(program, counters.mapped()));
    }
    if (!tcx) CHECK(uses(program_at(sandbox, pod, false), addresses.mapped()));

    const auto pinned = Pinned::open(sandbox.bpf_dir());
    INFO(error_of(pinned));
    REQUIRE(pinned);
    std::size_t flows = 0;
    REQUIRE(pinned->each_flow([&flows](const FlowKey&, const svclb_flow&, bool) { ++flows; }));
    CHECK(flows == 1);
    CHECK(pinned->xdp_counter(SVCLB_XDP_PASSED));
    svclb_node_addresses row{};
    std::uint32_t device = 7;
    const UniqueFd rows(bpf_obj_get((sandbox.bpf_dir() / "maps" / "uplink_addresses").c_str()));
    REQUIRE(bpf_map_lookup_elem(rows.get(), &device, &row) == 0);
    CHECK(row.v4[3] == address.v4[3]);
    device = 9;
    CHECK(bpf_map_lookup_elem(rows.get(), &device, &row) == -ENOENT);
}

TEST_CASE("what only this release's programs hold between two steps is not left to another release") {
    const KernelSandbox sandbox;
    const Datapath datapath = open_or_fail(sandbox.options());
    const auto maps = pinned_maps(sandbox);
    CHECK_FALSE(maps.contains("work_area"));
    CHECK_FALSE(maps.contains("frame_area"));
}

}  // namespace svclb::datapath
