// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Opening: fresh, over what another agent left, and over what a crash left.
#include <bpf/bpf.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "kernel_sandbox.hpp"
#include "svclb/datapath/pinned.hpp"

namespace svclb::datapath {
namespace {

namespace fs = std::filesystem;

svclb_frontend_key frontend_key(std::uint32_t last) {
    svclb_frontend_key key{};
    key.addr[3] = last;
    key.port = 80;
    key.proto = 6;
    return key;
}

std::size_t count_frontends(const Tables& tables) {
    std::size_t count = 0;
    REQUIRE(tables.each_frontend([&count](const auto&, const auto&) { ++count; }));
    return count;
}

std::size_t pins_in(const fs::path& directory) {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

void pin_array(const fs::path& path, std::uint32_t value_size, const void* value) {
    bpf_map_create_opts opts{};
    opts.sz = sizeof(opts);
    const UniqueFd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "test", 4, value_size, 1, &opts));
    REQUIRE(map);
    const std::uint32_t index = 0;
    REQUIRE(bpf_map_update_elem(map.get(), &index, value, BPF_ANY) == 0);
    REQUIRE(bpf_obj_pin(map.get(), path.c_str()) == 0);
}

}  // namespace

TEST_CASE("a fresh directory gets maps of the wanted sizes and no links") {
    const KernelSandbox sandbox;
    Datapath datapath = open_or_fail(sandbox.options());
    CHECK(datapath.tables().capacity(Sized::services) == 64);
    CHECK(datapath.tables().capacity(Sized::slots) == 128);
    CHECK(datapath.tables().capacity(Sized::backends) == 64);
    CHECK(datapath.status().abi_version == SVCLB_ABI_VERSION);
    CHECK(datapath.status().slots_capacity == 128);
    CHECK(datapath.attached().empty());
    CHECK(fs::is_empty(sandbox.bpf_dir() / "links"));
}

TEST_CASE("a second agent adopts rows and sizes, whatever sizes it asks for") {
    const KernelSandbox sandbox;
    {
        Datapath first = open_or_fail(sandbox.options());
        REQUIRE(first.tables().put(frontend_key(1), {.service = 3, .kind = 1, .set = 0, .outside_set = 0, .flags = 0}));
        svclb_service service{};
        service.runs[0] = svclb_run(5, 2, 1);
        service.family = 4;
        service.epoch_due = 1;
        REQUIRE(first.tables().publish(3, service));
    }
    Options larger = sandbox.options();
    larger.sizes.services = 4096;
    Datapath second = open_or_fail(larger);
    CHECK(count_frontends(second.tables()) == 1);
    CHECK(second.tables().capacity(Sized::services) == 64);
    CHECK(second.tables().services()[3].runs[0] == svclb_run(5, 2, 1));
    CHECK(second.tables().services()[3].epoch_due == 1);
}

TEST_CASE("whichever map pins a crash left out, the next open makes the rest of matching size") {
    const KernelSandbox sandbox;
    { const Datapath first = open_or_fail(sandbox.options()); }
    const std::size_t all = pins_in(sandbox.bpf_dir() / "maps");
    for (const auto* lost : {"services", "service_counters", "backend_counters", "backends", "established6", "agent"}) {
        fs::remove(sandbox.bpf_dir() / "maps" / lost);
        Options larger = sandbox.options();
        larger.sizes.services = larger.sizes.backends = 4096;
        Datapath next = open_or_fail(larger);
        INFO(lost);
        CHECK(pins_in(sandbox.bpf_dir() / "maps") == all);
        CHECK(next.tables().capacity(Sized::services) == 64);
        CHECK(next.tables().capacity(Sized::backends) == 64);
        CHECK(next.tables().reset_service_counter(63));
    }
}

TEST_CASE("pins that an interrupted grow left are removed") {
    const KernelSandbox sandbox;
    { const Datapath first = open_or_fail(sandbox.options()); }
    const std::uint64_t value = 0;
    pin_array(sandbox.bpf_dir() / "maps" / "slots-new", sizeof(value), &value);
    const Datapath second = open_or_fail(sandbox.options());
    CHECK_FALSE(fs::exists(sandbox.bpf_dir() / "maps" / "slots-new"));
}

TEST_CASE("maps of another ABI version are refused, both versions and the way out named") {
    const KernelSandbox sandbox;
    fs::create_directories(sandbox.bpf_dir() / "maps");
    const std::uint64_t version = 77;
    pin_array(sandbox.bpf_dir() / "maps" / "agent", sizeof(version), &version);
    const auto refused = Datapath::open(sandbox.options());
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message().find("ABI version 77") != std::string::npos);
    CHECK(refused.error().message().find("version 1") != std::string::npos);
    CHECK(refused.error().message().find("--cleanup --bpf-dir " + sandbox.bpf_dir().string()) != std::string::npos);
}

TEST_CASE("the agent's own row of another release, shorter or longer, is replaced and nothing else is touched") {
    const KernelSandbox sandbox;
    {
        Datapath first = open_or_fail(sandbox.options());
        REQUIRE(first.tables().put(frontend_key(1), {.service = 3, .kind = 1, .set = 0, .outside_set = 0, .flags = 0}));
    }
    for (const std::size_t size : {std::size_t{16}, sizeof(svclb_agent_status) + 64}) {
        std::vector<char> row(size, 'x');
        const std::uint32_t version = SVCLB_ABI_VERSION;
        std::memcpy(row.data(), &version, sizeof(version));
        const auto path = sandbox.bpf_dir() / "maps" / "agent";
        fs::remove(path);
        pin_array(path, static_cast<std::uint32_t>(size), row.data());
        {
            const auto reader = Pinned::open(sandbox.bpf_dir());
            REQUIRE(error_of(reader).empty());
            CHECK(reader->agent().pid == 0x78787878);
        }
        Datapath next = open_or_fail(sandbox.options());
        CHECK(next.status().abi_version == SVCLB_ABI_VERSION);
        CHECK(count_frontends(next.tables()) == 1);
        next.status().pid = 42;
        CHECK(Pinned::open(sandbox.bpf_dir())->agent().pid == 42);
    }
}

TEST_CASE("the counters of a release that knew fewer reasons are read, and replaced by larger ones") {
    const KernelSandbox sandbox;
    const auto path = sandbox.bpf_dir() / "maps" / "drop_counters";
    {
        Datapath first = open_or_fail(sandbox.options());
        REQUIRE(first.tables().put(frontend_key(1), {.service = 3, .kind = 1, .set = 0, .outside_set = 0, .flags = 0}));
    }
    fs::remove(path);
    const UniqueFd smaller(bpf_map_create(BPF_MAP_TYPE_PERCPU_ARRAY, "drop_counters", sizeof(std::uint32_t),
                                          sizeof(svclb_drop_counter), SVCLB_REASON_COUNT - 1, nullptr));
    REQUIRE(smaller);
    REQUIRE(bpf_obj_pin(smaller.get(), path.c_str()) == 0);
    const auto last = static_cast<svclb_reason>(SVCLB_REASON_COUNT - 1);
    {
        const auto reader = Pinned::open(sandbox.bpf_dir());
        REQUIRE(error_of(reader).empty());
        REQUIRE(reader->drop_counter(last));
        CHECK(reader->drop_counter(last)->packets == 0);
    }
    Datapath next = open_or_fail(sandbox.options());
    CHECK(count_frontends(next.tables()) == 1);
    const auto reader = Pinned::open(sandbox.bpf_dir());
    REQUIRE(error_of(reader).empty());
    const auto maps = reader->maps(false);
    REQUIRE(maps);
    const auto counters = std::ranges::find(*maps, "drop_counters", &MapInfo::name);
    REQUIRE(counters != maps->end());
    CHECK(counters->max_entries == SVCLB_REASON_COUNT);
}

TEST_CASE("ranges of ClusterIPs change while the programs run, and too many are refused") {
    const KernelSandbox sandbox;
    Datapath datapath = open_or_fail(sandbox.options());
    const UniqueFd map(bpf_obj_get((sandbox.bpf_dir() / "maps" / "service_cidrs").c_str()));
    const auto in_force = [&] {
        svclb_service_cidrs row{};
        const std::uint32_t index = 0;
        REQUIRE(bpf_map_lookup_elem(map.get(), &index, &row) == 0);
        std::vector<std::uint32_t> addresses;
        for (std::uint32_t i = 0; i < row.used >> 16; ++i)
            addresses.push_back(row.cidr[(row.used & 0xffff) + i].addr[3]);
        return std::pair(row.used & 0xffff, addresses);
    };
    const auto ranges = [](std::vector<std::uint32_t> addresses) {
        std::vector<svclb_cidr> cidrs(addresses.size());
        for (std::size_t i = 0; i < addresses.size(); ++i) cidrs[i].addr[3] = addresses[i];
        return cidrs;
    };
    using Addresses = std::vector<std::uint32_t>;
    CHECK(in_force() == std::pair(0U, Addresses{}));
    REQUIRE(datapath.set_service_cidrs(ranges({1, 2})));
    CHECK(in_force() == std::pair(std::uint32_t{SVCLB_SERVICE_CIDRS}, Addresses{1, 2}));
    REQUIRE(datapath.set_service_cidrs(ranges({1, 2})));
    CHECK(in_force() == std::pair(std::uint32_t{SVCLB_SERVICE_CIDRS}, Addresses{1, 2}));
    REQUIRE(datapath.set_service_cidrs(ranges({3})));
    CHECK(in_force() == std::pair(0U, Addresses{3}));
    CHECK(error_of(datapath.set_service_cidrs(ranges(Addresses(SVCLB_SERVICE_CIDRS + 1)))) ==
          "17 ranges of ClusterIPs, at most 16 can be in force");
    CHECK(in_force() == std::pair(0U, Addresses{3}));
    REQUIRE(datapath.set_service_cidrs(ranges(Addresses(SVCLB_SERVICE_CIDRS, 7))));
    REQUIRE(datapath.set_service_cidrs({}));
    CHECK(in_force().second.empty());
}

TEST_CASE("a pinned map with rows of another size is refused by name") {
    const KernelSandbox sandbox;
    fs::create_directories(sandbox.bpf_dir() / "maps");
    const std::uint64_t value = 0;
    pin_array(sandbox.bpf_dir() / "maps" / "slots", sizeof(value), &value);
    const auto refused = Datapath::open(sandbox.options());
    CHECK(error_of(refused).find("pinned map slots has keys of 4 and values of 8 bytes instead of 4 and 32") !=
          std::string::npos);
}

TEST_CASE("a directory that can hold no pins is refused in words") {
    const KernelSandbox sandbox;
    Options options = sandbox.options();
    options.bpf_dir = "/tmp/svclb-test";
    CHECK(error_of(Datapath::open(options)) ==
          "bpf-dir '/tmp/svclb-test' is not on a bpffs; mount one there, or use a directory below /sys/fs/bpf");
    options.bpf_dir = "relative";
    CHECK(error_of(Datapath::open(options)) == "bpf-dir 'relative' is not an absolute path");
    options.bpf_dir = "/sys/fs/bpf/svclb.test";
    CHECK(error_of(Datapath::open(options)) == "bpf-dir '/sys/fs/bpf/svclb.test': a bpffs allows no '.' in a name");
}

TEST_CASE("an index outside of a map is an error that names it and its size") {
    const KernelSandbox sandbox;
    Datapath datapath = open_or_fail(sandbox.options());
    CHECK(error_of(datapath.tables().publish(64, {})) == "index 64 is outside of map services with 64 entries");
    const std::array<svclb_slot, 2> slots{};
    CHECK(datapath.tables().write_slots(126, slots));
    CHECK(error_of(datapath.tables().write_slots(127, slots)) == "index 129 is outside of map slots with 128 entries");
    CHECK(error_of(datapath.tables().reset_backend_counter(64)) ==
          "index 64 is outside of map backend_counters with 64 entries");
}

TEST_CASE("a grace period takes some milliseconds, and a moved datapath still waits for one") {
    const KernelSandbox sandbox;
    Datapath first = open_or_fail(sandbox.options());
    const Datapath moved = std::move(first);
    const auto begin = std::chrono::steady_clock::now();
    REQUIRE(moved.wait_grace_period());
    REQUIRE(moved.wait_grace_period());
    const auto took = std::chrono::steady_clock::now() - begin;
    CHECK(took > std::chrono::microseconds(50));  // an update of a plain map takes one or two
}

}  // namespace svclb::datapath
