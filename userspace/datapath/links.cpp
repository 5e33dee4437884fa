// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "links.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <net/if.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <optional>
#include <utility>

namespace svclb::datapath {
namespace {

// From <linux/bpf.h> of 6.6; the headers that we are built with may be older.
constexpr auto kAttachTcxIngress = static_cast<bpf_attach_type>(46);
constexpr auto kAttachTcxEgress = static_cast<bpf_attach_type>(47);
constexpr std::uint32_t kLinkTypeTcx = 11;
constexpr std::uint32_t kFlagBefore = 1U << 3;  // BPF_F_BEFORE
constexpr int kLoopback = 1;                    // in every network namespace

// The start of struct bpf_link_info with its tcx member.
struct TcxLinkInfo {
    std::uint32_t type = 0;
    std::uint32_t id = 0;
    std::uint32_t program_id = 0;
    std::uint32_t pad = 0;
    std::uint32_t ifindex = 0;  // 0: the device is gone
    std::uint32_t attach_type = 0;
};
static_assert(offsetof(TcxLinkInfo, ifindex) == offsetof(bpf_link_info, netns), "the union of link details");

constexpr bpf_attach_type attach_type_of(Side side) {
    return side == Side::ingress ? kAttachTcxIngress : kAttachTcxEgress;
}
constexpr const char* name_of(Side side) {
    return side == Side::ingress ? "ingress" : "egress";
}
constexpr std::array kKinds = {LinkKind::pod, LinkKind::uplink, LinkKind::host, LinkKind::tunnel};
std::string pin_name_of(Place place) {
    const char* kind = place.kind == LinkKind::host     ? "host-"
                       : place.kind == LinkKind::uplink ? "uplink-"
                       : place.kind == LinkKind::tunnel ? "tunnel-"
                                                        : "";
    return fmt::format("{}{}", kind, name_of(place.side));
}
constexpr std::size_t index_of(Side side) {
    return static_cast<std::size_t>(side);
}
int program_for(Place place, const Programs& programs) {
    return program_in(programs, program_of(place));
}

std::string name_of(int ifindex) {
    std::array<char, IF_NAMESIZE> name{};
    return ::if_indextoname(static_cast<unsigned>(ifindex), name.data()) == nullptr ? std::string() : name.data();
}

Result<std::vector<int>> all_devices() {
    struct if_nameindex* list = ::if_nameindex();
    if (list == nullptr) return fail_errno(errno, "list network devices");
    std::vector<int> devices;
    for (const auto* device = list; device->if_index != 0; ++device)
        devices.push_back(static_cast<int>(device->if_index));
    ::if_freenameindex(list);
    return devices;
}

std::optional<std::pair<int, Place>> parse_pin_name(const std::string& file) {
    int ifindex = 0;
    const auto [rest, error] = std::from_chars(file.data(), file.data() + file.size(), ifindex);
    for (const LinkKind kind : kKinds) {
        for (const Side side : kSides) {
            const Place place{kind, side};
            if (error == std::errc() && rest == fmt::format("-{}", pin_name_of(place)))
                return std::pair(ifindex, place);
        }
    }
    return std::nullopt;
}

// Device numbers are per network namespace, and a device may have left ours with its link on it: only the device itself
// tells whether this link is there.
bool is_on_device(const TcxLinkInfo& info, int ifindex, Side side) {
    if (info.type != kLinkTypeTcx || std::cmp_not_equal(info.ifindex, ifindex) ||
        info.attach_type != attach_type_of(side)) {
        return false;
    }
    std::array<__u32, 64> programs{};
    std::array<__u32, 64> links{};
    struct bpf_prog_query_opts opts {};
    opts.sz = sizeof(opts);
    opts.prog_ids = programs.data();
    opts.count = static_cast<__u32>(programs.size());
    opts.link_ids = links.data();
    if (bpf_prog_query_opts(ifindex, attach_type_of(side), &opts) != 0) return false;
    for (std::size_t i = 0; i < opts.count; ++i) {
        if (links[i] == info.id) return true;
    }
    return false;
}

bool is_live(int link, int ifindex, Side side) {
    TcxLinkInfo info;
    __u32 size = sizeof(info);
    return bpf_obj_get_info_by_fd(link, &info, &size) == 0 && is_on_device(info, ifindex, side);
}

}  // namespace

bool has_tcx() {
    struct bpf_prog_query_opts opts {};
    opts.sz = sizeof(opts);
    return bpf_prog_query_opts(kLoopback, kAttachTcxIngress, &opts) == 0;
}

ProgramNames programs_for(LinkKind kind) {
    ProgramNames names;
    for (const Side side : kSides) names.emplace(program_of({kind, side}));
    return names;
}

std::filesystem::path Links::pin_path(int ifindex, Place place) const {
    return dir_.links() / fmt::format("{}-{}", ifindex, pin_name_of(place));
}

Result<Links> Links::find(const BpfDir& dir, bool read_only) {
    quieten_libbpf();
    Links links(dir);
    const auto files = names_in(dir.links());
    if (!files) return fail(files.error());
    for (const auto& file : *files) {
        if (auto adopted = links.adopt_pin(file, read_only); !adopted) return fail(adopted.error());
    }
    const auto devices = all_devices();
    if (!devices) return fail(devices.error());
    for (const int ifindex : *devices) {
        for (const LinkKind kind : kKinds) {
            for (const Side side : kSides) {
                if (!has_filter(ifindex, {kind, side})) continue;
                links.attachments_[ifindex].kind = kind;
                links.attachments_[ifindex].filter[index_of(side)] = true;
            }
        }
    }
    for (auto& [ifindex, attachment] : links.attachments_) attachment.name = name_of(ifindex);
    return links;
}

Status Links::adopt_pin(const std::string& file, bool read_only) {
    if (file.starts_with(kSocketPinPrefix)) return {};
    const auto is_xdp = xdp_.adopt_pin(file, read_only);
    if (!is_xdp) return fail(is_xdp.error());
    if (*is_xdp) return {};
    const auto place = parse_pin_name(file);
    if (!place) {
        spdlog::warn("unknown pin path={}", (dir_.links() / file).string());
        return {};
    }
    const int ifindex = place->first;
    const auto [kind, side] = place->second;
    auto link = open_pin(dir_.links() / file, false);
    if (!link) return fail(link.error());
    if (*link && is_live(link->get(), ifindex, side)) {
        attachments_[ifindex].kind = kind;
        attachments_[ifindex].tcx[index_of(side)] = std::move(*link);
        return {};
    }
    return read_only ? Status{} : unpin(dir_.links() / file);
}

ProgramNames Links::in_use() const {
    ProgramNames names;
    for (const auto& [ifindex, attachment] : attachments_) names.merge(programs_for(attachment.kind));
    if (!xdp_.all().empty()) names.emplace(kFromWire);
    return names;
}

Status Links::replace_one(int ifindex, Attachment& attachment, const Programs& programs) {
    for (const Side side : kSides) {
        const Place place{attachment.kind, side};
        const int program = program_for(place, programs);
        const UniqueFd& link = attachment.tcx[index_of(side)];
        const int error = link ? bpf_link_update(link.get(), program, nullptr) : 0;
        if (error != 0 && is_live(link.get(), ifindex, side)) {
            return fail_errno(-error,
                              fmt::format("replace the program on tcx {} of {}", name_of(side), attachment.name));
        }
        if (!attachment.filter[index_of(side)]) continue;
        if (auto replaced = add_filter(ifindex, place, program); !replaced && !name_of(ifindex).empty())
            return replaced;
    }
    return {};
}

Status Links::replace_programs(const Programs& programs, const Programs* before) {
    for (auto at = attachments_.begin(); at != attachments_.end(); ++at) {
        auto replaced = replace_one(at->first, at->second, programs);
        if (replaced) continue;
        if (before != nullptr) {
            for (auto done = attachments_.begin(); done != std::next(at); ++done) {
                if (auto restored = replace_one(done->first, done->second, *before); !restored) {
                    spdlog::error("restoring a program failed error=\"{}\"", restored.error().message());
                }
            }
        }
        return replaced;
    }
    return xdp_.replace_program(program_in(programs, kFromWire));
}

Status Links::attach_tcx(int ifindex, Side side, Attachment& attachment, const Programs& programs) {
    UniqueFd& link = attachment.tcx[index_of(side)];
    if (link && is_live(link.get(), ifindex, side)) return {};
    // First in line: a program that ends with "pass" instead of "next" would hide its packets from all behind it.
    bpf_link_create_opts opts{};
    opts.sz = sizeof(opts);
    opts.flags = kFlagBefore;
    const Place place{attachment.kind, side};
    const int fd = bpf_link_create(program_for(place, programs), ifindex, attach_type_of(side), &opts);
    if (fd < 0) return fail_errno(-fd, fmt::format("attach to tcx {} of {}", name_of(side), attachment.name));
    link = UniqueFd(fd);
    auto pinned = pin(fd, pin_path(ifindex, place));
    if (!pinned) link = UniqueFd();
    return pinned;
}

Status Links::detach_tcx(int ifindex, Side side, Attachment& attachment) {
    UniqueFd& link = attachment.tcx[index_of(side)];
    if (!link) return {};
    // At once, whoever else holds the link; of a device that is gone it is detached already.
    bpf_link_detach(link.get());
    link = UniqueFd();
    return unpin(pin_path(ifindex, {attachment.kind, side}));
}

Status Links::attach(int ifindex, const std::string& name, LinkKind kind, bool tcx, const Programs& programs) {
    if (const auto found = attachments_.find(ifindex); found != attachments_.end() && found->second.kind != kind) {
        if (auto detached = detach(ifindex); !detached) return detached;
    }
    Attachment& attachment = attachments_[ifindex];
    attachment.name = name;
    attachment.kind = kind;
    auto attached = attach_both(ifindex, attachment, tcx, programs);
    if (!attached && attachment.empty()) attachments_.erase(ifindex);
    return attached;
}

Status Links::attach_both(int ifindex, Attachment& attachment, bool tcx, const Programs& programs) {
    // Replies first: a flow that begins in between must find its way back.
    for (const Side side : {Side::egress, Side::ingress}) {
        const Place place{attachment.kind, side};
        bool& filter = attachment.filter[index_of(side)];
        if (tcx) {
            if (auto done = attach_tcx(ifindex, side, attachment, programs); !done) return done;
            if (filter) {
                if (auto done = remove_filter(ifindex, place); !done) return done;
                filter = false;
            }
        } else {
            if (!filter || !has_filter(ifindex, place)) {
                if (auto done = add_filter(ifindex, place, program_for(place, programs)); !done) return done;
                filter = true;
            }
            if (auto done = detach_tcx(ifindex, side, attachment); !done) return done;
        }
    }
    return {};
}

Status Links::detach(int ifindex) {
    if (auto detached = xdp_.detach(ifindex); !detached) return detached;
    const auto found = attachments_.find(ifindex);
    if (found == attachments_.end()) return {};
    for (const Side side : kSides) {
        if (auto done = detach_tcx(ifindex, side, found->second); !done) return done;
        if (!found->second.filter[index_of(side)]) continue;
        if (auto done = remove_filter(ifindex, {found->second.kind, side}); !done) return done;
    }
    attachments_.erase(found);
    return {};
}

std::vector<AttachedLink> Links::attached() const {
    std::vector<AttachedLink> links;
    for (const auto& [ifindex, attachment] : attachments_) {
        AttachedLink link{.ifindex = ifindex, .name = attachment.name, .kind = attachment.kind, .hooks = {}};
        for (const Side side : kSides) {
            const std::string hook = fmt::format("tc {}", name_of(side));
            if (attachment.tcx[index_of(side)]) link.hooks.push_back({hook, "tcx"});
            if (attachment.filter[index_of(side)]) link.hooks.push_back({hook, "clsact"});
        }
        if (const auto mode = xdp_.mode_on(ifindex)) link.hooks.push_back({"xdp", svclb::datapath::name_of(*mode)});
        links.push_back(std::move(link));
    }
    return links;
}

}  // namespace svclb::datapath
