// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Whose address a backend that is reached by another device than the node's own address sees. Pure.
#pragma once

#include <map>
#include <span>

#include "svclb/abi.h"
#include "svclb/datapath/addresses.hpp"
#include "svclb/datapath/datapath.hpp"
#include "svclb/model/address.hpp"

namespace svclb::agent {

// By ifindex, for uplinks and tunnels only; a family that is all zero, and a device without a row, show the node's
// address. As the kernel's masquerading has it: what leaves by another device than that of the node's `primary` address
// has that one's as its source, for the answers come back to it. An overlay's device must not carry the address of what
// it is built on. An address that is on no uplink (on the loopback device, say, announced by every uplink) is to
// outlive any of them.
[[nodiscard]] std::map<int, svclb_node_addresses> uplink_sources(
    std::span<const datapath::AttachedLink> links, const std::map<int, datapath::LinkAddresses>& addresses,
    std::span<const model::Address> primary);

}  // namespace svclb::agent
