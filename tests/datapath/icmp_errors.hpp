// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// ICMP errors and what they quote.
#pragma once

#include <algorithm>

#include "world.hpp"

namespace svclb::test {

inline constexpr std::size_t kEthernet = 14;

// The IP packet without its Ethernet header, cut to its headers and the first `transport` bytes behind them.
inline Bytes quote_of(const Packet& packet, std::size_t transport) {
    Packet shortest = packet;
    shortest.payload.clear();
    if (std::holds_alternative<Tcp>(shortest.transport)) shortest.tcp().options.clear();
    const std::size_t headers = shortest.frame().size() - (std::holds_alternative<Tcp>(packet.transport) ? 20 : 8);
    const Bytes frame = packet.frame();
    const std::size_t end = std::min(frame.size(), headers + transport);
    return {frame.begin() + kEthernet, frame.begin() + static_cast<std::ptrdiff_t>(end)};
}

inline Packet error_about(const Ip& from, const Packet& quoted, Icmp message, std::size_t transport = 548) {
    return icmp(from, quoted.source, message, quote_of(quoted, transport));
}

}  // namespace svclb::test
