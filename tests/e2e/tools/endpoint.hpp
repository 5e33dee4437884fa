// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What the load tools share: reading "ADDRESS:PORT", and sockets that say what failed and leave.
#pragma once

#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <system_error>

namespace tools {

struct Endpoint {
    sockaddr_storage address{};
    socklen_t size = 0;
    [[nodiscard]] const sockaddr* raw() const {
        return reinterpret_cast<const sockaddr*>(&address);  // the socket API's own convention
    }
    [[nodiscard]] int family() const { return address.ss_family; }
};

[[noreturn]] inline void die(const std::string& what) {
    std::cerr << what << '\n';
    std::exit(2);
}

[[noreturn]] inline void die_errno(const std::string& what) {
    die(what + ": " + std::generic_category().message(errno));
}

// "10.96.0.10:80" or "[fd00:10:96::10]:80".
inline Endpoint parse_endpoint(const std::string& text) {
    const auto colon = text.rfind(':');
    if (colon == std::string::npos) die("not ADDRESS:PORT: " + text);
    std::string host = text.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (getaddrinfo(host.c_str(), text.substr(colon + 1).c_str(), &hints, &found) != 0)
        die("not ADDRESS:PORT: " + text);
    Endpoint endpoint;
    std::memcpy(&endpoint.address, found->ai_addr, found->ai_addrlen);
    endpoint.size = found->ai_addrlen;
    freeaddrinfo(found);
    return endpoint;
}

inline std::uint64_t now_us(clockid_t clock = CLOCK_MONOTONIC) {
    timespec ts{};
    clock_gettime(clock, &ts);
    return static_cast<std::uint64_t>(ts.tv_sec) * 1'000'000U + static_cast<std::uint64_t>(ts.tv_nsec) / 1000U;
}

}  // namespace tools
