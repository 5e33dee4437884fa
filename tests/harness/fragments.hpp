// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A datagram in fragments.
#pragma once

#include "world.hpp"

namespace svclb::test {

inline constexpr std::uint32_t kId = 0x4711;

// The first header behind the one of IP.
inline std::uint8_t first_header(const Packet& packet) {
    if (!packet.source.v4() && !packet.extensions.empty()) return packet.extensions.front().type;
    if (std::holds_alternative<Icmp>(packet.transport)) return packet.source.v4() ? 1 : IPPROTO_ICMPV6;
    if (std::holds_alternative<Tcp>(packet.transport)) return IPPROTO_TCP;
    return std::holds_alternative<Udp>(packet.transport) ? IPPROTO_UDP : IPPROTO_SCTP;
}

// What the sender's IP makes of the packet: pieces of `size` bytes, a multiple of eight. IPv6 extension headers are cut
// with what follows them.
inline std::vector<Packet> fragments_of(const Packet& whole, std::size_t size = 1400, std::uint32_t id = kId) {
    const bool v4 = whole.source.v4();
    Packet piece = whole;
    piece.transport = OtherProtocol{first_header(whole)};
    const Bytes frame = whole.frame();
    const auto begin = frame.begin() + 14 + (v4 ? 20 : 40);
    const auto length = static_cast<std::size_t>(frame.end() - begin);
    std::vector<Packet> pieces;
    for (std::size_t at = 0; at < length; at += size) {
        const std::size_t end = std::min(at + size, length);
        piece.payload.assign(begin + static_cast<std::ptrdiff_t>(at), begin + static_cast<std::ptrdiff_t>(end));
        const bool more = end < length;
        if (v4) {
            piece.id = static_cast<std::uint16_t>(id);
            piece.fragment_field = static_cast<std::uint16_t>((more ? 0x2000 : 0) | at / 8);
        } else {
            const auto field = static_cast<std::uint16_t>(at | (more ? 1u : 0u));
            piece.extensions = {{IPPROTO_FRAGMENT,
                                 {static_cast<std::uint8_t>(field >> 8), static_cast<std::uint8_t>(field), 0, 0,
                                  static_cast<std::uint8_t>(id >> 8), static_cast<std::uint8_t>(id)}}};
        }
        pieces.push_back(piece);
    }
    return pieces;
}

inline Packet large(const Endpoint& from, const Endpoint& to) {
    return udp(from, to, payload_of(4000));
}
inline Packet large(const World& world, const Endpoint& from, const Endpoint& to) {
    if (world.proto == IPPROTO_SCTP) return sctp(from, to, sctp_data, payload_of(4000));
    return world.tcp_flow() ? tcp(from, to, psh | ack, payload_of(4000)) : large(from, to);
}

}  // namespace svclb::test
