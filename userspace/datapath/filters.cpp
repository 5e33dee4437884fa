// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "filters.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <cerrno>
#include <string_view>

#include "svclb/base/unique_fd.hpp"

namespace svclb::datapath {
namespace {

bpf_tc_hook hook_of(int ifindex, Side side) {
    bpf_tc_hook hook{};
    hook.sz = sizeof(hook);
    hook.ifindex = ifindex;
    hook.attach_point = side == Side::ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
    return hook;
}

bpf_tc_opts opts_of(Place place) {
    bpf_tc_opts opts{};
    opts.sz = sizeof(opts);
    opts.handle = kFilterHandle + static_cast<std::uint32_t>(place.kind);
    opts.priority = kFilterPriority;
    return opts;
}

constexpr std::string_view text_of(Side side) {
    return side == Side::ingress ? "ingress" : "egress";
}

}  // namespace

bool has_filter(int ifindex, Place place) {
    const bpf_tc_hook hook = hook_of(ifindex, place.side);
    bpf_tc_opts opts = opts_of(place);
    if (bpf_tc_query(&hook, &opts) != 0) return false;
    const UniqueFd program(bpf_prog_get_fd_by_id(opts.prog_id));
    // Looking at a program by its id takes CAP_SYS_ADMIN. Without it, priority and handle have to do.
    if (!program) return errno == EPERM;
    bpf_prog_info info{};
    __u32 size = sizeof(info);
    if (bpf_prog_get_info_by_fd(program.get(), &info, &size) != 0) return false;
    return std::string_view(info.name) == program_of(place);
}

Status add_filter(int ifindex, Place place, int program) {
    bpf_tc_hook hook = hook_of(ifindex, place.side);
    // For both sides at once: the qdisc is one.
    hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);
    if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST) {
        return fail_errno(-error, fmt::format("add the clsact qdisc to device {}", ifindex));
    }
    hook = hook_of(ifindex, place.side);
    bpf_tc_opts opts = opts_of(place);
    opts.prog_fd = program;
    // Someone else's filter in our place stays: without REPLACE the kernel refuses the second one.
    opts.flags = has_filter(ifindex, place) ? __u32{BPF_TC_F_REPLACE} : 0U;
    if (const int error = bpf_tc_attach(&hook, &opts); error != 0) {
        return fail_errno(-error, fmt::format("add filter priority {} handle {:#x} to clsact {} of device {}",
                                              kFilterPriority, opts.handle, text_of(place.side), ifindex));
    }
    return {};
}

Status remove_filter(int ifindex, Place place) {
    if (!has_filter(ifindex, place)) return {};
    const bpf_tc_hook hook = hook_of(ifindex, place.side);
    const bpf_tc_opts opts = opts_of(place);
    const int error = bpf_tc_detach(&hook, &opts);
    if (error != 0 && error != -ENOENT && error != -ENODEV && error != -EINVAL) {
        return fail_errno(-error,
                          fmt::format("remove our filter from clsact {} of device {}", text_of(place.side), ifindex));
    }
    return {};
}

}  // namespace svclb::datapath
