// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "svclb/model/health_check.hpp"

#include <algorithm>
#include <set>

namespace svclb::model {

std::optional<HealthCheck> health_check(const Service& service, const ServiceState& state, const NodeView& node) {
    const bool asked = service.type == ServiceType::load_balancer && service.external_policy == TrafficPolicy::local &&
                       service.health_check_node_port != 0;
    if (!asked || state.empty()) return std::nullopt;
    // Not by the Local set: that has endpoints which end, and is not wanted where there is no address to dial yet.
    std::set<Address> local;
    for (const auto& port : state)
        for (const auto& backend : port.backends)
            if (backend.state == BackendState::ready && !node.name.empty() && backend.node == node.name)
                local.insert(backend.address);
    const auto v4 = std::ranges::count_if(local, [](const auto& each) { return each.family() == Family::ipv4; });
    return HealthCheck{.port = service.health_check_node_port,
                       .local4 = static_cast<std::size_t>(v4),
                       .local6 = local.size() - static_cast<std::size_t>(v4)};
}

}  // namespace svclb::model
