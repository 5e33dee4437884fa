// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which addresses of the node serve its node ports: behaviour row 1.24. Pure.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "svclb/model/address.hpp"
#include "svclb/model/objects.hpp"

namespace svclb::model {

// nodePortAddresses: the primary address of each family, or those of the node's devices that are in one of the ranges.
// All of a family that has no range, as long as the other one has some.
struct NodePortAddresses {
    std::vector<Cidr> ranges;  // none: the primary ones
    bool operator==(const NodePortAddresses&) const = default;
};
// "primary", alone, or CIDRs; an empty list is "primary". Nothing for any other texts.
[[nodiscard]] std::optional<NodePortAddresses> parse_node_port_addresses(std::span<const std::string> texts);
// Every address of both families.
[[nodiscard]] NodePortAddresses all_addresses();
[[nodiscard]] bool is_all(const NodePortAddresses& chosen);

// Can it be the address of a host to others? Not so: unspecified, loopback and multicast ones.
[[nodiscard]] bool is_routable(const Address& address) noexcept;

// The first InternalIP of each family, else its first ExternalIP.
[[nodiscard]] std::vector<Address> primary_addresses(const Node& node);
// The first one of each family; what cannot be a host's address is left out.
[[nodiscard]] std::vector<Address> primary_of(std::span<const Address> addresses);

// `local`: the addresses of the node's devices. Sorted and unique. Never a link-local IPv6 address: it says nothing
// without its link, and every Pod's link has one.
[[nodiscard]] std::vector<Address> serving_addresses(const NodePortAddresses& chosen, std::span<const Address> primary,
                                                     std::span<const Address> local);

}  // namespace svclb::model
