// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// When is a flow dead, and which entry is its other direction? Pure: the collector asks, and does the rest.
#pragma once

#include <cstdint>
#include <optional>

#include "svclb/abi.h"
#include "svclb/datapath/datapath.hpp"

namespace svclb::datapath {

// The key of the other direction; nothing for a direct conversation, which has one entry, and for a kind that is
// unknown.
std::optional<svclb_flow_key4> partner_key(const svclb_flow_key4& key, const svclb_flow& flow);
std::optional<svclb_flow_key6> partner_key(const svclb_flow_key6& key, const svclb_flow& flow);

// A flow is dead when neither direction has been seen for the timeout of its state. `partner` may be null: the other
// entry was evicted, or there is none. In a `crowded` table a flow that both ends have closed makes room at once: it is
// only remembered for the backend's TIME_WAIT and for packets that are sent again.
bool is_dead(std::uint8_t proto, const svclb_flow& flow, const svclb_flow* partner, std::uint64_t now_s,
             const FlowTimeouts& timeouts, bool crowded = false);

// Alive whatever the partner says: spares the look at it for most entries of a busy table.
bool is_fresh(std::uint8_t proto, const svclb_flow& flow, std::uint64_t now_s, const FlowTimeouts& timeouts,
              bool crowded = false);

}  // namespace svclb::datapath
