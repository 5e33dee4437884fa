// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "sockets.hpp"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <utility>

#include "map_ref.hpp"
#include "svclb/datapath/pinned.hpp"

namespace svclb::datapath {
namespace {

// The headers that we are built with may be older.
constexpr int kNetnsCookie = 71;                            // SO_NETNS_COOKIE
constexpr auto kSetRetval = static_cast<bpf_func_id>(187);  // bpf_set_retval
constexpr std::uint32_t kLinkTypeCgroup = BPF_LINK_TYPE_CGROUP;

struct Place {
    const char* hook;
    bpf_attach_type type;
};

// In the order in which they are attached: names first, so that nobody is told of a peer that it did not dial.
constexpr std::array kPlaces = {
    Place{"sock_release", BPF_CGROUP_INET_SOCK_RELEASE}, Place{"getpeername4", BPF_CGROUP_INET4_GETPEERNAME},
    Place{"getpeername6", BPF_CGROUP_INET6_GETPEERNAME}, Place{"recvmsg4", BPF_CGROUP_UDP4_RECVMSG},
    Place{"recvmsg6", BPF_CGROUP_UDP6_RECVMSG},          Place{"sendmsg4", BPF_CGROUP_UDP4_SENDMSG},
    Place{"sendmsg6", BPF_CGROUP_UDP6_SENDMSG},          Place{"connect4", BPF_CGROUP_INET4_CONNECT},
    Place{"connect6", BPF_CGROUP_INET6_CONNECT},
};

std::filesystem::path pin_path(const BpfDir& dir, std::string_view hook) {
    return dir.links() / fmt::format("{}{}", kSocketPinPrefix, hook);
}

// Of the cgroup that the link is attached to; 0 when that is gone, or it is no such link.
std::uint64_t cgroup_of(int link, bpf_attach_type type) {
    bpf_link_info info{};
    __u32 size = sizeof(info);
    if (bpf_obj_get_info_by_fd(link, &info, &size) != 0) return 0;
    if (info.type != kLinkTypeCgroup || info.cgroup.attach_type != static_cast<__u32>(type)) return 0;
    return info.cgroup.cgroup_id;
}

std::uint64_t id_of(const CgroupRoot& root) {
    struct stat directory {};
    return ::fstat(root.fd.get(), &directory) == 0 ? directory.st_ino : 0;
}

// A map that both have is the second one's.
Result<MapSet> together(const MapSet& first, const MapSet& second) {
    MapSet maps;
    for (const auto* from : {&first, &second}) {
        for (const auto& [name, fd] : from->all()) {
            auto copy = duplicate(fd.get(), name);
            if (!copy) return fail(copy.error());
            maps.put(name, std::move(*copy));
        }
    }
    return maps;
}

// Has connect4 say which network namespace is ours. Nothing is sent: the socket is UDP's.
Status tell_netns(const MapSet& maps) {
    const auto probe = MappedArray<svclb_netns_probe>::open(maps, "netns_probe");
    if (!probe) return fail(probe.error());
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    std::uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(9);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!socket || ::getsockopt(socket.get(), SOL_SOCKET, SO_COOKIE, &cookie, &size) != 0)
        return fail_errno(errno, "make a socket to learn our network namespace by");
    auto& row = probe->rows()[0];
    std::atomic_ref(row.socket).store(cookie);
    // What it answers does not matter.
    (void)::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to));
    if (std::atomic_ref(row.socket).exchange(0) != 0) {
        return fail(
            Error::invalid("our own process is outside of the cgroup root: "
                           "the hooks cannot tell which network namespace is ours"));
    }
    return {};
}

}  // namespace

Result<Sockets> Sockets::open(const BpfDir& dir, const svclb_settings& settings, const MapSet& shared,
                              const MapSet& pinned, CgroupRoot root) {
    const auto reuse = together(pinned, shared);
    if (!reuse) return fail(reuse.error());
    auto loaded = load_sockets(settings, *reuse);
    if (!loaded) return fail(loaded.error());
    for (const auto& [name, fd] : loaded->maps.all()) {
        if (reuse->find(name) >= 0) continue;
        if (auto done = pin(fd.get(), dir.map(name)); !done) return fail(done.error());
    }
    Sockets sockets(std::move(root), std::move(*loaded));
    if (auto attached = sockets.attach(dir); !attached) return fail(attached.error());
    if (settings.netns_cookie == 0) {
        if (auto told = tell_netns(sockets.loaded_.maps); !told) return fail(told.error());
    }
    return sockets;
}

// Those that are there already get their programs last: until then each step can fail without a trace.
Status Sockets::attach(const BpfDir& dir) {
    Fds outdated;
    std::vector<std::string_view> adopted;
    for (const auto& [hook, type] : kPlaces) {
        auto link = open_pin(pin_path(dir, hook), false);
        if (!link) return fail(link.error());
        if (*link && cgroup_of(link->get(), type) == id_of(root_)) {
            links_.insert_or_assign(hook, std::move(*link));
            adopted.emplace_back(hook);
            continue;
        }
        if (*link) outdated.insert_or_assign(hook, std::move(*link));
        UniqueFd fresh(bpf_link_create(loaded_.programs.at(hook).get(), root_.fd.get(), type, nullptr));
        if (!fresh) return fail_errno(errno, fmt::format("attach {} to cgroup {}", hook, root_.path.string()));
        links_.insert_or_assign(hook, std::move(fresh));
    }
    for (const auto hook : adopted)
        if (auto updated = update(hook, loaded_); !updated) return updated;
    for (const auto& [hook, link] : links_) {
        if (std::ranges::find(adopted, hook) != adopted.end()) continue;
        if (auto pinned = pin(link.get(), pin_path(dir, hook)); !pinned) return pinned;
    }
    // The new ones first, so that no call is missed.
    for (const auto& [hook, link] : outdated) bpf_link_detach(link.get());
    return {};
}

Status Sockets::update(std::string_view hook, const LoadedSockets& with) {
    const auto link = links_.find(hook);
    const auto program = with.programs.find(hook);
    if (const int error = bpf_link_update(link->second.get(), program->second.get(), nullptr); error != 0)
        return fail_errno(-error, fmt::format("replace the program on {}", hook));
    return {};
}

Status Sockets::update(const LoadedSockets& with) {
    for (const auto& [hook, link] : links_)
        if (auto updated = update(hook, with); !updated) return updated;
    return {};
}

Status Sockets::replace_maps(const svclb_settings& settings, const MapSet& shared) {
    const auto reuse = maps_with(shared);
    if (!reuse) return fail(reuse.error());
    auto loaded = load_sockets(settings, *reuse);
    if (!loaded) return fail(loaded.error());
    return replace_programs(std::move(*loaded));
}

Result<MapSet> Sockets::maps_with(const MapSet& shared) const {
    return together(loaded_.maps, shared);
}

Status Sockets::replace_programs(LoadedSockets loaded) {
    if (auto updated = update(loaded); !updated) {
        if (auto restored = update(loaded_); !restored)
            spdlog::error("restoring a program failed error=\"{}\"", restored.error().message());
        return updated;
    }
    loaded_ = std::move(loaded);
    return {};
}

std::uint64_t own_netns_cookie() {
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    std::uint64_t cookie = 0;
    socklen_t size = sizeof(cookie);
    if (!socket || ::getsockopt(socket.get(), SOL_SOCKET, kNetnsCookie, &cookie, &size) != 0) return 0;
    return cookie;
}

bool hooks_set_errno() {
    return libbpf_probe_bpf_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, kSetRetval, nullptr) == 1;
}

std::vector<std::string_view> socket_hooks() {
    std::vector<std::string_view> names;
    names.reserve(kPlaces.size());
    for (const auto& place : kPlaces) names.emplace_back(place.hook);
    return names;
}

Result<std::vector<Hook>> attached_socket_hooks(const BpfDir& dir) {
    std::vector<Hook> hooks;
    for (const auto& [hook, type] : kPlaces) {
        const auto link = open_pin(pin_path(dir, hook), false);
        if (!link) return fail(link.error());
        if (*link && cgroup_of(link->get(), type) != 0) hooks.push_back({hook, "link"});
    }
    return hooks;
}

Status detach_socket_hooks(const BpfDir& dir) {
    // What leads to a backend first: what tells of it still answers for those that are under way.
    for (std::size_t at = kPlaces.size(); at-- > 0;) {
        const auto path = pin_path(dir, kPlaces[at].hook);
        auto link = open_pin(path, false);
        if (!link) return fail(link.error());
        if (!*link) continue;
        bpf_link_detach(link->get());
        if (auto removed = unpin(path); !removed) return removed;
    }
    return {};
}

}  // namespace svclb::datapath
