// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What is attached and pinned by now, asked of the kernel; and keys and rows of the tables in short.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <string>

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
