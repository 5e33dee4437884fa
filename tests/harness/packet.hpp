// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Packets as values: a test says what is in a frame by name, changes what it expects to change, and compares whole
// frames. Lengths and checksums are computed here, from the finished bytes, by code that shares nothing with the
// programs' incremental arithmetic.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace svclb::test {

using Bytes = std::vector<std::uint8_t>;
using Mac = std::array<std::uint8_t, 6>;

// 16 bytes as in abi.h: IPv4 is IPv4-mapped.
struct Ip {
    std::array<std::uint8_t, 16> bytes{};

    [[nodiscard]] bool v4() const;
    auto operator<=>(const Ip&) const = default;
};
// "10.0.0.1" or "fd00::1"; throws std::invalid_argument on any other text.
Ip ip(const std::string& text);
// The address `offset` further on.
Ip operator+(Ip address, std::uint32_t offset);
std::string to_string(const Ip& address);

struct Endpoint {
    Ip addr{};
    std::uint16_t port = 0;
    auto operator<=>(const Endpoint&) const = default;
};
std::string to_string(const Endpoint& endpoint);

enum TcpFlag : unsigned { fin = 0x01, syn = 0x02, rst = 0x04, psh = 0x08, ack = 0x10 };

struct Tcp {
    std::uint16_t sport = 0;
    std::uint16_t dport = 0;
    std::uint32_t seq = 0x01020304;
    std::uint32_t ack = 0;
    std::uint8_t flags = 0;
    std::uint16_t window = 64240;
    Bytes options{};  // a multiple of four bytes
};

struct Udp {
    std::uint16_t sport = 0;
    std::uint16_t dport = 0;
    bool without_checksum = false;
};

enum SctpChunk : std::uint8_t {
    sctp_data = 0,
    sctp_init = 1,
    sctp_init_ack = 2,
    sctp_abort = 6,
    sctp_shutdown = 7,
    sctp_shutdown_ack = 8,
    sctp_cookie_echo = 10,
    sctp_shutdown_complete = 14
};

struct Sctp {  // the payload is the first chunk's
    std::uint16_t sport = 0;
    std::uint16_t dport = 0;
    std::uint8_t chunk = sctp_data;
    bool without_checksum = false;  // a device is to compute it
};

struct Icmp {  // ICMP in IPv4, ICMPv6 in IPv6
    std::uint8_t type = 0;
    std::uint8_t code = 0;
    std::uint32_t rest = 0;
};

struct OtherProtocol {  // the payload follows the IP header at once
    std::uint8_t proto = 0;
};

struct Extension {  // of IPv6
    std::uint8_t type = 0;
    Bytes body{};  // what follows the first two bytes; 6 + 8n of them
};

struct Packet {
    Mac to_mac{};  // of the loopback device, by which the kernel's test-run has packets come in
    Mac from_mac{0x02, 0, 0, 0, 0, 0x02};
    std::vector<std::uint16_t> vlans{};  // outermost first
    Ip source{};
    Ip destination{};
    std::uint8_t tos = 0;
    std::uint8_t ttl = 63;
    std::uint16_t id = 0x4711;              // IPv4
    std::uint16_t fragment_field = 0x4000;  // IPv4: flags and offset; "don't fragment"
    Bytes ip_options{};                     // IPv4, a multiple of four bytes
    std::vector<Extension> extensions{};    // IPv6
    std::variant<Tcp, Udp, Icmp, OtherProtocol, Sctp> transport{};
    Bytes payload{};
    std::size_t trailer = 0;  // bytes of Ethernet padding behind the IP packet

    [[nodiscard]] Bytes frame() const;
    [[nodiscard]] Tcp& tcp() { return std::get<Tcp>(transport); }
    [[nodiscard]] std::uint16_t source_port() const;
    [[nodiscard]] std::uint16_t destination_port() const;
    [[nodiscard]] Endpoint source_endpoint() const { return {source, source_port()}; }
    [[nodiscard]] Endpoint destination_endpoint() const { return {destination, destination_port()}; }
};

Packet tcp(const Endpoint& from, const Endpoint& to, unsigned flags, Bytes payload = {});
Packet udp(const Endpoint& from, const Endpoint& to, Bytes payload);
Packet sctp(const Endpoint& from, const Endpoint& to, SctpChunk chunk, Bytes payload);
Packet icmp(const Ip& from, const Ip& to, Icmp message, Bytes payload);
// `size` bytes that are not all alike.
Bytes payload_of(std::size_t size);

// The same packet with another end: what translation is expected to make of it.
Packet with_source(Packet packet, const Endpoint& source);
Packet with_destination(Packet packet, const Endpoint& destination);

// What arrived, read back from the frame. Throws std::invalid_argument if there is no such header.
Endpoint source_of(const Bytes& frame);
Endpoint destination_of(const Bytes& frame);

// Empty if the frames are equal, else a line for each field that differs, by name, with both values.
std::string difference(const Bytes& expected, const Bytes& got);
// Empty if all checksums of the frame are right; an absent one of UDP in IPv4 is right.
std::string wrong_checksums(const Bytes& frame);

}  // namespace svclb::test
