// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What is in the maps while they grow.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <utility>

#include "attached_program.hpp"

namespace svclb::datapath {
namespace {

// Every row of a pinned map as bytes, by key.
std::map<std::string, std::string> rows_of(const UniqueFd& map) {
    bpf_map_info info{};
    __u32 size = sizeof(info);
    REQUIRE(bpf_map_get_info_by_fd(map.get(), &info, &size) == 0);
    const bool per_cpu = info.type == BPF_MAP_TYPE_PERCPU_ARRAY;
    const auto cpus = per_cpu ? static_cast<std::size_t>(libbpf_num_possible_cpus()) : 1;
    std::map<std::string, std::string> rows;
    std::string key(info.key_size, '\0');
    std::string value(info.value_size * cpus, '\0');
    for (const char* last = nullptr; bpf_map_get_next_key(map.get(), last, key.data()) == 0;) {
        REQUIRE(bpf_map_lookup_elem(map.get(), key.data(), value.data()) == 0);
        last = rows.insert_or_assign(key, value).first->first.data();
    }
    return rows;
}

UniqueFd open_pinned(const KernelSandbox& sandbox, const char* name) {
    return UniqueFd(bpf_obj_get((sandbox.bpf_dir() / "maps" / name).c_str()));
}

// What all CPUs have counted in a row of counters together, field by field.
std::array<std::uint64_t, 3> sum_of(const std::string& row) {
    static_assert(sizeof(svclb_counter) == 24);
    std::array<std::uint64_t, 3> sums{};
    for (std::size_t at = 0; at + 8 <= row.size(); at += 8) {
        std::uint64_t number = 0;
        std::memcpy(&number, row.data() + at, sizeof(number));
        sums[at / 8 % 3] += number;
    }
    return sums;
}

constexpr std::uint16_t kWeb = 80;

// A SYN to 10.96.0.10:80.
std::array<unsigned char, 54> syn_from(std::uint16_t port) {
    return {2,
            0,
            0,
            0,
            0,
            1,
            2,
            0,
            0,
            0,
            0,
            2,
            8,
            0,  // Ethernet
            0x45,
            0,
            0,
            40,
            0,
            0,
            0x40,
            0,
            64,
            6,
            0x25,
            0x63,
            10,
            244,
            1,
            5,
            10,
            96,
            0,
            10,  // IPv4
            static_cast<unsigned char>(port >> 8),
            static_cast<unsigned char>(port),
            0,
            kWeb,  //
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            0x50,
            2,
            0xff,
            0xff,
            0,
            0,
            0,
            0};
}

// Service 5 is 10.96.0.10:80 with one backend, and every other row has something in it.
void fill(Tables& tables) {
    std::array<svclb_slot, 128> slots{};
    for (std::uint32_t at = 0; at < slots.size(); ++at) {
        slots[at].service = at == 7 ? 5 : 100 + at;
        slots[at].generation = 1;
        slots[at].port = htons(8080);
        slots[at].backend = at == 7 ? 3 : at;
        slots[at].addr[3] = htonl(0x0af40200 + at);
        slots[at].addr[2] = htonl(SVCLB_V4_MAPPED_PREFIX);
    }
    REQUIRE(tables.write_slots(0, slots));
    for (std::uint32_t at = 1; at < 64; ++at) {
        svclb_service row{};
        row.family = at == 5 ? 4 : 6;
        row.proto = IPPROTO_TCP;
        row.affinity_s = at == 5 ? 0 : at;
        row.epoch = at + 1;
        row.runs[SVCLB_SET_CLUSTER] = at == 5 ? svclb_run(7, 1, 1) : 0;
        REQUIRE(tables.publish(at, row));
        REQUIRE(tables.put_name(at, name_of(("name-" + std::to_string(at)).c_str())));
        auto key = backend_key(at);
        std::copy_n(slots[7].addr, SVCLB_ADDR_WORDS, key.addr);
        key.port = slots[7].port;
        REQUIRE(tables.put(key, {.id = at == 5 ? 3U : 64U - at,
                                 .node = 0,
                                 .zone = 0,
                                 .weight = 1,
                                 .state = SVCLB_BACKEND_READY,
                                 .flags = SVCLB_BACKEND_SERVING | SVCLB_BACKEND_IN_CLUSTER}));
    }
    svclb_frontend_key key{};
    key.addr[2] = htonl(SVCLB_V4_MAPPED_PREFIX);
    key.addr[3] = htonl(0x0a60000a);
    key.port = htons(kWeb);
    key.proto = IPPROTO_TCP;
    svclb_frontend row{};
    row.service = 5;
    row.kind = SVCLB_FRONTEND_CLUSTER_IP;
    tables.mark_frontend(key, row.kind);
    REQUIRE(tables.put(key, row));
}

// Clients that open connections without a pause, until it is destroyed.
class Clients {
public:
    explicit Clients(UniqueFd program)
        : program_(std::move(program)), thread_([this](const std::stop_token& stop) { run(stop); }) {}
    // Returns once so many more connections have been counted.
    void await(std::uint32_t connections) const {
        const auto from = opened_.load();
        while (opened_.load() - from < connections) std::this_thread::yield();
    }

private:
    void run(const std::stop_token& stop) {
        for (std::uint16_t port = 1; !stop.stop_requested(); ++port, ++opened_) {
            auto frame = syn_from(port);
            bpf_test_run_opts opts{};
            opts.sz = sizeof(opts);
            opts.data_in = frame.data();
            opts.data_size_in = frame.size();
            if (bpf_prog_test_run_opts(program_.get(), &opts) != 0) std::abort();
        }
    }

    UniqueFd program_;
    std::atomic<std::uint32_t> opened_ = 0;
    std::jthread thread_;
};

}  // namespace

TEST_CASE("every row of the old maps is in the larger ones, unchanged, while connections are counted") {
    const KernelSandbox sandbox;
    const int link = sandbox.add_pod_link("pod0");
    Datapath datapath = open_or_fail(sandbox.options());
    REQUIRE(datapath.attach_pod_link(link, "pod0"));
    fill(datapath.tables());
    constexpr std::array kRows{"services", "slots", "backends", "service_names"};
    constexpr std::array kCounters{"service_counters", "backend_counters"};
    std::map<std::string, UniqueFd> old;
    for (const auto* name : kRows) old.emplace(name, open_pinned(sandbox, name));
    for (const auto* name : kCounters) old.emplace(name, open_pinned(sandbox, name));

    std::map<std::string, std::map<std::string, std::string>> counted;
    {
        const Clients clients(program_at(sandbox, link, is_tcx(datapath, link)));
        clients.await(100);
        for (const auto* name : kCounters) counted[name] = rows_of(old.at(name));
        const std::array<Room, 3> rooms{{{Sized::services, 100}, {Sized::slots, 1000}, {Sized::backends, 65}}};
        REQUIRE(datapath.tables().grow(rooms));
    }

    for (const auto* name : kRows) {
        INFO(name);
        const auto before = rows_of(old.at(name));
        auto after = rows_of(open_pinned(sandbox, name));
        CHECK(before.size() >= 63);
        CHECK(std::ranges::all_of(before, [&](const auto& row) { return after[row.first] == row.second; }));
    }
    // What was counted before is there, and nothing that nobody counted.
    for (const auto* name : kCounters) {
        INFO(name);
        const auto last = rows_of(old.at(name));
        auto after = rows_of(open_pinned(sandbox, name));
        std::uint64_t connections = 0;
        for (const auto& [key, row] : counted[name]) {
            const auto at_least = sum_of(row);
            const auto now = sum_of(after[key]);
            const auto at_most = sum_of(last.at(key));
            for (std::size_t field = 0; field < now.size(); ++field) {
                CHECK(at_least[field] <= now[field]);
                CHECK(now[field] <= at_most[field]);
            }
            connections += now[offsetof(svclb_counter, flows) / 8];
        }
        CHECK(connections >= 100);
    }
}

}  // namespace svclb::datapath
