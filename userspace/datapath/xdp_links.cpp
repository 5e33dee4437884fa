// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "xdp_links.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/if_link.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "object.hpp"

namespace svclb::datapath {
namespace {

constexpr std::array kModes = {SVCLB_XDP_NATIVE, SVCLB_XDP_GENERIC};

__u32 flags_of(svclb_xdp_mode mode) {
    return mode == SVCLB_XDP_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
}

struct OnDevice {
    __u32 native = 0;  // the program's id, 0 = none
    __u32 generic = 0;
};

OnDevice programs_on(int ifindex) {
    bpf_xdp_query_opts opts{};
    opts.sz = sizeof(opts);
    if (bpf_xdp_query(ifindex, 0, &opts) != 0) return {};
    return {.native = opts.drv_prog_id, .generic = opts.skb_prog_id};
}

// Device numbers are per network namespace, and a device may have left ours with its link on it: only the device itself
// tells whether this link is there.
bool is_live(int link, int ifindex, svclb_xdp_mode mode) {
    bpf_link_info info{};
    __u32 size = sizeof(info);
    if (bpf_obj_get_info_by_fd(link, &info, &size) != 0 || info.type != BPF_LINK_TYPE_XDP ||
        std::cmp_not_equal(info.xdp.ifindex, ifindex))
        return false;
    const auto there = programs_on(ifindex);
    return (mode == SVCLB_XDP_NATIVE ? there.native : there.generic) == info.prog_id;
}

std::optional<std::pair<int, svclb_xdp_mode>> parse_pin_name(const std::string& file) {
    int ifindex = 0;
    const auto [rest, error] = std::from_chars(file.data(), file.data() + file.size(), ifindex);
    for (const auto mode : kModes) {
        if (error == std::errc() && rest == fmt::format("-xdp-{}", name_of(mode))) return std::pair(ifindex, mode);
    }
    return std::nullopt;
}

// "the program "other" (id 7)", of whoever has been there first.
std::string occupant_of(int ifindex) {
    const auto there = programs_on(ifindex);
    const __u32 id = there.native != 0 ? there.native : there.generic;
    const UniqueFd program(id == 0 ? -1 : bpf_prog_get_fd_by_id(id));
    bpf_prog_info info{};
    __u32 size = sizeof(info);
    if (!program || bpf_prog_get_info_by_fd(program.get(), &info, &size) != 0)
        return fmt::format("an XDP program (id {})", id);
    return fmt::format("the XDP program \"{}\" (id {})", info.name, id);
}

}  // namespace

const char* name_of(svclb_xdp_mode mode) {
    return mode == SVCLB_XDP_NATIVE ? "native" : "generic";
}

std::filesystem::path XdpLinks::pin_path(int ifindex, svclb_xdp_mode mode) const {
    return dir_.links() / fmt::format("{}-xdp-{}", ifindex, name_of(mode));
}

Result<bool> XdpLinks::adopt_pin(const std::string& file, bool read_only) {
    const auto parsed = parse_pin_name(file);
    if (!parsed) return false;
    const auto [ifindex, mode] = *parsed;
    auto link = open_pin(dir_.links() / file, false);
    if (!link) return fail(link.error());
    if (*link && is_live(link->get(), ifindex, mode)) {
        links_.insert_or_assign(ifindex, Link{.fd = std::move(*link), .mode = mode});
        return true;
    }
    if (!read_only) {
        if (auto removed = unpin(dir_.links() / file); !removed) return fail(removed.error());
    }
    return true;
}

Status XdpLinks::replace_program(int program) {
    for (const auto& [ifindex, link] : links_) {
        const int error = bpf_link_update(link.fd.get(), program, nullptr);
        if (error != 0 && is_live(link.fd.get(), ifindex, link.mode))
            return fail_errno(-error, fmt::format("replace the XDP program of device {}", ifindex));
    }
    return {};
}

Status XdpLinks::attach(int ifindex, svclb_xdp_mode mode, int program) {
    if (const auto found = links_.find(ifindex); found != links_.end()) {
        if (found->second.mode == mode && is_live(found->second.fd.get(), ifindex, mode)) return {};
        if (auto detached = detach(ifindex); !detached) return detached;
    }
    bpf_link_create_opts opts{};
    opts.sz = sizeof(opts);
    opts.flags = flags_of(mode);
    const int fd = bpf_link_create(program, ifindex, BPF_XDP, &opts);
    if (fd == -EBUSY || fd == -EEXIST) return fail_errno(-fd, fmt::format("{} is there", occupant_of(ifindex)));
    if (fd < 0) return fail_errno(-fd, fmt::format("the device takes no {} XDP program", name_of(mode)));
    Link link{.fd = UniqueFd(fd), .mode = mode};
    if (auto pinned = pin(fd, pin_path(ifindex, mode)); !pinned) return pinned;
    links_.insert_or_assign(ifindex, std::move(link));
    return {};
}

Status XdpLinks::detach(int ifindex) {
    const auto found = links_.find(ifindex);
    if (found == links_.end()) return {};
    // At once, whoever else holds the link; of a device that is gone it is detached already.
    bpf_link_detach(found->second.fd.get());
    const auto path = pin_path(ifindex, found->second.mode);
    links_.erase(found);
    return unpin(path);
}

std::optional<svclb_xdp_mode> XdpLinks::mode_on(int ifindex) const {
    const auto found = links_.find(ifindex);
    if (found == links_.end()) return std::nullopt;
    return found->second.mode;
}

}  // namespace svclb::datapath
