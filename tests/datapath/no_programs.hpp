// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A kernel that takes no more programs.
#pragma once

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstdlib>

namespace svclb::datapath {

// As long as it lives this thread, and those it begins, may make maps but load no programs for packets.
class NoPrograms {
public:
    NoPrograms() {
        REQUIRE(::syscall(SYS_capget, &header_, before_.data()) == 0);
        auto less = before_;
        less[0].effective &= ~(1U << CAP_NET_ADMIN | 1U << CAP_SYS_ADMIN);
        less[1].effective |= 1U << (CAP_BPF - 32);
        REQUIRE(::syscall(SYS_capset, &header_, less.data()) == 0);
    }
    ~NoPrograms() {
        if (::syscall(SYS_capset, &header_, before_.data()) != 0) std::abort();
    }
    NoPrograms(const NoPrograms&) = delete;
    NoPrograms& operator=(const NoPrograms&) = delete;

private:
    __user_cap_header_struct header_{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> before_{};
};

}  // namespace svclb::datapath
