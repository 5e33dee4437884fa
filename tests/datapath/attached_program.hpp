// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What is attached and pinned by now, asked of the kernel; and keys and rows of the tables in short.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "kernel_sandbox.hpp"

namespace svclb::datapath {

inline std::uint32_t id_of_pinned(const KernelSandbox& sandbox, const char* name) {
    const UniqueFd map(bpf_obj_get((sandbox.bpf_dir() / "maps" / name).c_str()));
    bpf_map_info info{};
    __u32 size = sizeof(info);
    REQUIRE(bpf_map_get_info_by_fd(map.get(), &info, &size) == 0);
    return info.id;
}

// The program that runs at a device's ingress.
inline UniqueFd program_at(const KernelSandbox& sandbox, int ifindex, bool tcx) {
    std::uint32_t program_id = 0;
    if (tcx) {
        const auto path = sandbox.bpf_dir() / "links" / (std::to_string(ifindex) + "-ingress");
        const UniqueFd link(bpf_obj_get(path.c_str()));
        bpf_link_info info{};
        __u32 size = sizeof(info);
        REQUIRE(bpf_link_get_info_by_fd(link.get(), &info, &size) == 0);
        program_id = info.prog_id;
    } else {
        bpf_tc_hook hook{};
        hook.sz = sizeof(hook);
        hook.ifindex = ifindex;
        hook.attach_point = BPF_TC_INGRESS;
        bpf_tc_opts opts{};
        opts.sz = sizeof(opts);
        opts.handle = 0x53564c42;
        opts.priority = 7;
        REQUIRE(bpf_tc_query(&hook, &opts) == 0);
        program_id = opts.prog_id;
    }
    return UniqueFd(bpf_prog_get_fd_by_id(program_id));
}

inline std::vector<std::uint32_t> maps_of(int program, bpf_prog_info& info) {
    std::vector<std::uint32_t> maps(64);
    info = {};
    info.nr_map_ids = static_cast<__u32>(maps.size());
    info.map_ids = reinterpret_cast<std::uintptr_t>(maps.data());
    __u32 size = sizeof(info);
    if (bpf_prog_get_info_by_fd(program, &info, &size) != 0) return {};  // gone meanwhile
    maps.resize(info.nr_map_ids);
    return maps;
}

// Names of the kernel's programs, attached or not, that use any of these maps.
inline std::multiset<std::string> programs_using(const std::set<std::uint32_t>& maps) {
    std::multiset<std::string> names;
    for (std::uint32_t id = 0; bpf_prog_get_next_id(id, &id) == 0;) {
        const UniqueFd program(bpf_prog_get_fd_by_id(id));
        bpf_prog_info info{};
        const auto used = program ? maps_of(program.get(), info) : std::vector<std::uint32_t>();
        if (std::ranges::any_of(used, [&](auto map) { return maps.contains(map); })) names.insert(info.name);
    }
    return names;
}

inline std::multiset<std::string> loaded_programs(const KernelSandbox& sandbox) {
    std::set<std::uint32_t> maps;
    for (const auto& entry : std::filesystem::directory_iterator(sandbox.bpf_dir() / "maps"))
        maps.insert(id_of_pinned(sandbox, entry.path().filename().c_str()));
    return programs_using(maps);
}

inline bool is_tcx(const Datapath& datapath, int ifindex) {
    return hooks_of(datapath, ifindex).find("tcx") != std::string::npos;
}

inline svclb_backend_key backend_key(std::uint32_t service) {
    svclb_backend_key key{};
    key.service = service;
    return key;
}

inline svclb_service_name name_of(const char* name) {
    svclb_service_name row{};
    std::copy_n(name, std::char_traits<char>::length(name), row.name);
    return row;
}

}  // namespace svclb::datapath
