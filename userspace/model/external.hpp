// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The addresses of a Service beside its ClusterIPs, and who may dial them: behaviour rows 1.5 to 1.7 and 1.25.
#pragma once

#include <optional>
#include <vector>

#include "svclb/model/build.hpp"
#include "told.hpp"

namespace svclb::model {

// Of both families.
struct ExternalAddresses {
    std::vector<Address> external_ips;
    std::vector<Address> vips;  // of load balancers
};
[[nodiscard]] ExternalAddresses external_addresses(const Service& service, Told& told);

// spec.loadBalancerSourceRanges, read once for both families.
struct SourceRanges {
    std::vector<Cidr> cidrs;
    // The Service restricts the family, be it by a text that cannot be read.
    bool ipv4 = false;
    bool ipv6 = false;
};
[[nodiscard]] SourceRanges source_ranges(const Service& service, Told& told);

// Sorted and unique; nothing where everybody may. Where all that a Service says of the family is unreadable, nobody.
[[nodiscard]] std::optional<std::vector<Cidr>> allowed_sources(const SourceRanges& ranges, Family family,
                                                               const ExternalAddresses& external, const NodeView& node);

}  // namespace svclb::model
