// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "health.hpp"

#include <nlohmann/json.hpp>

namespace svclb::agent {
namespace {

constexpr int kOk = 200;
constexpr int kUnavailable = 503;

// One pass programs both families, so they fare alike.
HealthAnswer answer(const Health& health, RealTime now, std::optional<bool> node_eligible) {
    const bool healthy = is_healthy(health, now);
    const int status = healthy && node_eligible.value_or(true) ? kOk : kUnavailable;
    const nlohmann::ordered_json family{{"lastUpdated", time_text(health.updated)}, {"healthy", healthy}};
    nlohmann::ordered_json body;
    // On success the time of the answer, as clients of old kube-proxies expect it.
    body["lastUpdated"] = time_text(status == kOk ? now : health.updated);
    body["currentTime"] = time_text(now);
    if (node_eligible) body["nodeEligible"] = *node_eligible;
    body["healthy"] = healthy;
    body["status"] = {{"IPv4", family}, {"IPv6", family}};
    return {status, body.dump() + "\n"};
}

}  // namespace

bool is_healthy(const Health& health, RealTime now) {
    return !health.waiting_since || now - *health.waiting_since < kHealthPatience;
}

HealthAnswer healthz(const Health& health, RealTime now) {
    return answer(health, now, !health.node_leaving);
}

HealthAnswer livez(const Health& health, RealTime now) {
    return answer(health, now, std::nullopt);
}

}  // namespace svclb::agent
