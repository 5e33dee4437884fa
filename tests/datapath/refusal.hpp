// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What a refused client is answered.
#pragma once

#include <algorithm>

#include "world.hpp"

namespace svclb::test {

inline constexpr std::size_t kQuoteMax = 512;

// The kernel's test-run would check the sum of a packet that bpf_skb_change_tail() cut, which the kernel itself gives
// up on (CHECKSUM_NONE).
inline void expect_cut_packets(Datapath& datapath) {
    datapath.with_complete_checksums(false);
}

// What an answer to `packet` has in its Ethernet and IP headers.
inline Packet turned_about(const Packet& packet) {
    Packet answer{.to_mac = packet.from_mac, .from_mac = packet.to_mac, .vlans = packet.vlans};
    answer.source = packet.destination;
    answer.destination = packet.source;
    answer.ttl = 64;
    answer.id = 0;
    return answer;
}

inline Packet reset_for(Packet packet, std::uint32_t acknowledged) {
    Packet answer = turned_about(packet);
    answer.transport = Tcp{.sport = packet.tcp().dport,
                           .dport = packet.tcp().sport,
                           .seq = 0,
                           .ack = acknowledged,
                           .flags = rst | ack,
                           .window = 0};
    return answer;
}

inline Packet unreachable_for(const Packet& packet) {
    Packet answer = turned_about(packet);
    const bool v4 = packet.source.v4();
    answer.transport =
        Icmp{.type = static_cast<std::uint8_t>(v4 ? 3 : 1), .code = static_cast<std::uint8_t>(v4 ? 3 : 4)};
    Packet quoted = packet;
    quoted.trailer = 0;
    const Bytes frame = quoted.frame();
    answer.payload.assign(frame.begin() + 14,
                          frame.begin() + static_cast<std::ptrdiff_t>(std::min(frame.size(), 14 + kQuoteMax)));
    return answer;
}

inline Packet refusal_of(const World& world, const Packet& packet) {
    if (!world.tcp_flow()) return unreachable_for(packet);
    return reset_for(packet, std::get<Tcp>(packet.transport).seq + 1);
}

}  // namespace svclb::test
