// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What every life is made of, and packets in mid-conversation.
#pragma once

#include <array>
#include <cstdint>

#include "packet.hpp"

namespace svclb::test {

// Numbers to choose by: what happens first, then with what.
using Step = std::array<std::uint32_t, 5>;

// By a random number, of a conversation's kinds of packets: a first one at 8, 9, 14 or 15.
Packet some_packet(std::uint8_t proto, std::uint32_t kind, const Endpoint& from, const Endpoint& to);

}  // namespace svclb::test
