// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "endpoints.hpp"

#include <algorithm>
#include <charconv>
#include <string>
#include <tuple>

#include "svclb/model/keys.hpp"
#include "svclb/model/text.hpp"

namespace svclb::model {

namespace {

constexpr std::uint16_t kLargestWeight = 100;

struct Candidate {
    Address address;
    std::uint16_t port = 0;
    std::uint16_t weight = 1;
    std::size_t order = 0;  // in which it was read
    const Endpoint* endpoint = nullptr;
    std::string text;
    bool in_cluster = false;
    bool in_local = false;

    [[nodiscard]] bool ready() const { return endpoint->ready.value_or(true); }
    [[nodiscard]] bool serving() const { return endpoint->serving.value_or(true); }
    [[nodiscard]] bool terminating() const { return endpoint->terminating.value_or(false); }
    [[nodiscard]] bool last_resort() const { return !ready() && serving() && terminating(); }
    // Row 1.33: one that gets new flows keeps those it has, though it may be ready without serving.
    [[nodiscard]] bool keeps_flows() const { return ready() || serving(); }
    // A node without a name has no local endpoints: an absent nodeName must not match it.
    [[nodiscard]] bool on(const NodeView& node) const { return !node.name.empty() && endpoint->node_name == node.name; }
};

std::string object_text(const EndpointSlice& slice) {
    return "EndpointSlice " + slice.key.ns + "/" + slice.key.name;
}

std::uint16_t weight_of(const EndpointSlice& slice, std::vector<Problem>& problems) {
    const auto found = slice.annotations.find(std::string(kWeightAnnotation));
    if (found == slice.annotations.end()) return 1;
    const std::string& text = found->second;
    std::uint16_t weight = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
    if (error == std::errc{} && end == text.data() + text.size() && weight >= 1 && weight <= kLargestWeight)
        return weight;
    problems.push_back({object_text(slice), "metadata.annotations[" + std::string(kWeightAnnotation) +
                                                "]: not a weight from 1 to 100: " + printable(text)});
    return 1;
}

std::optional<Address> address_of(const EndpointSlice& slice, std::size_t index, std::vector<Problem>& problems) {
    const auto& endpoint = slice.endpoints[index];
    const auto tell = [&](const std::string& what) {
        problems.push_back({object_text(slice), "endpoints[" + std::to_string(index) + "].addresses" + what});
    };
    if (endpoint.addresses.empty()) {
        tell(": missing");
        return std::nullopt;
    }
    const auto address = parse_address(endpoint.addresses.front());
    if (address && address->family() == slice.family) return address;
    tell("[0]: not an " + std::string(to_string(*slice.family)) + " address: " + printable(endpoint.addresses.front()));
    return std::nullopt;
}

// The API server writes an empty name where there is none, so that only a hand can have left one out.
void tell_unnamed_ports(const EndpointSlice& slice, std::vector<Problem>& problems) {
    for (std::size_t i = 0; i < slice.ports.size(); ++i) {
        if (!slice.ports[i].name)
            problems.push_back({object_text(slice), "ports[" + std::to_string(i) + "].name: missing"});
    }
}

// Row 1.10: the port's name and protocol pair it; a nil name matches nothing, a nil or zero number is no port.
bool matches(const EndpointPort& candidate, const ServicePort& port) {
    return candidate.name == port.name && candidate.protocol == port.protocol && candidate.port.value_or(0) != 0;
}

std::vector<Candidate> candidates_of(std::span<const SliceView> slices, const ServicePort& port, Family family) {
    std::vector<Candidate> candidates;
    for (const auto& view : slices) {
        if (view.slice->family != family) continue;
        for (const auto& slice_port : view.slice->ports) {
            if (!matches(slice_port, port)) continue;
            for (std::size_t i = 0; i < view.slice->endpoints.size(); ++i) {
                if (!view.addresses[i]) continue;
                Candidate candidate;
                candidate.address = *view.addresses[i];
                candidate.port = *slice_port.port;
                candidate.weight = view.weight;
                candidate.order = candidates.size();
                candidate.endpoint = &view.slice->endpoints[i];
                candidates.push_back(std::move(candidate));
            }
        }
    }
    return candidates;
}

// Row 1.12: of one address:port the later read one counts, unless it is terminating.
void drop_duplicates(std::vector<Candidate>& candidates) {
    std::ranges::sort(candidates, [](const Candidate& a, const Candidate& b) {
        return std::tie(a.address, a.port, a.order) < std::tie(b.address, b.port, b.order);
    });
    std::size_t kept = 0;
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        const bool again = kept != 0 && candidates[kept - 1].address == candidates[i].address &&
                           candidates[kept - 1].port == candidates[i].port;
        if (!again) {
            if (kept != i) candidates[kept] = std::move(candidates[i]);
            ++kept;
        } else if (!candidates[i].terminating()) {
            candidates[kept - 1] = std::move(candidates[i]);
        }
    }
    candidates.resize(kept);
}

// Row 1.14: hints count only where every ready endpoint has one and at least one of them names us.
enum class Topology : std::uint8_t { none, node, zone };

Topology topology_of(const std::vector<Candidate>& candidates, const NodeView& node) {
    bool all_name_nodes = true;
    bool all_name_zones = true;
    bool names_node = false;
    bool names_zone = false;
    for (const auto& candidate : candidates) {
        if (!candidate.ready()) continue;
        const auto& endpoint = *candidate.endpoint;
        all_name_nodes &= !endpoint.node_hints.empty();
        all_name_zones &= !endpoint.zone_hints.empty();
        names_node |= std::ranges::find(endpoint.node_hints, node.name) != endpoint.node_hints.end();
        names_zone |= std::ranges::find(endpoint.zone_hints, node.zone) != endpoint.zone_hints.end();
    }
    if (all_name_nodes && names_node && !node.name.empty()) return Topology::node;
    if (all_name_zones && names_zone && !node.zone.empty()) return Topology::zone;
    return Topology::none;
}

bool allowed(const Candidate& candidate, Topology topology, const NodeView& node) {
    const auto& endpoint = *candidate.endpoint;
    switch (topology) {
        case Topology::none:
            return true;
        case Topology::node:
            return std::ranges::find(endpoint.node_hints, node.name) != endpoint.node_hints.end();
        case Topology::zone:
            return std::ranges::find(endpoint.zone_hints, node.zone) != endpoint.zone_hints.end();
    }
    return true;
}

// Row 1.13. The two sets fall back to endpoints that terminate, each on its own.
void choose_cluster(std::vector<Candidate>& candidates, const NodeView& node) {
    const auto topology = topology_of(candidates, node);
    bool any = false;
    for (auto& candidate : candidates) {
        candidate.in_cluster = candidate.ready() && allowed(candidate, topology, node);
        any |= candidate.in_cluster;
    }
    if (any) return;
    for (auto& candidate : candidates) candidate.in_cluster = candidate.last_resort();
}

void choose_local(std::vector<Candidate>& candidates, const NodeView& node) {
    bool any = false;
    for (auto& candidate : candidates) {
        candidate.in_local = candidate.ready() && candidate.on(node);
        any |= candidate.in_local;
    }
    if (any) return;
    for (auto& candidate : candidates) candidate.in_local = candidate.last_resort() && candidate.on(node);
}

BackendState state_of(const Candidate& candidate) {
    if (candidate.ready()) return BackendState::ready;
    return candidate.last_resort() ? BackendState::draining : BackendState::not_ready;
}

Backend backend_of(const Candidate& candidate, const NodeView& node) {
    return {.address = candidate.address,
            .port = candidate.port,
            .node = candidate.endpoint->node_name.value_or(""),
            .zone = candidate.endpoint->zone.value_or(""),
            .state = state_of(candidate),
            .serving = candidate.keeps_flows(),
            .in_cluster = candidate.in_cluster,
            .in_local = candidate.in_local,
            .weight = candidate.weight,
            .on_node = candidate.on(node)};
}

}  // namespace

std::vector<SliceView> slices_of(const Service& service, std::span<const EndpointSlice* const> slices,
                                 std::vector<Problem>& problems) {
    std::vector<SliceView> views;
    views.reserve(slices.size());
    for (const auto* slice : slices) {
        const bool ours = slice->key.ns == service.key.ns && slice->service == service.key.name;
        if (ours && slice->family && !slice->labels.contains(std::string(kHeadlessLabel)))
            views.push_back({.slice = slice, .addresses = {}});
    }
    std::ranges::sort(views, [](const auto& a, const auto& b) { return a.slice->key.name < b.slice->key.name; });
    for (auto& view : views) {
        view.weight = weight_of(*view.slice, problems);
        tell_unnamed_ports(*view.slice, problems);
        view.addresses.reserve(view.slice->endpoints.size());
        for (std::size_t i = 0; i < view.slice->endpoints.size(); ++i)
            view.addresses.push_back(address_of(*view.slice, i, problems));
    }
    return views;
}

ChosenBackends chosen_backends(std::span<const SliceView> slices, const ServicePort& port, Family family,
                               const NodeView& node, WantedSets wanted) {
    auto candidates = candidates_of(slices, port, family);
    drop_duplicates(candidates);
    if (wanted.cluster) choose_cluster(candidates, node);
    if (wanted.local) choose_local(candidates, node);

    for (auto& candidate : candidates) candidate.text = endpoint_text(candidate.address, candidate.port);
    std::ranges::sort(candidates, [](const Candidate& a, const Candidate& b) {
        return a.in_local != b.in_local ? a.in_local : a.text < b.text;
    });

    ChosenBackends chosen;
    chosen.backends.reserve(candidates.size());
    for (const auto& candidate : candidates) {
        chosen.any_usable |= candidate.ready() || candidate.last_resort();
        chosen.backends.push_back(backend_of(candidate, node));
    }
    return chosen;
}

}  // namespace svclb::model
