// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// foreign_xdp DEVICE: somebody else's XDP program on the device, which passes every packet. It writes "ready", and
// detaches when its standard input ends.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <unistd.h>

#include <array>
#include <iostream>

#include "endpoint.hpp"
#include "svclb/base/unique_fd.hpp"

int main(int argc, char** argv) {
    const unsigned device = argc == 2 ? ::if_nametoindex(argv[1]) : 0;
    if (device == 0) tools::die("usage: foreign_xdp DEVICE");
    const std::array pass = {bpf_insn{BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, XDP_PASS},
                             bpf_insn{BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
    const svclb::UniqueFd program{
        bpf_prog_load(BPF_PROG_TYPE_XDP, "foreign", "GPL", pass.data(), pass.size(), nullptr)};
    if (!program) tools::die_errno("load");
    if (bpf_xdp_attach(static_cast<int>(device), program.get(), 0, nullptr) != 0) tools::die_errno("attach");
    std::cout << "ready" << std::endl;
    std::array<char, 64> ignored{};
    while (::read(STDIN_FILENO, ignored.data(), ignored.size()) > 0) {
    }
    bpf_xdp_detach(static_cast<int>(device), 0, nullptr);
}
