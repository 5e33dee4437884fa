// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "packet.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <stdexcept>

#include "frame_layout.hpp"

namespace svclb::test {
namespace {

constexpr std::array<std::uint8_t, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr std::uint16_t kVlan = 0x8100;
constexpr std::uint16_t kOuterVlan = 0x88a8;

void put8(Bytes& out, unsigned value) {
    out.push_back(static_cast<std::uint8_t>(value & 0xff));
}
void put16(Bytes& out, unsigned value) {
    put8(out, value >> 8);
    put8(out, value);
}
void put32(Bytes& out, std::uint32_t value) {
    put16(out, value >> 16);
    put16(out, value & 0xffff);
}
void put(Bytes& out, const Bytes& bytes) {
    out.insert(out.end(), bytes.begin(), bytes.end());
}
void set16(Bytes& out, std::size_t at, unsigned value) {
    out[at] = static_cast<std::uint8_t>(value >> 8);
    out[at + 1] = static_cast<std::uint8_t>(value & 0xff);
}

void put_address(Bytes& out, const Ip& address) {
    out.insert(out.end(), address.bytes.begin() + (address.v4() ? 12 : 0), address.bytes.end());
}

std::uint8_t protocol_of(const Packet& packet) {
    if (std::holds_alternative<Tcp>(packet.transport)) return IPPROTO_TCP;
    if (std::holds_alternative<Udp>(packet.transport)) return IPPROTO_UDP;
    if (std::holds_alternative<Sctp>(packet.transport)) return IPPROTO_SCTP;
    if (std::holds_alternative<Icmp>(packet.transport)) {
        return static_cast<std::uint8_t>(packet.source.v4() ? +IPPROTO_ICMP : +IPPROTO_ICMPV6);
    }
    return std::get<OtherProtocol>(packet.transport).proto;
}

// Transport header and payload with the checksum still zero; the offset of the checksum, 0 = there is none to fill in.
std::size_t put_transport(Bytes& out, const Packet& packet) {
    const std::size_t begin = out.size();
    std::size_t checksum = 0;
    if (const auto* tcp = std::get_if<Tcp>(&packet.transport)) {
        put16(out, tcp->sport);
        put16(out, tcp->dport);
        put32(out, tcp->seq);
        put32(out, tcp->ack);
        put8(out, static_cast<unsigned>((20 + tcp->options.size()) / 4 << 4));
        put8(out, tcp->flags);
        put16(out, tcp->window);
        put32(out, 0);
        put(out, tcp->options);
        checksum = begin + 16;
    } else if (const auto* udp = std::get_if<Udp>(&packet.transport)) {
        put16(out, udp->sport);
        put16(out, udp->dport);
        put16(out, static_cast<unsigned>(8 + packet.payload.size()));
        put16(out, 0);
        checksum = udp->without_checksum ? 0 : begin + 6;
    } else if (const auto* sctp = std::get_if<Sctp>(&packet.transport)) {
        put16(out, sctp->sport);
        put16(out, sctp->dport);
        put32(out, 0x0a0b0c0d);
        put32(out, 0);
        put8(out, sctp->chunk);
        put8(out, 0);
        put16(out, static_cast<unsigned>(4 + packet.payload.size()));
        put(out, packet.payload);
        if (!sctp->without_checksum) {
            const std::uint32_t crc = crc32c(out, begin, out.size());
            for (std::size_t i = 0; i < 4; i++) out[begin + 8 + i] = static_cast<std::uint8_t>(crc >> 8 * i);
        }
        return 0;
    } else if (const auto* icmp = std::get_if<Icmp>(&packet.transport)) {
        put8(out, icmp->type);
        put8(out, icmp->code);
        put16(out, 0);
        put32(out, icmp->rest);
        checksum = begin + 2;
    }
    put(out, packet.payload);
    return checksum;
}

void put_ethernet(Bytes& out, const Packet& packet) {
    out.insert(out.end(), packet.to_mac.begin(), packet.to_mac.end());
    out.insert(out.end(), packet.from_mac.begin(), packet.from_mac.end());
    for (std::size_t i = 0; i < packet.vlans.size(); i++) {
        put16(out, i + 1 < packet.vlans.size() ? kOuterVlan : kVlan);
        put16(out, packet.vlans[i]);
    }
    put16(out, packet.source.v4() ? 0x0800 : 0x86dd);
}

void put_ipv4(Bytes& out, const Packet& packet, std::size_t payload) {
    const std::size_t begin = out.size();
    const std::size_t header = 20 + packet.ip_options.size();
    put8(out, static_cast<unsigned>(0x40 | header / 4));
    put8(out, packet.tos);
    put16(out, static_cast<unsigned>(header + payload));
    put16(out, packet.id);
    put16(out, packet.fragment_field);
    put8(out, packet.ttl);
    put8(out, protocol_of(packet));
    put16(out, 0);
    put_address(out, packet.source);
    put_address(out, packet.destination);
    put(out, packet.ip_options);
    set16(out, begin + 10, internet_checksum(out, begin, out.size(), 0));
}

void put_ipv6(Bytes& out, const Packet& packet, std::size_t payload) {
    Bytes extensions;
    for (std::size_t i = 0; i < packet.extensions.size(); i++) {
        put8(extensions, i + 1 < packet.extensions.size() ? packet.extensions[i + 1].type : protocol_of(packet));
        put8(extensions, static_cast<unsigned>((2 + packet.extensions[i].body.size()) / 8 - 1));
        put(extensions, packet.extensions[i].body);
    }
    put32(out, std::uint32_t{6} << 28 | std::uint32_t{packet.tos} << 20);
    put16(out, static_cast<unsigned>(extensions.size() + payload));
    put8(out, packet.extensions.empty() ? protocol_of(packet) : packet.extensions.front().type);
    put8(out, packet.ttl);
    put_address(out, packet.source);
    put_address(out, packet.destination);
    put(out, extensions);
}

}  // namespace

bool Ip::v4() const {
    return std::equal(kMapped.begin(), kMapped.end(), bytes.begin());
}

Ip ip(const std::string& text) {
    Ip address;
    if (inet_pton(AF_INET6, text.c_str(), address.bytes.data()) == 1) return address;
    std::copy(kMapped.begin(), kMapped.end(), address.bytes.begin());
    if (inet_pton(AF_INET, text.c_str(), address.bytes.data() + kMapped.size()) == 1) return address;
    throw std::invalid_argument("no IP address: " + text);
}

Ip operator+(Ip address, std::uint32_t offset) {
    std::uint64_t carry = offset;
    for (std::size_t i = address.bytes.size(); i-- > 0 && carry != 0;) {
        carry += address.bytes[i];
        address.bytes[i] = static_cast<std::uint8_t>(carry & 0xff);
        carry >>= 8;
    }
    return address;
}

std::string to_string(const Ip& address) {
    std::array<char, INET6_ADDRSTRLEN> text{};
    const bool v4 = address.v4();
    inet_ntop(v4 ? AF_INET : AF_INET6, address.bytes.data() + (v4 ? kMapped.size() : 0), text.data(), text.size());
    return text.data();
}

std::string to_string(const Endpoint& endpoint) {
    const std::string text = to_string(endpoint.addr);
    return (endpoint.addr.v4() ? text : "[" + text + "]") + ":" + std::to_string(endpoint.port);
}

std::uint16_t Packet::source_port() const {
    if (const auto* tcp = std::get_if<Tcp>(&transport)) return tcp->sport;
    if (const auto* sctp = std::get_if<Sctp>(&transport)) return sctp->sport;
    return std::get<Udp>(transport).sport;
}

std::uint16_t Packet::destination_port() const {
    if (const auto* tcp = std::get_if<Tcp>(&transport)) return tcp->dport;
    if (const auto* sctp = std::get_if<Sctp>(&transport)) return sctp->dport;
    return std::get<Udp>(transport).dport;
}

Bytes Packet::frame() const {
    Bytes body;
    const std::size_t checksum = put_transport(body, *this);

    Bytes out;
    put_ethernet(out, *this);
    if (source.v4()) {
        put_ipv4(out, *this, body.size());
    } else {
        put_ipv6(out, *this, body.size());
    }
    const std::size_t transport_at = out.size();
    put(out, body);
    if (checksum != 0) {
        const bool has_pseudo_header = !(source.v4() && std::holds_alternative<Icmp>(transport));
        const std::uint32_t sum =
            has_pseudo_header ? pseudo_header_sum(source, destination, protocol_of(*this), body.size()) : 0;
        unsigned value = internet_checksum(out, transport_at, out.size(), sum);
        if (value == 0 && std::holds_alternative<Udp>(transport)) value = 0xffff;
        set16(out, transport_at + checksum, value);
    }
    out.resize(out.size() + trailer);
    return out;
}

Packet tcp(const Endpoint& from, const Endpoint& to, unsigned flags, Bytes payload) {
    Packet packet{.source = from.addr, .destination = to.addr, .payload = std::move(payload)};
    packet.transport = Tcp{.sport = from.port,
                           .dport = to.port,
                           .ack = (flags & ack) != 0 ? 0x0a0b0c0du : 0,
                           .flags = static_cast<std::uint8_t>(flags)};
    return packet;
}

Packet udp(const Endpoint& from, const Endpoint& to, Bytes payload) {
    Packet packet{.source = from.addr, .destination = to.addr, .payload = std::move(payload)};
    packet.transport = Udp{.sport = from.port, .dport = to.port};
    return packet;
}

Packet sctp(const Endpoint& from, const Endpoint& to, SctpChunk chunk, Bytes payload) {
    Packet packet{.source = from.addr, .destination = to.addr, .payload = std::move(payload)};
    packet.transport = Sctp{.sport = from.port, .dport = to.port, .chunk = chunk};
    return packet;
}

Packet icmp(const Ip& from, const Ip& to, Icmp message, Bytes payload) {
    Packet packet{.source = from, .destination = to, .payload = std::move(payload)};
    packet.transport = message;
    return packet;
}

Bytes payload_of(std::size_t size) {
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; i++) bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 256 + 1);
    return bytes;
}

Packet with_source(Packet packet, const Endpoint& source) {
    packet.source = source.addr;
    if (auto* tcp = std::get_if<Tcp>(&packet.transport)) tcp->sport = source.port;
    if (auto* udp = std::get_if<Udp>(&packet.transport)) udp->sport = source.port;
    if (auto* sctp = std::get_if<Sctp>(&packet.transport)) sctp->sport = source.port;
    return packet;
}

Packet with_destination(Packet packet, const Endpoint& destination) {
    packet.destination = destination.addr;
    if (auto* tcp = std::get_if<Tcp>(&packet.transport)) tcp->dport = destination.port;
    if (auto* udp = std::get_if<Udp>(&packet.transport)) udp->dport = destination.port;
    if (auto* sctp = std::get_if<Sctp>(&packet.transport)) sctp->dport = destination.port;
    return packet;
}

}  // namespace svclb::test
