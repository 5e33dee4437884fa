// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "flow_age.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace svclb::datapath {
namespace {

// The two key types differ in how an address is stored, and in nothing else.
void set_address(__be32& to, const __be32 (&value)[SVCLB_ADDR_WORDS]) {
    to = value[3];
}
void set_address(__be32 (&to)[SVCLB_ADDR_WORDS], const __be32 (&value)[SVCLB_ADDR_WORDS]) {
    std::memcpy(&to, &value, sizeof(to));
}
void set_address(__be32& to, const __be32& from) {
    to = from;
}

template <class Key>
std::optional<Key> partner_of(const Key& key, const svclb_flow& flow) {
    Key partner{};
    partner.proto = key.proto;
    switch (flow.kind) {
        case SVCLB_FLOW_FORWARD:
            // client:cport -> frontend becomes backend -> client, as the backend answers.
            set_address(partner.saddr, flow.addr);
            partner.sport = flow.port;
            set_address(partner.daddr, key.saddr);
            partner.dport = flow.client_port;
            partner.direction = key.direction | SVCLB_DIRECTION_TO;
            return partner;
        case SVCLB_FLOW_REPLY:
            set_address(partner.saddr, key.daddr);
            partner.sport = flow.client_port;
            set_address(partner.daddr, flow.addr);
            partner.dport = flow.port;
            partner.direction = static_cast<__u8>(key.direction & ~SVCLB_DIRECTION_TO);
            return partner;
        case SVCLB_FLOW_HAIRPIN:
            // The backend sees the frontend's address as its client, and answers that.
            set_address(partner.saddr, flow.addr);
            partner.sport = flow.port;
            set_address(partner.daddr, key.daddr);
            partner.dport = flow.client_port;
            partner.direction = SVCLB_FROM_POD;
            return partner;
        case SVCLB_FLOW_HAIRPIN_REPLY:
            // Client and backend are one pod, so the source of the reply is the client's address.
            set_address(partner.saddr, key.saddr);
            partner.sport = flow.client_port;
            set_address(partner.daddr, flow.addr);
            partner.dport = flow.port;
            partner.direction = SVCLB_FROM_POD;
            return partner;
        case SVCLB_FLOW_SOURCE:
            // The backend answers the node.
            set_address(partner.saddr, key.daddr);
            partner.sport = key.dport;
            set_address(partner.daddr, flow.addr);
            partner.dport = flow.port;
            partner.direction = static_cast<__u8>(key.direction & ~SVCLB_DIRECTION_TO);
            return partner;
        case SVCLB_FLOW_SOURCE_REPLY:
            set_address(partner.saddr, flow.addr);
            partner.sport = flow.port;
            set_address(partner.daddr, key.saddr);
            partner.dport = key.sport;
            partner.direction = key.direction | SVCLB_DIRECTION_TO;
            return partner;
        default:
            return std::nullopt;
    }
}

// A packet that arrives while we look may carry a later second than ours.
std::uint64_t idle_s(std::uint32_t seen_s, std::uint64_t now_s) {
    return seen_s >= now_s ? 0 : now_s - seen_s;
}

constexpr std::uint32_t kClosedByClientS = 900;

std::uint32_t closed_s(const FlowTimeouts& timeouts, bool crowded) {
    constexpr std::uint32_t kCrowded = 2;  // a lost last acknowledgment is asked for again sooner
    return crowded ? std::min(timeouts.tcp_closing_s, kCrowded) : timeouts.tcp_closing_s;
}

}  // namespace

std::optional<svclb_flow_key4> partner_key(const svclb_flow_key4& key, const svclb_flow& flow) {
    return partner_of(key, flow);
}

std::optional<svclb_flow_key6> partner_key(const svclb_flow_key6& key, const svclb_flow& flow) {
    return partner_of(key, flow);
}

bool is_dead(std::uint8_t proto, const svclb_flow& flow, const svclb_flow* partner, std::uint64_t now_s,
             const FlowTimeouts& timeouts, bool crowded) {
    svclb_flow both = flow;
    if (partner != nullptr) {
        both.seen_s = std::max(flow.seen_s, partner->seen_s);
        both.answered |= partner->answered;
        both.client_fin |= partner->client_fin;
        both.backend_fin |= partner->backend_fin;
        both.reset |= partner->reset;
    }
    std::uint32_t timeout_s = timeouts.tcp_established_s;
    if (proto == IPPROTO_UDP) {
        timeout_s = both.answered != 0 ? timeouts.udp_answered_s : timeouts.udp_s;
    } else if (both.reset != 0 || (both.client_fin != 0 && both.backend_fin != 0)) {
        // A RST may be forged; FINs of both ends are not.
        timeout_s = both.reset != 0 ? timeouts.tcp_closing_s : closed_s(timeouts, crowded);
    } else if (flow.kind == SVCLB_FLOW_ENCAPSULATED && both.client_fin != 0) {
        // The backend's FIN is not seen here, and until then its answer may go on for long.
        timeout_s = crowded ? timeouts.tcp_closing_s : std::max(timeouts.tcp_closing_s, kClosedByClientS);
    } else if (both.answered == 0) {
        timeout_s = timeouts.tcp_half_open_s;
    }
    return idle_s(both.seen_s, now_s) > timeout_s;
}

bool is_fresh(std::uint8_t proto, const svclb_flow& flow, std::uint64_t now_s, const FlowTimeouts& timeouts,
              bool crowded) {
    const std::uint32_t shortest_s = proto == IPPROTO_UDP
                                         ? std::min(timeouts.udp_s, timeouts.udp_answered_s)
                                         : std::min({timeouts.tcp_half_open_s, timeouts.tcp_closing_s,
                                                     closed_s(timeouts, crowded), timeouts.tcp_established_s});
    return idle_s(flow.seen_s, now_s) <= shortest_s;
}

}  // namespace svclb::datapath
