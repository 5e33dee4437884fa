// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A network namespace that routes everything by one uplink to a gateway, for programs that look up a way out.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>

#include "bpf_object.hpp"
#include "packet.hpp"
#include "svclb/base/unique_fd.hpp"

namespace svclb::test {

inline constexpr Mac kGateway{0x02, 0, 0, 0, 0, 0xfe};
inline constexpr Mac kUplink{0x02, 0, 0, 0, 0, 0xaa};
inline constexpr std::uint16_t kUplinkMtu = 1400;

class WayOut {
public:
    // Throws NotPermitted where none can be made.
    WayOut() : home_(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) {
        if (::unshare(CLONE_NEWNET) != 0) throw NotPermitted("no network namespaces, or no privilege to make one");
        for (const char* name : {"ipv4/ip_forward", "ipv6/conf/all/forwarding"})
            std::ofstream(std::string("/proc/sys/net/") + name) << "1\n";
        run("link set lo up");
        if (!run("link add uplink type veth peer name wire")) {
            ::setns(home_.get(), CLONE_NEWNET);
            throw NotPermitted("no veth devices, or no command ip");
        }
        bool ready = run("link set uplink address 02:00:00:00:00:aa");
        ready = ready && run("link set uplink mtu 1400") && run("link set uplink up") && run("link set wire up");
        ready =
            ready && run("address add 10.0.0.1/24 dev uplink") && run("-6 address add fd00:77::1/64 dev uplink nodad");
        for (const char* gateway : {"10.0.0.254", "fd00:77::fe"}) {
            const std::string at = gateway;
            const std::string family = at.find(':') == std::string::npos ? "" : "-6 ";
            ready = ready && run("neigh add " + at + " lladdr 02:00:00:00:00:fe dev uplink nud permanent") &&
                    run(family + "route add default via " + at);
        }
        if (ready) return;
        ::setns(home_.get(), CLONE_NEWNET);
        throw std::runtime_error("the uplink of the test's namespace cannot be set up");
    }
    ~WayOut() { ::setns(home_.get(), CLONE_NEWNET); }
    WayOut(const WayOut&) = delete;
    WayOut& operator=(const WayOut&) = delete;

    static bool run(const std::string& arguments) {
        return std::system(("ip " + arguments + " 2>/dev/null").c_str()) == 0;  // NOLINT(concurrency-mt-unsafe)
    }

private:
    svclb::UniqueFd home_;
};

}  // namespace svclb::test
