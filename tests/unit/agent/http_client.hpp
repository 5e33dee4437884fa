// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Sockets on the loopback, for tests of servers.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <string>

#include "svclb/base/unique_fd.hpp"
#include "svclb/model/address.hpp"

namespace svclb::agent {

struct Bound {
    UniqueFd fd;
    model::AddressPort at;
};

// A port of the loopback, taken as long as the descriptor is open. Never one that the kernel gives to who asks for any,
// which a test beside this one would get as soon as it is free, and each one once in a process.
inline Bound bind_any() {
    constexpr unsigned kFirst = 10000;
    constexpr unsigned kPorts = 20000;
    static unsigned next = static_cast<unsigned>(::getpid()) * 8;
    Bound bound{UniqueFd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}, {*model::parse_address("127.0.0.1"), 0}};
    for (unsigned tries = 0; tries < kPorts; ++tries) {
        bound.at.port = static_cast<std::uint16_t>(kFirst + next++ % kPorts);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(bound.at.port);
        if (::bind(bound.fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return bound;
    }
    FAIL("no port is free");
    return bound;
}

inline model::AddressPort free_port() {
    return bind_any().at;
}

inline UniqueFd connect_to(const model::AddressPort& at) {
    UniqueFd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(at.port);
    REQUIRE(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
    return fd;
}

// All that comes until the server closes.
inline std::string ask(const model::AddressPort& at, const std::string& request) {
    const auto fd = connect_to(at);
    REQUIRE(::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size()));
    std::string answer;
    std::array<char, 4096> piece{};
    for (ssize_t size = 1; size > 0;) {
        size = ::recv(fd.get(), piece.data(), piece.size(), 0);
        if (size > 0) answer.append(piece.data(), static_cast<std::size_t>(size));
    }
    return answer;
}

inline std::string get(const model::AddressPort& at, const std::string& path) {
    return ask(at, fmt::format("GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path));
}

}  // namespace svclb::agent
