// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The socket hooks at work on empty tables, and what tests of theirs need: servers at loopback addresses, and pods.
#pragma once

#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "socket_hooks.hpp"
#include "world.hpp"

namespace svclb::test {

// The hooks on top of empty tables.
struct Node {
    Datapath& datapath = fresh_datapath();
    std::optional<SocketHooks> hooks;

    explicit Node(const HookOptions& options = {}) {
        try {
            hooks.emplace(datapath, options);
        } catch (const NotPermitted& reason) {
            SKIP(reason.what());
        }
    }
};

inline int type_of(const World& world) {
    return world.tcp_flow() ? SOCK_STREAM : SOCK_DGRAM;
}
inline int family_of(const World& world) {
    return world.family == 4 ? AF_INET : AF_INET6;
}
inline Socket server_of(const World& world) {
    return serve(world.net("127.0.0.1", "::1"), type_of(world));
}

// Where the kernel cannot be told what a call fails with, the call goes on, to an address that nobody has.
inline bool was_refused(const Node& node, int error) {
    return node.hooks->set_errno() ? error == ECONNREFUSED : error != EPERM && error != EACCES;
}

// A pod, as far as a socket can tell: a network namespace of its own with its loopback device on, by a child process
// that runs `act` in it, and ends with what that returns.
template <class Act>
int in_pod(const Act& act) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        if (::unshare(CLONE_NEWNET) != 0) ::_exit(77);
        const Socket any(AF_INET, SOCK_DGRAM);
        ifreq request{};
        std::strcpy(static_cast<char*>(request.ifr_name), "lo");
        request.ifr_flags = IFF_UP;
        ::_exit(::ioctl(any.fd(), SIOCSIFFLAGS, &request) != 0 ? 77 : act());
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) SKIP("no network namespace can be made");
    return WEXITSTATUS(status);
}

// Answers one datagram; whom it came from.
inline Endpoint answer_one(const Socket& server, const std::string& text) {
    const auto asked = server.receive();
    if (!asked.text.empty()) (void)server.send_to(text, Address(asked.from));
    return asked.from;
}

}  // namespace svclb::test
