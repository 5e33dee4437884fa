// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// (Service, its EndpointSlices, own Node) -> what should be balanced. Pure; kube-proxy's rules, behaviour rows 1.1
// to 1.16.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "svclb/model/desired.hpp"
#include "svclb/model/objects.hpp"

namespace svclb::model {

// Who "this node" is: for Local sets, topology hints, node ports and source ranges.
struct NodeView {
    std::string name;
    std::string zone;                            // label topology.kubernetes.io/zone; "" = none
    std::vector<Address> primary{};              // its own address, at most one of each family
    std::vector<Address> node_port_addresses{};  // sorted, unique: see node_addresses.hpp
    Algorithm algorithm = Algorithm::random;     // of Services that ask for none
    bool masquerade_all = false;                 // the source of whatever can be is to be the node
    bool operator==(const NodeView&) const = default;
};
// "random" or "maglev"; nothing for any other text.
[[nodiscard]] std::optional<Algorithm> parse_algorithm(std::string_view word) noexcept;

// Without node ports: which addresses serve them is not the Node's to say.
[[nodiscard]] NodeView node_view(const Node& node);

// The slices may come in any order and must be those of this Service; slices of another family or type are ignored.
// Fields that kube-proxy would skip (unreadable addresses) are skipped and told in `problems`.
[[nodiscard]] ServiceState build_service(const Service& service, std::span<const EndpointSlice* const> slices,
                                         const NodeView& node, std::vector<Problem>& problems);

}  // namespace svclb::model
