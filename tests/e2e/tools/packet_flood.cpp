// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// packet_flood tcp|udp FROM TO-ADDRESS:PORT COUNT: sends COUNT SYNs or datagrams through a raw socket, each from
// another source port and, past 60,000 of them, another source address: FROM and the ones that follow it. Sends no more
// than COUNT, and only into the network namespace it runs in.
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <unistd.h>

#include <array>
#include <iostream>
#include <span>
#include <string>
#include <vector>

#include "endpoint.hpp"

namespace {

constexpr std::uint32_t kPorts = 60'000;
constexpr std::uint16_t kFirstPort = 2000;

struct Address {
    std::array<std::uint8_t, 16> bytes{};
    std::size_t size = 4;
    [[nodiscard]] std::span<const std::uint8_t> used() const { return std::span(bytes).first(size); }
};

struct Target {
    Address address;
    std::uint16_t port = 0;
};

Target target_of(const tools::Endpoint& endpoint) {
    Target target;
    if (endpoint.family() == AF_INET6) {
        sockaddr_in6 v6{};
        std::memcpy(&v6, &endpoint.address, sizeof v6);
        target.address.size = 16;
        std::memcpy(target.address.bytes.data(), &v6.sin6_addr, 16);
        target.port = ntohs(v6.sin6_port);
    } else {
        sockaddr_in v4{};
        std::memcpy(&v4, &endpoint.address, sizeof v4);
        std::memcpy(target.address.bytes.data(), &v4.sin_addr, 4);
        target.port = ntohs(v4.sin_port);
    }
    return target;
}

Address plus(Address address, std::uint32_t n) {
    for (std::size_t i = address.size; n != 0 && i-- > 0; n >>= 8U) {
        const std::uint32_t sum = address.bytes.at(i) + (n & 0xffU);
        address.bytes.at(i) = static_cast<std::uint8_t>(sum);
        n += sum > 0xff ? 0x100U : 0U;
    }
    return address;
}

void add_to_sum(std::uint32_t& sum, std::span<const std::uint8_t> bytes) {
    for (std::size_t i = 0; i + 1 < bytes.size(); i += 2)
        sum += static_cast<std::uint32_t>(bytes[i] << 8U | bytes[i + 1]);
}

std::vector<std::uint8_t> segment(int protocol, const Address& from, std::uint16_t from_port, const Target& to) {
    std::vector<std::uint8_t> bytes(protocol == IPPROTO_TCP ? sizeof(tcphdr) : sizeof(udphdr) + 4);
    std::size_t checksum_at = 0;
    if (protocol == IPPROTO_TCP) {
        tcphdr tcp{};
        tcp.source = htons(from_port);
        tcp.dest = htons(to.port);
        tcp.seq = htonl(from_port * 65537U);
        tcp.doff = sizeof tcp / 4;
        tcp.syn = 1;
        tcp.window = htons(64000);
        std::memcpy(bytes.data(), &tcp, sizeof tcp);
        checksum_at = offsetof(tcphdr, check);
    } else {
        udphdr udp{};
        udp.source = htons(from_port);
        udp.dest = htons(to.port);
        udp.len = htons(static_cast<std::uint16_t>(bytes.size()));
        std::memcpy(bytes.data(), &udp, sizeof udp);
        checksum_at = offsetof(udphdr, check);
    }
    auto sum = static_cast<std::uint32_t>(protocol) + static_cast<std::uint32_t>(bytes.size());
    add_to_sum(sum, from.used());
    add_to_sum(sum, to.address.used());
    add_to_sum(sum, bytes);
    while (sum > 0xffffU) sum = (sum & 0xffffU) + (sum >> 16U);
    const auto checksum = static_cast<std::uint16_t>(~sum);
    bytes.at(checksum_at) = static_cast<std::uint8_t>(checksum >> 8U);
    bytes.at(checksum_at + 1) = static_cast<std::uint8_t>(checksum);
    return bytes;
}

std::vector<std::uint8_t> packet(int protocol, const Address& from, std::uint16_t from_port, const Target& to) {
    const auto payload = segment(protocol, from, from_port, to);
    std::vector<std::uint8_t> bytes;
    if (from.size == 4) {
        iphdr ip{};
        ip.version = 4;
        ip.ihl = 5;
        ip.ttl = 64;
        ip.protocol = static_cast<std::uint8_t>(protocol);  // the kernel fills in length, id and checksum
        std::memcpy(&ip.saddr, from.bytes.data(), 4);
        std::memcpy(&ip.daddr, to.address.bytes.data(), 4);
        bytes.resize(sizeof ip);
        std::memcpy(bytes.data(), &ip, sizeof ip);
    } else {
        ip6_hdr ip{};
        ip.ip6_flow = htonl(6U << 28U);
        ip.ip6_plen = htons(static_cast<std::uint16_t>(payload.size()));
        ip.ip6_nxt = static_cast<std::uint8_t>(protocol);
        ip.ip6_hlim = 64;
        std::memcpy(&ip.ip6_src, from.bytes.data(), 16);
        std::memcpy(&ip.ip6_dst, to.address.bytes.data(), 16);
        bytes.resize(sizeof ip);
        std::memcpy(bytes.data(), &ip, sizeof ip);
    }
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) tools::die("usage: packet_flood tcp|udp FROM TO-ADDRESS:PORT COUNT");
    const int protocol = std::string(argv[1]) == "tcp" ? IPPROTO_TCP : IPPROTO_UDP;
    const std::string from_text = argv[2];
    const auto from = target_of(
        tools::parse_endpoint(from_text.find(':') == std::string::npos ? from_text + ":0" : "[" + from_text + "]:0"));
    auto endpoint = tools::parse_endpoint(argv[3]);
    const auto to = target_of(endpoint);
    const auto count = static_cast<std::uint32_t>(std::stoul(argv[4]));
    if (from.address.size != to.address.size) tools::die("FROM and TO are of different families");

    const int fd = socket(endpoint.family(), SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
    if (fd < 0) tools::die_errno("raw socket");
    if (endpoint.family() == AF_INET6) {  // a raw socket takes the port for a protocol
        sockaddr_in6 v6{};
        std::memcpy(&v6, &endpoint.address, sizeof v6);
        v6.sin6_port = 0;
        std::memcpy(&endpoint.address, &v6, sizeof v6);
    }
    std::uint32_t sent = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
        const auto bytes =
            packet(protocol, plus(from.address, i / kPorts), static_cast<std::uint16_t>(kFirstPort + i % kPorts), to);
        while (sendto(fd, bytes.data(), bytes.size(), 0, endpoint.raw(), endpoint.size) < 0) {
            if (errno != ENOBUFS && errno != EAGAIN && errno != EPERM) tools::die_errno("sendto");
            usleep(100);
        }
        ++sent;
    }
    close(fd);
    std::cout << "sent " << sent << '\n';
    return 0;
}
