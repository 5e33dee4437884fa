// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What the kernel and our capabilities allow, asked without changing anything.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "bpf_dir.hpp"
#include "cgroup_root.hpp"
#include "links.hpp"
#include "sockets.hpp"
#include "svclb/base/unique_fd.hpp"
#include "svclb/datapath/datapath.hpp"

namespace svclb::datapath {
namespace {

using Version = std::pair<int, int>;
// Capabilities of their own for BPF came with 5.8; the rest of what we use is older than the oldest kernel in support.
constexpr Version kOldestKernel = {5, 10};

std::string release() {
    utsname names{};
    return ::uname(&names) == 0 ? names.release : "";
}

bool has_capability(int capability) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
    if (::syscall(SYS_capget, &header, data.data()) != 0) return false;
    return ((data[static_cast<std::size_t>(CAP_TO_INDEX(capability))].effective >> (capability & 31)) & 1U) != 0;
}

// The word in brackets: "none [integrity] confidentiality".
std::string lockdown_mode() {
    std::ifstream file("/sys/kernel/security/lockdown");
    std::string word;
    while (file >> word) {
        if (word.starts_with('[')) return word.substr(1, word.size() - 2);
    }
    return "none";
}

std::string why_refused(int error) {
    if (error != EPERM && error != EACCES) return std::strerror(error);
    if (const std::string mode = lockdown_mode(); mode != "none") {
        return fmt::format("not permitted; the kernel is locked down (mode {}), which may forbid it", mode);
    }
    return "not permitted, although we have the capabilities: a seccomp filter, an LSM or a user namespace forbids it";
}

// A program that says "next", loaded and dropped.
int load_smallest_program() {
    const std::array<bpf_insn, 2> next = {
        bpf_insn{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = -1},
        bpf_insn{.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "svclb_probe", "GPL", next.data(), next.size(), nullptr);
}

// In one line: whoever grants them grants them together.
std::string missing_capabilities() {
    if (has_capability(CAP_SYS_ADMIN) && has_capability(CAP_NET_ADMIN)) return {};
    std::string missing;
    for (const auto& [capability, name, purpose] :
         {std::tuple{CAP_BPF, "CAP_BPF", "to make maps and load programs"},
          std::tuple{CAP_NET_ADMIN, "CAP_NET_ADMIN", "to attach them to devices"},
          std::tuple{CAP_PERFMON, "CAP_PERFMON", "for packet parsing in them"}}) {
        if (!has_capability(capability))
            missing += fmt::format("{}{} ({})", missing.empty() ? "" : ", ", name, purpose);
    }
    return missing;
}

std::string refused_syscall() {
    const UniqueFd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "svclb_probe", 4, 4, 1, nullptr));
    if (!map) return fmt::format("bpf(2) cannot create a map: {}", why_refused(errno));
    const UniqueFd program(load_smallest_program());
    if (!program) return fmt::format("bpf(2) cannot load a tc program: {}", why_refused(errno));
    return {};
}

void add_missing_for_sockets(const SocketOptions& sockets, std::vector<MissingFeature>& missing) {
    const auto add = [&missing](const std::string& what) { missing.push_back({what, false}); };
    const auto root = open_cgroup_root(sockets.cgroup_root);
    if (!root)
        add(fmt::format("{}: host sockets are not translated", root.error().message()));
    else if (!root->whole)
        add(fmt::format("{} is a part of the cgroup v2 hierarchy: host sockets outside of it are not translated",
                        root->path.string()));
    if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, nullptr) != 1)
        add("no socket hooks (CONFIG_CGROUP_BPF): host sockets are not translated");
    else if (!hooks_set_errno())
        add("a socket hook cannot say ECONNREFUSED (it came with 5.18): the packet path refuses in its place");
    if (!sockets.pods) return;
    if (own_netns_cookie() == 0)
        add("no SO_NETNS_COOKIE (it came with 5.14): pods' sockets are not translated");
    else if (!has_capability(CAP_SYS_ADMIN))
        add("missing capability CAP_SYS_ADMIN, to look into pods' network namespaces: their sockets are not "
            "translated");
}

}  // namespace

std::vector<MissingFeature> missing_features(const SocketOptions& sockets) {
    quieten_libbpf();
    std::vector<MissingFeature> missing;
    const std::string running = release();
    Version version;
    // NOLINTNEXTLINE(cert-err34-c): a release that is no number is reported as too old
    std::sscanf(running.c_str(), "%d.%d", &version.first, &version.second);
    if (version < kOldestKernel) {
        missing.push_back({fmt::format("kernel {} is older than {}.{}: the programs will not load", running,
                                       kOldestKernel.first, kOldestKernel.second),
                           true});
    }
    if (const auto capabilities = missing_capabilities(); !capabilities.empty()) {
        // Without them nothing more can be asked.
        missing.push_back({fmt::format("missing capabilities: {}", capabilities), true});
        return missing;
    }
    if (auto refused = refused_syscall(); !refused.empty()) missing.push_back({std::move(refused), true});
    if (!has_tcx()) missing.push_back({"no tcx (kernel 6.6 and later): clsact filters are used in its place", false});
    if (sockets.host) add_missing_for_sockets(sockets, missing);
    if (!is_bpffs("/sys/fs/bpf")) {
        missing.push_back(
            {"no bpffs on /sys/fs/bpf: the agent mounts one; in a container, pins then end with the container", false});
    }
    return missing;
}

}  // namespace svclb::datapath
