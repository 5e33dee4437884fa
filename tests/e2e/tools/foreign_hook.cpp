// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// foreign_hook CGROUP ADDRESS:PORT link|program: a program of somebody else on connect4 of that cgroup, attached in
// either of the two ways that share a cgroup. It refuses connect() to that IPv4 destination, as it sees it when its
// turn comes, with EPERM. It writes "ready", and detaches when its standard input ends.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <iostream>
#include <string>

#include "endpoint.hpp"
#include "svclb/base/unique_fd.hpp"

namespace {

// if (ctx->user_ip4 == address && ctx->user_port == port) return 0; return 1;
svclb::UniqueFd load(const sockaddr_in& barred) {
    constexpr __u8 kLoad = BPF_LDX | BPF_MEM | BPF_W;
    constexpr __u8 kSet = BPF_ALU64 | BPF_MOV | BPF_K;
    constexpr __u8 kSet32 = BPF_ALU | BPF_MOV | BPF_K;
    constexpr __u8 kSkipUnlessSame = BPF_JMP | BPF_JNE | BPF_X;
    const std::array program = {
        bpf_insn{kLoad, BPF_REG_2, BPF_REG_1, offsetof(bpf_sock_addr, user_ip4), 0},
        bpf_insn{kLoad, BPF_REG_3, BPF_REG_1, offsetof(bpf_sock_addr, user_port), 0},
        bpf_insn{kSet32, BPF_REG_4, 0, 0, static_cast<__s32>(barred.sin_addr.s_addr)},
        bpf_insn{kSet32, BPF_REG_5, 0, 0, barred.sin_port},
        bpf_insn{kSet, BPF_REG_0, 0, 0, 1},
        bpf_insn{kSkipUnlessSame, BPF_REG_2, BPF_REG_4, 2, 0},
        bpf_insn{kSkipUnlessSame, BPF_REG_3, BPF_REG_5, 1, 0},
        bpf_insn{kSet, BPF_REG_0, 0, 0, 0},
        bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
    };
    bpf_prog_load_opts options{};
    options.sz = sizeof(options);
    options.expected_attach_type = BPF_CGROUP_INET4_CONNECT;
    return svclb::UniqueFd{
        bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "foreign", "GPL", program.data(), program.size(), &options)};
}

}  // namespace

int main(int argc, char** argv) {
    const std::string way = argc == 4 ? argv[3] : "";
    if (way != "link" && way != "program") tools::die("usage: foreign_hook CGROUP ADDRESS:PORT link|program");
    const auto barred = tools::parse_endpoint(argv[2]);
    if (barred.family() != AF_INET) tools::die("not an IPv4 address");
    const svclb::UniqueFd cgroup{::open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!cgroup) tools::die_errno(argv[1]);
    const auto program = load(reinterpret_cast<const sockaddr_in&>(barred.address));
    if (!program) tools::die_errno("load");
    // Neither is pinned: the link goes with this process. A program would stay.
    svclb::UniqueFd link;
    if (way == "link") {
        link = svclb::UniqueFd{bpf_link_create(program.get(), cgroup.get(), BPF_CGROUP_INET4_CONNECT, nullptr)};
        if (!link) tools::die_errno("attach");
    } else if (bpf_prog_attach(program.get(), cgroup.get(), BPF_CGROUP_INET4_CONNECT, BPF_F_ALLOW_MULTI) != 0) {
        tools::die_errno("attach");
    }
    std::cout << "ready" << std::endl;
    std::array<char, 64> ignored{};
    while (::read(STDIN_FILENO, ignored.data(), ignored.size()) > 0) {
    }
    if (way == "program") bpf_prog_detach2(program.get(), cgroup.get(), BPF_CGROUP_INET4_CONNECT);
}
