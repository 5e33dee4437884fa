// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What an open datapath does for sockets, beside its packets.
#pragma once

#include <cstdint>

#include "grow.hpp"
#include "svclb/datapath/datapath.hpp"

namespace svclb::datapath {

// Without them the packet path goes on: no error ends the agent.
SocketState open_sockets(Core& core, const SocketOptions& options, const MapSet& pinned);

// See Datapath::follow_pod_sockets() and Datapath::end_stale_sockets().
Result<bool> follow_pods(Core& core, SocketState& state);
Result<EndStep> end_stale(Core& core, std::uint32_t messages);

}  // namespace svclb::datapath
