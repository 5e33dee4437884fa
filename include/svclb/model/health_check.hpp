// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What a load balancer may ask of a Service at its healthCheckNodePort (behaviour row 1.30). Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "svclb/model/build.hpp"

namespace svclb::model {

struct HealthCheck {
    std::uint16_t port = 0;
    // Distinct addresses of ready endpoints on this node, over all ports; one that ends does not count, though served.
    std::size_t local4 = 0;
    std::size_t local6 = 0;
    bool operator==(const HealthCheck&) const = default;
};
// `state` is what was built of the Service. Nothing where nobody may ask.
[[nodiscard]] std::optional<HealthCheck> health_check(const Service& service, const ServiceState& state,
                                                      const NodeView& node);

}  // namespace svclb::model
