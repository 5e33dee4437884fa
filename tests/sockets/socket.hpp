// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The Services that tests/e2e/host_sockets.sh has made, in each form in which a program may name them, and a socket
// whose calls return their errno.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cerrno>
#include <string>

#include "endpoint.hpp"
#include "svclb/base/unique_fd.hpp"

namespace host_sockets {

using svclb::UniqueFd;
using tools::Endpoint;
using tools::parse_endpoint;

// One Service with three backends, one with another port of the same pods and session affinity, one without any; in
// each form in which a program may name them.
struct Services {
    std::string web, sticky, empty, unknown_port;
};
inline const std::array kForms = {
    Services{"10.96.0.10:80", "10.96.0.30:80", "10.96.0.20:80", "10.96.0.10:81"},
    Services{"[fd00:10:96::10]:80", "[fd00:10:96::30]:80", "[fd00:10:96::20]:80", "[fd00:10:96::10]:81"},
    Services{"[::ffff:10.96.0.10]:80", "[::ffff:10.96.0.30]:80", "[::ffff:10.96.0.20]:80", "[::ffff:10.96.0.10]:81"},
};

inline Services any_form() {
    return kForms.at(static_cast<std::size_t>(GENERATE(0, 1, 2)));
}

inline constexpr int kPatienceMs = 20000;

inline std::string text_of(const sockaddr_storage& address, socklen_t size) {
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> port{};
    if (size == 0 || getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host.data(), host.size(),
                                 port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return "nobody";
    return address.ss_family == AF_INET6 ? "[" + std::string(host.data()) + "]:" + port.data()
                                         : std::string(host.data()) + ":" + port.data();
}

struct Received {
    std::string pod;   // first word
    std::string text;  // the rest
    std::string from;
};

class Socket {
public:
    Socket(int family, int type) : fd_(::socket(family, type | SOCK_CLOEXEC, 0)) {
        REQUIRE(fd_);
        const int off = 0;
        if (family == AF_INET6) setsockopt(fd(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    }
    Socket(const std::string& to, int type) : Socket(parse_endpoint(to).family(), type) {}

    [[nodiscard]] int fd() const { return fd_.get(); }

    // 0 or the errno.
    [[nodiscard]] int connect(const std::string& to) const {
        const auto at = parse_endpoint(to);
        return ::connect(fd(), at.raw(), at.size) == 0 ? 0 : errno;
    }
    [[nodiscard]] int disconnect() const {
        sockaddr none{};
        none.sa_family = AF_UNSPEC;
        return ::connect(fd(), &none, sizeof(none)) == 0 ? 0 : errno;
    }
    [[nodiscard]] int send(const std::string& text) const {
        return ::send(fd(), text.data(), text.size(), MSG_NOSIGNAL) < 0 ? errno : 0;
    }
    [[nodiscard]] int send_to(const std::string& to, const std::string& text, int flags = 0) const {
        const auto at = parse_endpoint(to);
        return ::sendto(fd(), text.data(), text.size(), flags | MSG_NOSIGNAL, at.raw(), at.size) < 0 ? errno : 0;
    }
    [[nodiscard]] bool ready_for(short what) const {
        pollfd polled{fd(), what, 0};
        return ::poll(&polled, 1, kPatienceMs) == 1;
    }
    [[nodiscard]] Received receive() const {
        if (!ready_for(POLLIN)) return {"nobody", "", "nobody"};
        std::array<char, 2048> buffer{};
        sockaddr_storage from{};
        socklen_t size = sizeof(from);
        const auto got = ::recvfrom(fd(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
        if (got < 0) return {"error", std::to_string(errno), "nobody"};
        return received({buffer.data(), static_cast<std::size_t>(got)}, from, size);
    }
    [[nodiscard]] std::string peer() const {
        sockaddr_storage at{};
        socklen_t size = sizeof(at);
        return ::getpeername(fd(), reinterpret_cast<sockaddr*>(&at), &size) == 0 ? text_of(at, size) : "nobody";
    }
    [[nodiscard]] std::uint16_t port() const {
        sockaddr_storage at{};
        socklen_t size = sizeof(at);
        REQUIRE(::getsockname(fd(), reinterpret_cast<sockaddr*>(&at), &size) == 0);
        return ntohs(at.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(at).sin6_port
                                              : reinterpret_cast<sockaddr_in&>(at).sin_port);
    }

    static Received received(std::string text, const sockaddr_storage& from, socklen_t size) {
        while (!text.empty() && text.back() == '\n') text.pop_back();
        const auto space = text.find(' ');
        return {text.substr(0, space), space == std::string::npos ? "" : text.substr(space + 1), text_of(from, size)};
    }

private:
    UniqueFd fd_;
};

inline bool is_backend(const std::string& pod) {
    return pod == "b1" || pod == "b2" || pod == "b3";
}

}  // namespace host_sockets
