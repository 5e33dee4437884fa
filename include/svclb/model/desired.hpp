// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What should be balanced: ordered, comparable values with no trace of maps or files.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "svclb/model/address.hpp"
#include "svclb/model/objects.hpp"

namespace svclb::model {

// One service port in one address family (behaviour rows 1.3 and 1.4): what one row of `services` stands for.
struct ServicePortId {
    ObjectKey service;
    std::string port_name;
    Protocol protocol = Protocol::tcp;
    Family family = Family::ipv4;
    auto operator<=>(const ServicePortId&) const = default;
};
// "default/web:http"; without a port name "default/web".
[[nodiscard]] std::string to_string(const ServicePortId& id);

enum class FrontendKind : std::uint8_t { cluster_ip = 1, node_port = 2, external_ip = 3, load_balancer = 4 };

struct Frontend {
    Address address;
    std::uint16_t port = 0;
    Protocol protocol = Protocol::tcp;
    FrontendKind kind = FrontendKind::cluster_ip;
    // Which of the two sets its clients use: Pods of this node and the node itself, and those who dial from outside.
    TrafficPolicy set = TrafficPolicy::cluster;
    TrafficPolicy outside_set = TrafficPolicy::cluster;
    bool source_ranges = false;  // new flows only from ServicePortState::source_ranges
    bool dsr = false;            // clients outside reach backends elsewhere with their own address, see dsr.hpp
    auto operator<=>(const Frontend&) const = default;
};

enum class BackendState : std::uint8_t { ready = 1, draining = 2, not_ready = 3 };

struct Backend {
    Address address;
    std::uint16_t port = 0;
    std::string node;  // "" = unknown
    std::string zone;  // "" = unknown
    BackendState state = BackendState::ready;
    bool serving = true;  // UDP conversations stay with it (behaviour rows 1.32 and 1.33)
    bool in_cluster = false;
    bool in_local = false;
    std::uint16_t weight = 1;
    bool on_node = false;  // known to be on this node
    auto operator<=>(const Backend&) const = default;
};

enum class Verdict : std::uint8_t { forward = 0, reject = 1, drop = 2 };

struct ServicePortState {
    ServicePortId id;
    std::string created;              // of the Service: where two claim one frontend, the oldest wins
    std::vector<Frontend> frontends;  // sorted, unique
    std::vector<Backend>
        backends;  // every endpoint of the port; unique by address:port, sorted by in_local first, then address:port
    Verdict cluster = Verdict::reject;  // forward exactly when some backend is in_cluster
    Verdict local = Verdict::reject;    // forward exactly when some backend is in_local
    TrafficPolicy internal_policy = TrafficPolicy::cluster;
    TrafficPolicy external_policy = TrafficPolicy::cluster;
    std::uint32_t affinity_s = 0;  // 0 = none
    Algorithm algorithm = Algorithm::random;
    std::vector<Cidr> source_ranges{};  // sorted, unique; none where no frontend asks for them
    bool operator==(const ServicePortState&) const = default;
};

// Everything one Service asks for; empty for a Service that is not ours (headless, ExternalName).
using ServiceState = std::vector<ServicePortState>;  // sorted by id

struct Problem {
    std::string object;  // "Service default/web"
    std::string what;    // "spec.externalIPs[0]: not an IP address: 10.0.0"
    auto operator<=>(const Problem&) const = default;
};

}  // namespace svclb::model
