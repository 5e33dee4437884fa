// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The real socket hooks, attached to a cgroup of their own that this process is moved into for as long as the object
// lives, and real sockets. cgroup hooks have no test-run. Loopback addresses are the backends.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <vector>

#include "packet.hpp"
#include "prog_run.hpp"
#include "svclb/base/unique_fd.hpp"

namespace svclb::test {

// Of the caller's network namespace; 0 where the kernel does not tell.
std::uint64_t netns_cookie();

struct HookOptions {
    bool learn_netns = false;  // as before 5.14, where the hook tells which network namespace is the agent's
};

class SocketHooks {
public:
    // With the maps of `datapath`. Throws NotPermitted where there is no cgroup v2 to be had.
    explicit SocketHooks(Datapath& datapath, const HookOptions& options = {});
    ~SocketHooks();
    SocketHooks(const SocketHooks&) = delete;
    SocketHooks& operator=(const SocketHooks&) = delete;

    // Whether this kernel lets a hook say what a call fails with.
    [[nodiscard]] bool set_errno() const { return set_errno_; }
    [[nodiscard]] int map(const char* name) const { return map_fd(object_, name); }

private:
    void attach(const std::string& cgroup);
    void learn_netns();

    bool set_errno_ = false;
    bpf_object* object_;  // loaded once a process, and emptied
    std::vector<UniqueFd> links_;
    std::string mount_;
    std::string cgroup_;
    std::string before_;  // where this process was
};

struct Address {
    sockaddr_storage bytes{};
    socklen_t size = sizeof(sockaddr_storage);

    Address() = default;
    // `as_mapped`: an IPv4 address in an IPv6 one.
    explicit Address(const Endpoint& endpoint, bool as_mapped = false);
    [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
    sockaddr* get() { return reinterpret_cast<sockaddr*>(&bytes); }
    [[nodiscard]] Endpoint endpoint() const;
};

// One socket. What fails is errno.
class Socket {
public:
    Socket(int family, int type);
    [[nodiscard]] int fd() const { return fd_.get(); }
    // 0, or the errno.
    [[nodiscard]] int connect(const Address& to) const;
    [[nodiscard]] int disconnect() const;
    [[nodiscard]] int send_to(const std::string& text, const Address& to, int flags = 0) const;
    [[nodiscard]] int send(const std::string& text) const;
    struct Received {
        std::string text;
        Endpoint from;
    };
    // Waits for two seconds at most; what never came is empty.
    [[nodiscard]] Received receive() const;
    [[nodiscard]] Endpoint peer() const;
    [[nodiscard]] Endpoint name() const;

private:
    UniqueFd fd_;
};

// A server's socket: bound to a loopback address and any port, listening if it is TCP's.
Socket serve(const Ip& address, int type);

}  // namespace svclb::test
