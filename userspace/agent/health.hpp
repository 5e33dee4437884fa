// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Whether this node serves, as kube-proxy answers load balancers (/healthz) and the kubelet (/livez). Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "api_time.hpp"

namespace svclb::agent {

struct Health {
    RealTime updated;                       // the last time that all that was known was programmed, or the start
    std::optional<RealTime> waiting_since;  // the oldest change that is not programmed
    bool node_leaving = false;
};

struct HealthAnswer {
    int status = 0;  // HTTP
    std::string body;
};

// An update that waits for longer than that is a node that does not keep up.
constexpr std::chrono::seconds kHealthPatience{60};

[[nodiscard]] bool is_healthy(const Health& health, RealTime now);
// For load balancers: a node that is about to go wants no new connections.
[[nodiscard]] HealthAnswer healthz(const Health& health, RealTime now);
// For the kubelet, which must not restart the agent of a node that is about to go.
[[nodiscard]] HealthAnswer livez(const Health& health, RealTime now);

}  // namespace svclb::agent
