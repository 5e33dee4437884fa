// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Maps make room for larger ones under attached programs.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <chrono>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "attached_program.hpp"
#include "no_programs.hpp"
#include "svclb/datapath/pinned.hpp"

namespace svclb::datapath {
namespace {

std::vector<std::uint32_t> maps_in_use(const KernelSandbox& sandbox, int ifindex, bool tcx) {
    const UniqueFd program = program_at(sandbox, ifindex, tcx);
    bpf_prog_info info{};
    return maps_of(program.get(), info);
}

// Each of these maps that the program uses is the pinned one, once.
void check_uses_pinned(const KernelSandbox& sandbox, int ifindex, bool tcx) {
    const auto in_use = maps_in_use(sandbox, ifindex, tcx);
    for (const auto* name : {"services", "slots", "backends", "service_counters", "backend_counters", "established4"}) {
        INFO(name);
        CHECK(std::count(in_use.begin(), in_use.end(), id_of_pinned(sandbox, name)) == 1);
    }
}

// Ids of the maps of this name and size that this process holds.
std::set<std::uint32_t> maps_like(std::string_view name, std::uint32_t entries) {
    std::set<std::uint32_t> ids;
    std::error_code gone;  // a descriptor, meanwhile
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        if (std::filesystem::read_symlink(entry.path(), gone) != "anon_inode:bpf-map") continue;
        bpf_map_info info{};
        __u32 size = sizeof(info);
        if (bpf_map_get_info_by_fd(std::stoi(entry.path().filename()), &info, &size) == 0 &&
            info.name == name.substr(0, sizeof(info.name) - 1) && info.max_entries == entries)
            ids.insert(info.id);
    }
    return ids;
}

// What comes to be on another thread.
std::set<std::uint32_t> await_maps_like(std::string_view name, std::uint32_t entries) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::chrono::steady_clock::now() < deadline) {
        if (auto found = maps_like(name, entries); !found.empty()) return found;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return {};
}

constexpr std::uint32_t kForeseen = 8192;

}  // namespace

TEST_CASE("each map grows under attached programs, which use the new one at once, and keeps its rows") {
    const KernelSandbox sandbox;
    const AttachMode mode = GENERATE(AttachMode::automatic, AttachMode::clsact);
    const bool together = GENERATE(false, true);
    const int link = sandbox.add_pod_link("pod0");
    Datapath datapath = open_or_fail(sandbox.options(mode));
    REQUIRE(datapath.attach_pod_link(link, "pod0"));
    const bool tcx = is_tcx(datapath, link);
    const std::string hooks = hooks_of(datapath, link);
    Tables& tables = datapath.tables();
    svclb_agent_status& status = datapath.status();

    svclb_service service{};
    service.family = 4;
    service.epoch = 9;
    REQUIRE(tables.publish(5, service));
    REQUIRE(tables.put_name(5, name_of("web")));
    std::array<svclb_slot, 1> slot{};
    slot[0].service = 5;
    REQUIRE(tables.write_slots(7, slot));
    REQUIRE(tables.put(backend_key(5), {.id = 3, .node = 0, .zone = 0, .weight = 1, .state = 1, .flags = 1}));

    const std::array<Room, 3> rooms{{{Sized::services, 100}, {Sized::slots, 1000}, {Sized::backends, 65}}};
    if (together) {
        REQUIRE(tables.grow(rooms));
    } else {
        for (const auto& room : rooms) REQUIRE(tables.grow(room.map, room.entries));
    }

    CHECK(tables.capacity(Sized::services) == 128);
    CHECK(tables.capacity(Sized::slots) == 1024);
    CHECK(tables.capacity(Sized::backends) == 128);
    CHECK(status.slots_capacity == 1024);
    CHECK(tables.services()[5].epoch == 9);
    CHECK(tables.slots()[7].service == 5);
    CHECK(tables.reset_service_counter(127));
    CHECK(tables.reset_backend_counter(127));
    CHECK(hooks_of(datapath, link) == hooks);
    check_uses_pinned(sandbox, link, tcx);
    // As many backends as there are ids, and the row from before among them.
    for (std::uint32_t i = 6; i < 6 + 127; ++i) CHECK(tables.put(backend_key(i), {}));
    const auto pinned = Pinned::open(sandbox.bpf_dir());
    INFO(error_of(pinned));
    REQUIRE(pinned);
    std::size_t found = 0;
    REQUIRE(pinned->each_backend([&](const auto& key, const auto& row) { found += key.service == 5 && row.id == 3; }));
    REQUIRE(pinned->each_name([&](auto index, const auto& row) { found += index == 5 && row.name[0] == 'w'; }));
    CHECK(found == 2);
}

TEST_CASE("growing to what is there does nothing, and growing beyond what a run can name is refused") {
    const KernelSandbox sandbox;
    Datapath datapath = open_or_fail(sandbox.options());
    const auto before = id_of_pinned(sandbox, "slots");
    REQUIRE(datapath.tables().grow(Sized::slots, 128));
    CHECK(id_of_pinned(sandbox, "slots") == before);
    CHECK(error_of(datapath.tables().grow(Sized::slots, SVCLB_RUN_BASE_MAX + 2))
              .starts_with("grow map slots to 268435457 entries, more than 268435456"));
    CHECK(id_of_pinned(sandbox, "slots") == before);
    CHECK(datapath.tables().capacity(Sized::slots) == 128);
}

TEST_CASE("a grow that fails half-way leaves everything as it was") {
    const KernelSandbox sandbox;
    const int link = sandbox.add_pod_link("pod0");
    Datapath datapath = open_or_fail(sandbox.options());
    REQUIRE(datapath.attach_pod_link(link, "pod0"));
    const bool tcx = is_tcx(datapath, link);
    const auto before = maps_in_use(sandbox, link, tcx);
    // The pin of the new map cannot be made: a directory is in the way.
    std::filesystem::create_directories(sandbox.bpf_dir() / "maps" / "slots-new" / "in-the-way");
    CHECK_FALSE(datapath.tables().grow(Sized::slots, 1000));
    CHECK(datapath.tables().capacity(Sized::slots) == 128);
    CHECK(maps_in_use(sandbox, link, tcx) == before);
    std::filesystem::remove_all(sandbox.bpf_dir() / "maps" / "slots-new");
    CHECK(datapath.tables().grow(Sized::slots, 1000));
}

TEST_CASE("a grow whose programs do not load leaves everything as it was") {
    const KernelSandbox sandbox;
    const int link = sandbox.add_pod_link("pod0");
    Datapath datapath = open_or_fail(sandbox.options());
    REQUIRE(datapath.attach_pod_link(link, "pod0"));
    const auto before = maps_in_use(sandbox, link, is_tcx(datapath, link));
    {
        const NoPrograms no_programs;
        CHECK(error_of(datapath.tables().grow(Sized::slots, 1000)).starts_with("load the BPF programs"));
    }
    CHECK(datapath.tables().capacity(Sized::slots) == 128);
    CHECK(maps_in_use(sandbox, link, is_tcx(datapath, link)) == before);
    check_uses_pinned(sandbox, link, is_tcx(datapath, link));
    CHECK(datapath.tables().grow(Sized::slots, 1000));
}

TEST_CASE("tables that grow before anything is attached: what is attached then uses them") {
    const KernelSandbox sandbox;
    const int link = sandbox.add_pod_link("pod0");
    Datapath datapath = open_or_fail(sandbox.options());
    svclb_service service{};
    service.epoch = 9;
    REQUIRE(datapath.tables().grow(Sized::services, 100));
    REQUIRE(datapath.tables().publish(5, service));
    REQUIRE(datapath.tables().grow(Sized::slots, 1000));
    REQUIRE(datapath.tables().grow(Sized::services, 200));
    REQUIRE(datapath.attach_pod_link(link, "pod0"));
    check_uses_pinned(sandbox, link, is_tcx(datapath, link));
    CHECK(datapath.tables().services()[5].epoch == 9);
    CHECK(datapath.tables().capacity(Sized::services) == 256);
    // From here on it is the other way round: programs first.
    REQUIRE(datapath.tables().grow(Sized::backends, 100));
    check_uses_pinned(sandbox, link, is_tcx(datapath, link));
}

TEST_CASE("a growth that was foreseen takes the maps that were made meanwhile") {
    const KernelSandbox sandbox;
    const int link = sandbox.add_pod_link("pod0");
    Datapath datapath = open_or_fail(sandbox.options());
    const bool serving = GENERATE(false, true);
    if (serving) REQUIRE(datapath.attach_pod_link(link, "pod0"));
    REQUIRE(
        datapath.tables().put(backend_key(5), {.id = 3, .node = 0, .zone = 0, .weight = 1, .state = 1, .flags = 1}));
    const std::array<Room, 1> rooms{{{Sized::backends, kForeseen - 5}}};
    datapath.foresee(rooms);
    const auto made = await_maps_like("backend_counters", kForeseen);
    REQUIRE(made.size() == 1);
    REQUIRE(datapath.tables().grow(Sized::backends, kForeseen - 100));
    CHECK(id_of_pinned(sandbox, "backend_counters") == *made.begin());
    CHECK(datapath.tables().capacity(Sized::backends) == kForeseen);
    REQUIRE(datapath.attach_pod_link(link, "pod0"));
    check_uses_pinned(sandbox, link, is_tcx(datapath, link));
    std::size_t found = 0;
    REQUIRE(datapath.tables().each_backend(
        [&](const auto& key, const auto& row) { found += key.service == 5 && row.id == 3; }));
    CHECK(found == 1);
}

TEST_CASE("a growth that was foreseen otherwise comes to the size that it needs, and none leaves nothing") {
    const KernelSandbox sandbox;
    const int link = sandbox.add_pod_link("pod0");
    Datapath datapath = open_or_fail(sandbox.options());
    const std::array<Room, 2> rooms{{{Sized::backends, kForeseen}, {Sized::services, kForeseen}}};
    datapath.foresee(rooms);
    if (GENERATE(true, false)) {
        REQUIRE(datapath.tables().grow(Sized::backends, 1000));
        CHECK(datapath.tables().capacity(Sized::backends) == 1024);
        CHECK(datapath.tables().capacity(Sized::services) == 64);
        CHECK(datapath.tables().reset_backend_counter(1023));
    }
    REQUIRE(datapath.attach_pod_link(link, "pod0"));
    check_uses_pinned(sandbox, link, is_tcx(datapath, link));
    CHECK(maps_like("backend_counters", kForeseen).empty());
    CHECK(maps_like("service_counters", kForeseen).empty());
}

TEST_CASE(
    "where the programs of tables that grew early do not load nothing is attached, and the next try may succeed") {
    const KernelSandbox sandbox;
    const int link = sandbox.add_pod_link("pod0");
    Datapath datapath = open_or_fail(sandbox.options());
    {
        const NoPrograms no_programs;
        REQUIRE(datapath.tables().grow(Sized::slots, 1000));
        CHECK(error_of(datapath.attach_pod_link(link, "pod0")).starts_with("load the BPF programs"));
        CHECK(error_of(datapath.attach_pod_link(link, "pod0")).starts_with("load the BPF programs"));
    }
    CHECK(datapath.attached().empty());
    REQUIRE(datapath.attach_pod_link(link, "pod0"));
    check_uses_pinned(sandbox, link, is_tcx(datapath, link));
}

TEST_CASE("the next agent adopts grown maps, and those of a grow that a crash cut short") {
    const KernelSandbox sandbox;
    {
        Datapath first = open_or_fail(sandbox.options());
        REQUIRE(first.tables().grow(Sized::services, 256));
    }
    // As if the crash came before the last rename: the counters are larger than the services.
    {
        std::filesystem::remove(sandbox.bpf_dir() / "maps" / "services");
        Options smaller = sandbox.options();
        const UniqueFd old(bpf_map_create(BPF_MAP_TYPE_ARRAY, "services", 4, sizeof(svclb_service), 64, [] {
            static bpf_map_create_opts opts{};
            opts.sz = sizeof(opts);
            opts.map_flags = BPF_F_MMAPABLE;
            return &opts;
        }()));
        REQUIRE(bpf_obj_pin(old.get(), (sandbox.bpf_dir() / "maps" / "services").c_str()) == 0);
    }
    Datapath second = open_or_fail(sandbox.options());
    CHECK(second.tables().capacity(Sized::services) == 64);
    REQUIRE(second.tables().grow(Sized::services, 200));
    CHECK(second.tables().capacity(Sized::services) == 256);
    CHECK(second.tables().reset_service_counter(255));
}

}  // namespace svclb::datapath
