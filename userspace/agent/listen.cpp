// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "listen.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace svclb::agent {
namespace {

constexpr int kBacklog = 64;

bool is_wildcard(const model::Address& address) {
    const auto begin = address.family() == model::Family::ipv4 ? address.bytes.begin() + 12 : address.bytes.begin();
    return std::all_of(begin, address.bytes.end(), [](auto byte) { return byte == 0; });
}

Status listen_on(const UniqueFd& fd, const sockaddr* at, socklen_t size) {
    const int on = 1;
    if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        ::bind(fd.get(), at, size) != 0 || ::listen(fd.get(), kBacklog) != 0)
        return fail_errno(errno, "listen");
    return {};
}

}  // namespace

Result<UniqueFd> listening_socket(const model::AddressPort& at) {
    constexpr int kType = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
    const bool both = is_wildcard(at.address);
    Status listening;
    if (both || at.address.family() == model::Family::ipv6) {
        sockaddr_in6 address{};
        address.sin6_family = AF_INET6;
        address.sin6_port = htons(at.port);
        if (!both) std::memcpy(&address.sin6_addr, at.address.bytes.data(), sizeof(address.sin6_addr));
        UniqueFd fd{::socket(AF_INET6, kType, 0)};
        const int only = both ? 0 : 1;
        if (fd) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
        listening = listen_on(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
        if (listening) return fd;
        // A kernel or a namespace may be without IPv6.
        const bool lacks_v6 = listening.error().code() == std::errc::address_family_not_supported ||
                              listening.error().code() == std::errc::address_not_available;
        if (!lacks_v6 || at.address.family() == model::Family::ipv6) return fail(listening.error());
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(at.port);
    std::memcpy(&address.sin_addr, at.address.bytes.data() + 12, sizeof(address.sin_addr));
    UniqueFd fd{::socket(AF_INET, kType, 0)};
    listening = listen_on(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    if (!listening) return fail(listening.error());
    return fd;
}

}  // namespace svclb::agent
