// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "dsr.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "svclb/model/keys.hpp"

namespace svclb::model {

namespace {

std::string field() {
    return "metadata.annotations[" + std::string(kForwardingModeAnnotation) + "]";
}

// An encapsulated packet names its backend by address alone, so that the port has to follow from the service port.
bool has_two_ports(const ServicePortState& state) {
    std::optional<std::uint16_t> port;
    return std::ranges::any_of(state.backends, [&](const Backend& backend) {
        return backend.in_cluster && std::exchange(port, backend.port).value_or(backend.port) != backend.port;
    });
}

// "" where it can.
std::string why_not(const ServicePortState& state, const NodeView& node) {
    if (node.masquerade_all) return "masqueradeAll is set";
    if (has_two_ports(state)) return "the endpoints do not all have the same port";
    return {};
}

}  // namespace

bool wants_dsr(const Service& service, Told& told) {
    const auto found = service.annotations.find(std::string(kForwardingModeAnnotation));
    if (found == service.annotations.end() || found->second == "snat") return false;
    if (found->second == "dsr") return true;
    told.add(field(), "not dsr or snat: " + printable(found->second));
    return false;
}

void return_directly(ServicePortState& state, const NodeView& node, Told& told) {
    // Under policy Local there are no backends elsewhere, and all see the client.
    const auto is_concerned = [](const Frontend& frontend) {
        return frontend.outside_set == TrafficPolicy::cluster &&
               (frontend.kind == FrontendKind::external_ip || frontend.kind == FrontendKind::load_balancer);
    };
    if (std::ranges::none_of(state.frontends, is_concerned)) return;
    if (const auto why = why_not(state, node); !why.empty()) {
        told.add(field(), "the node stays the source for " + printable(to_string(state.id)) + " (" +
                              std::string(to_string(state.id.protocol)) + ", " +
                              std::string(to_string(state.id.family)) + "): " + why);
        return;
    }
    for (auto& frontend : state.frontends) frontend.dsr = is_concerned(frontend);
}

}  // namespace svclb::model
