// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "leftovers.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "svclb/model/keys.hpp"

namespace svclb::agent {
namespace {

// No name that a node or a zone may have.
constexpr const char* kElsewhere = "-";

// The hints themselves are not in the tables, but where they count, some ready endpoints are not for us.
bool hints_count(const model::ServicePortState& port) {
    const auto ready = [](const model::Backend& backend) { return backend.state == model::BackendState::ready; };
    const auto chosen = [&](const model::Backend& backend) { return ready(backend) && backend.in_cluster; };
    const auto passed_over = [&](const model::Backend& backend) { return ready(backend) && !backend.in_cluster; };
    return std::ranges::any_of(port.backends, chosen) && std::ranges::any_of(port.backends, passed_over);
}

model::Endpoint endpoint_of(const model::Backend& backend, bool hinted, const model::NodeView& node) {
    model::Endpoint endpoint;
    endpoint.addresses = {to_string(backend.address)};
    endpoint.ready = backend.state == model::BackendState::ready;
    endpoint.serving = backend.serving;
    endpoint.terminating = backend.state == model::BackendState::draining;
    const auto& host = backend.on_node ? node.name : backend.node;
    if (!host.empty()) endpoint.node_name = host;
    if (!backend.zone.empty()) endpoint.zone = backend.zone;
    if (hinted) {
        endpoint.node_hints = {backend.in_cluster ? node.name : kElsewhere};
        endpoint.zone_hints = {backend.in_cluster ? node.zone : kElsewhere};
    }
    return endpoint;
}

}  // namespace

Leftovers leftovers_of(const model::ObjectKey& service, const model::ServiceState& programmed,
                       const model::NodeView& node) {
    Leftovers all;
    for (const auto& port : programmed) {
        const bool hinted = hints_count(port);
        // A slice has one number and one weight for each port.
        std::map<std::pair<std::uint16_t, std::uint16_t>, std::vector<model::Endpoint>> alike;
        for (const auto& backend : port.backends)
            alike[{backend.port, backend.weight}].push_back(endpoint_of(backend, hinted, node));
        for (auto& [what, endpoints] : alike) {
            auto& slice = all.emplace_back();
            slice.key = service;
            slice.service = service.name;
            slice.annotations = {{std::string(model::kWeightAnnotation), std::to_string(what.second)}};
            slice.family = port.id.family;
            slice.ports = {{.name = port.id.port_name, .protocol = port.id.protocol, .port = what.first}};
            slice.endpoints = std::move(endpoints);
        }
    }
    return all;
}

void drop_named(Leftovers& leftovers, const model::ServiceState& readable) {
    for (const auto& port : readable) {
        // By address: a Pod whose port has changed is not behind the old one any more.
        std::set<std::string> named;
        for (const auto& backend : port.backends) named.insert(to_string(backend.address));
        for (auto& slice : leftovers) {
            const auto& own = slice.ports.front();
            if (std::tie(*own.name, own.protocol, *slice.family) !=
                std::tie(port.id.port_name, port.id.protocol, port.id.family))
                continue;
            std::erase_if(slice.endpoints,
                          [&](const auto& endpoint) { return named.contains(endpoint.addresses.front()); });
        }
    }
    std::erase_if(leftovers, [](const auto& slice) { return slice.endpoints.empty(); });
}

}  // namespace svclb::agent
