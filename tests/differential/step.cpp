// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "step.hpp"

#include <netinet/in.h>

namespace svclb::test {
namespace {

// Of the kinds of packets that follow a conversation's first one.
constexpr std::array<unsigned, 16> kTcpFlags{ack,       ack,       psh | ack, psh | ack, psh | ack, ack,
                                             syn | ack, syn | ack, syn,       syn,       fin | ack, fin | ack,
                                             fin | ack, rst | ack, rst,       syn | psh};

// As above, and with a first one at the same places.
constexpr std::array<SctpChunk, 16> kChunks{
    sctp_cookie_echo, sctp_data, sctp_data, sctp_data,     sctp_data,     sctp_data,         sctp_init_ack,
    sctp_init_ack,    sctp_init, sctp_init, sctp_shutdown, sctp_shutdown, sctp_shutdown_ack, sctp_shutdown_complete,
    sctp_abort,       sctp_init};

}  // namespace

Packet some_packet(std::uint8_t proto, std::uint32_t kind, const Endpoint& from, const Endpoint& to) {
    const std::size_t size = kind / 16 % 64;
    if (proto == IPPROTO_UDP) return udp(from, to, payload_of(size));
    if (proto == IPPROTO_SCTP) return sctp(from, to, kChunks[kind % kChunks.size()], payload_of(size));
    const unsigned flags = kTcpFlags[kind % kTcpFlags.size()];
    Packet packet = tcp(from, to, flags, (flags & psh) != 0 ? payload_of(size) : Bytes{});
    if ((flags & syn) != 0) packet.tcp().options = {2, 4, 5, 0xb4, 4, 2, 1, 1};
    return packet;
}

}  // namespace svclb::test
