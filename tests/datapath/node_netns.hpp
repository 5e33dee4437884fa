// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A network namespace with routes, for programs that look them up.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>

#include "svclb/base/unique_fd.hpp"
#include "world.hpp"

namespace svclb::test {

// The node: 192.0.2.1 and 2001:db8::1, with routes to the backends of World.
class NodeNetns {
public:
    NodeNetns() : home_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
        if (::unshare(CLONE_NEWNET) != 0) SKIP("no network namespace can be made");
        if (std::system(kRoutes) != 0) {  // NOLINT(cert-env33-c): a constant
            ::setns(home_.get(), CLONE_NEWNET);
            SKIP("no device can be made here for packets to leave by");
        }
        // The kernel makes an IPv6 address its own a moment after it was added.
        for (int i = 0; i < 500 && std::system(kOwnAddress) != 0; i++) ::usleep(10000);  // NOLINT(cert-env33-c)
    }
    ~NodeNetns() { ::setns(home_.get(), CLONE_NEWNET); }
    NodeNetns(const NodeNetns&) = delete;
    NodeNetns& operator=(const NodeNetns&) = delete;

private:
    static constexpr const char* kRoutes =
        "exec 2>/dev/null; set -e; ip link set lo up; ip link add uplink type veth peer name far; ip link set far up; "
        "ip link set uplink up; ip address add 192.0.2.1/24 dev uplink; "
        "ip address add 2001:db8::1/64 dev uplink nodad; ip route add 10.244.0.0/16 via 192.0.2.2; "
        "ip route add 8.0.2.0/24 via 192.0.2.2; "
        "ip -6 route add fd00:244::/32 via 2001:db8::2; echo 1 >/proc/sys/net/ipv4/conf/lo/forwarding; "
        "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding";
    static constexpr const char* kOwnAddress = "ip -6 route show table local | grep -q '^local 2001:db8::1 '";
    svclb::UniqueFd home_;
};

}  // namespace svclb::test
