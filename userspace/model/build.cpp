// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// From one Service to its service ports: which count, their frontends, policies and verdicts (behaviour rows 1.1 to
// 1.8, 1.16 and 1.22). What is behind them is endpoints.cpp, who may dial from outside external.cpp.
#include "svclb/model/build.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>

#include "dsr.hpp"
#include "endpoints.hpp"
#include "external.hpp"
#include "svclb/model/keys.hpp"
#include "svclb/model/node_addresses.hpp"
#include "svclb/model/text.hpp"

namespace svclb::model {

namespace {

constexpr std::array kFamilies{Family::ipv4, Family::ipv6};

// Rows 1.1 and 1.2.
bool is_ours(const Service& service) {
    return !service.labels.contains(std::string(kProxyNameLabel)) && service.type != ServiceType::external_name &&
           !service.cluster_ip.empty() && service.cluster_ip != "None";
}

// A Service in one family, and the ClusterIP it has there. An address that cannot be read leaves the Service without
// this frontend, as in kube-proxy, not without the others.
struct InFamily {
    Family family = Family::ipv4;
    std::optional<Address> cluster_ip;
};

std::optional<InFamily> read_in_family(Family family, const std::string& text, const std::string& field, Told& told) {
    if (text.empty()) return std::nullopt;
    InFamily in{.family = family, .cluster_ip = read_address(text, field, told)};
    if (in.cluster_ip && in.cluster_ip->family() != family) {
        told.add(field, "not an " + std::string(to_string(family)) + " address: " + printable(text));
        in.cluster_ip.reset();
    }
    return in;
}

// Row 1.3.
std::optional<InFamily> in_family(const Service& service, Family family, Told& told) {
    if (service.ip_families.empty()) {
        const auto address = parse_address(service.cluster_ip);
        const auto own = address ? address->family() : Family::ipv4;
        if (own != family) return std::nullopt;
        return read_in_family(family, service.cluster_ip, "spec.clusterIP", told);
    }
    const auto found = std::ranges::find(service.ip_families, family);
    const auto index = static_cast<std::size_t>(found - service.ip_families.begin());
    if (found == service.ip_families.end() || index >= service.cluster_ips.size()) return std::nullopt;
    return read_in_family(family, service.cluster_ips[index], element("spec.clusterIPs", index), told);
}

// Row 1.8.
bool externally_accessible(const ServicePort& port, const ExternalAddresses& external, Family family) {
    const auto of_family = [family](const Address& address) { return address.family() == family; };
    return port.node_port != 0 || std::ranges::any_of(external.vips, of_family) ||
           std::ranges::any_of(external.external_ips, of_family);
}

TrafficPolicy external_policy(const Service& service, bool accessible) {
    const bool counts = service.type == ServiceType::load_balancer || service.type == ServiceType::node_port ||
                        !service.external_ips.empty();
    return accessible && counts ? service.external_policy : TrafficPolicy::cluster;
}

// Row 1.20 and 1.22: Pods of this node and the node itself go round a Local policy on external addresses, as if they
// had gone out to a load balancer and come back.
Frontend external_frontend(const Address& address, std::uint16_t number, Protocol protocol, FrontendKind kind,
                           TrafficPolicy outside) {
    return {.address = address,
            .port = number,
            .protocol = protocol,
            .kind = kind,
            .set = TrafficPolicy::cluster,
            .outside_set = outside};
}

// Sorted, and one for each address and port: where a Service names one twice, the first kind below has it. A load
// balancer's goes before an external one, because its source ranges hold for the address.
std::vector<Frontend> frontends_of(const Service& service, const ServicePort& port, const InFamily& in,
                                   const ExternalAddresses& external, TrafficPolicy outside, bool source_ranges,
                                   const NodeView& node) {
    std::vector<Frontend> frontends;
    const auto add = [&](const std::vector<Address>& addresses, std::uint16_t number, FrontendKind kind) {
        for (const auto& address : addresses)
            if (address.family() == in.family)
                frontends.push_back(external_frontend(address, number, port.protocol, kind, outside));
    };
    if (in.cluster_ip) {
        frontends.push_back({.address = *in.cluster_ip,
                             .port = port.port,
                             .protocol = port.protocol,
                             .kind = FrontendKind::cluster_ip,
                             .set = service.internal_policy,
                             .outside_set = service.internal_policy});
    }
    add(external.vips, port.port, FrontendKind::load_balancer);
    add(external.external_ips, port.port, FrontendKind::external_ip);
    if (port.node_port != 0) add(node.node_port_addresses, port.node_port, FrontendKind::node_port);
    for (auto& frontend : frontends)
        frontend.source_ranges = source_ranges && frontend.kind == FrontendKind::load_balancer;

    const auto place = [](const Frontend& frontend) { return std::tie(frontend.address, frontend.port); };
    std::ranges::stable_sort(frontends, {}, place);
    const auto same = [&](const Frontend& a, const Frontend& b) { return place(a) == place(b); };
    frontends.erase(std::unique(frontends.begin(), frontends.end(), same), frontends.end());
    return frontends;
}

Algorithm algorithm_of(const Service& service, const NodeView& node, Told& told) {
    const auto found = service.annotations.find(std::string(kAlgorithmAnnotation));
    if (found == service.annotations.end()) return node.algorithm;
    const auto algorithm = parse_algorithm(found->second);
    if (!algorithm)
        told.add("metadata.annotations[" + std::string(kAlgorithmAnnotation) + "]",
                 "not random or maglev: " + printable(found->second));
    return algorithm.value_or(node.algorithm);
}

ServicePortState port_state(const Service& service, const ServicePort& port, const InFamily& in,
                            const ExternalAddresses& external, const SourceRanges& ranges,
                            std::span<const SliceView> slices, const NodeView& node) {
    const bool accessible = externally_accessible(port, external, in.family);
    const auto outside = external_policy(service, accessible);
    // Sources inside the cluster go round a Local policy on external addresses, hence the Cluster set for those.
    const WantedSets wanted{
        .cluster = service.internal_policy == TrafficPolicy::cluster || accessible,
        .local = service.internal_policy == TrafficPolicy::local || outside == TrafficPolicy::local,
    };
    auto chosen = chosen_backends(slices, port, in.family, node, wanted);

    ServicePortState state;
    state.id = {.service = service.key, .port_name = port.name, .protocol = port.protocol, .family = in.family};
    state.created = service.created;
    const auto allowed = allowed_sources(ranges, in.family, external, node);
    state.frontends = frontends_of(service, port, in, external, outside, allowed.has_value(), node);
    if (std::ranges::any_of(state.frontends, &Frontend::source_ranges)) state.source_ranges = *allowed;
    state.backends = std::move(chosen.backends);
    // Row 1.16. Elsewhere there are some, so a client should try again rather than be refused.
    const auto when_none_local = wanted.local && chosen.any_usable ? Verdict::drop : Verdict::reject;
    state.cluster = std::ranges::any_of(state.backends, &Backend::in_cluster) ? Verdict::forward : Verdict::reject;
    state.local = std::ranges::any_of(state.backends, &Backend::in_local) ? Verdict::forward : when_none_local;
    state.internal_policy = service.internal_policy;
    state.external_policy = outside;
    state.affinity_s = service.client_ip_affinity ? service.affinity_s : 0;
    return state;
}

}  // namespace

std::optional<Algorithm> parse_algorithm(std::string_view word) noexcept {
    if (word == "random") return Algorithm::random;
    if (word == "maglev") return Algorithm::maglev;
    return std::nullopt;
}

NodeView node_view(const Node& node) {
    const auto zone = node.labels.find(std::string(kZoneLabel));
    return {.name = node.name,
            .zone = zone == node.labels.end() ? std::string() : zone->second,
            .primary = primary_addresses(node),
            .node_port_addresses = {}};
}

ServiceState build_service(const Service& service, std::span<const EndpointSlice* const> slices, const NodeView& node,
                           std::vector<Problem>& problems) {
    ServiceState state;
    if (!is_ours(service)) return state;

    Told told(service, problems);
    const auto views = slices_of(service, slices, problems);
    const auto external = external_addresses(service, told);
    const auto ranges = source_ranges(service, told);
    const auto algorithm = algorithm_of(service, node, told);
    const bool dsr = wants_dsr(service, told);
    for (const auto family : kFamilies) {
        const auto in = in_family(service, family, told);
        if (!in) continue;
        for (const auto& port : service.ports) {
            state.push_back(port_state(service, port, *in, external, ranges, views, node));
            state.back().algorithm = algorithm;
            if (dsr) return_directly(state.back(), node, told);
        }
    }
    // Ids are unique below: two ports of one name and protocol are one service port, and the first one is it.
    std::ranges::stable_sort(state, {}, &ServicePortState::id);
    for (std::size_t i = 1; i < state.size();) {
        if (state[i].id != state[i - 1].id) {
            ++i;
            continue;
        }
        told.add("spec.ports", "two ports have the name \"" + printable(state[i].id.port_name) + "\" and protocol " +
                                   std::string(to_string(state[i].id.protocol)) + ", the first one is used");
        state.erase(state.begin() + static_cast<std::ptrdiff_t>(i));
    }
    return state;
}

}  // namespace svclb::model
