// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "cluster.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include "svclb/model/keys.hpp"

namespace svclb::agent {
namespace {

// A slice belongs to the Service that its label names, in its own namespace.
model::ObjectKey owner_of(const model::EndpointSlice& slice) {
    return {slice.key.ns, slice.service};
}

const std::string* weight_of(const model::EndpointSlice& slice) {
    const auto found = slice.annotations.find(std::string{model::kWeightAnnotation});
    return found == slice.annotations.end() ? nullptr : &found->second;
}

// But for the time of the change that led to it.
bool builds_alike(const model::EndpointSlice& a, const model::EndpointSlice& b) {
    const auto* weight = weight_of(a);
    const auto* other = weight_of(b);
    const bool same_weight = weight && other ? *weight == *other : weight == other;
    return same_weight && std::tie(a.service, a.labels, a.family, a.ports, a.endpoints) ==
                              std::tie(b.service, b.labels, b.family, b.ports, b.endpoints);
}

// Of the node.
bool depends_on_addresses(const model::Service& service) {
    const auto has_node_port = [](const model::ServicePort& port) { return port.node_port != 0; };
    return !service.source_ranges.empty() || std::ranges::any_of(service.ports, has_node_port);
}

}  // namespace

Cluster::Cluster(std::string node_name, std::vector<model::Address> own_addresses, model::NodePortAddresses node_ports,
                 model::Algorithm algorithm, bool masquerade_all)
    : own_addresses_(std::move(own_addresses)),
      node_ports_(std::move(node_ports)),
      algorithm_(algorithm),
      masquerade_all_(masquerade_all) {
    set_node({.name = std::move(node_name), .zone = {}, .primary = {}, .node_port_addresses = {}});
}

bool Cluster::set_local_addresses(std::vector<model::Address> addresses) {
    local_addresses_ = std::move(addresses);
    return set_node(model::NodeView{node_});
}

void Cluster::apply(kube::Change change) {
    for (auto& object : change.changed) std::visit([this](auto& value) { put(std::move(value)); }, object);
    for (const auto& key : change.gone_slices) remove_slice(key);
    for (const auto& key : change.gone_services)
        if (services_.erase(key) != 0) dirty_.insert(key);
    for (const auto& name : change.gone_service_cidrs) service_cidrs_.erase(name);
    for (const auto& name : change.gone_nodes) {
        if (name != node_.name) continue;
        set_node({.name = name, .zone = {}, .primary = {}, .node_port_addresses = {}});
        node_leaving_ = true;
    }
}

std::vector<Cluster::Built> Cluster::take_changes(const Held& held) {
    std::vector<Built> all;
    all.reserve(dirty_.size());
    std::erase_if(dirty_, [&](const model::ObjectKey& key) {
        if (held(key)) return false;
        auto& built = all.emplace_back(Built{.change = {.service = key, .state = {}}, .problems = {}});
        if (const auto service = services_.find(key); service != services_.end())
            build(service->second, built);
        else
            leftovers_.erase(key);
        return true;
    });
    return all;
}

void Cluster::build(const model::Service& service, Built& built) {
    std::vector<const model::EndpointSlice*> slices;
    if (const auto keys = slices_of_.find(service.key); keys != slices_of_.end())
        for (const auto& slice : keys->second) slices.push_back(&slices_.at(slice));
    built.change.state = model::build_service(service, slices, node_, built.problems);
    if (const auto kept = leftovers_.find(service.key); kept != leftovers_.end()) {
        drop_named(kept->second, built.change.state);
        for (const auto& slice : kept->second) slices.push_back(&slice);
        built.problems.clear();
        built.change.state = model::build_service(service, slices, node_, built.problems);
        if (kept->second.empty()) leftovers_.erase(kept);
    }
    built.health = model::health_check(service, built.change.state, node_);
}

void Cluster::keep(const model::ObjectKey& service, Leftovers leftovers) {
    leftovers_.insert_or_assign(service, std::move(leftovers));
}

void Cluster::forget_leftovers(const model::ObjectKey& service) {
    if (leftovers_.erase(service) != 0) dirty_.insert(service);
}

std::vector<model::ObjectKey> Cluster::with_leftovers() const {
    std::vector<model::ObjectKey> services;
    for (const auto& [service, slices] : leftovers_) services.push_back(service);
    return services;
}

std::string Cluster::uid_of(const model::ObjectKey& service) const {
    const auto found = services_.find(service);
    return found == services_.end() ? std::string{} : found->second.uid;
}

std::string Cluster::uid_of_slice(const model::ObjectKey& slice) const {
    const auto found = slices_.find(slice);
    return found == slices_.end() ? std::string{} : found->second.uid;
}

std::string Cluster::trigger_time(const model::ObjectKey& slice) const {
    const auto found = slices_.find(slice);
    if (found == slices_.end()) return {};
    const auto text = found->second.annotations.find(std::string{model::kTriggerTimeAnnotation});
    return text == found->second.annotations.end() ? std::string{} : text->second;
}

std::set<model::ObjectKey> Cluster::service_keys() const {
    std::set<model::ObjectKey> keys;
    for (const auto& [key, service] : services_) keys.insert(keys.end(), key);
    return keys;
}

std::vector<model::Cidr> Cluster::service_cidrs() const {
    std::set<model::Cidr> ranges;
    for (const auto& [name, range] : service_cidrs_)
        for (const auto& text : range.cidrs)
            if (const auto cidr = model::parse_cidr(text)) ranges.insert(*cidr);
    return {ranges.begin(), ranges.end()};
}

void Cluster::put(model::Service service) {
    auto key = service.key;
    const auto known = services_.find(key);
    if (known != services_.end() && known->second == service) return;
    dirty_.insert(key);
    services_.insert_or_assign(std::move(key), std::move(service));
}

void Cluster::put(model::EndpointSlice slice) {
    const auto known = slices_.find(slice.key);
    if (known != slices_.end() && builds_alike(known->second, slice)) {
        known->second = std::move(slice);
        return;
    }
    remove_slice(slice.key);  // its label may have named another Service
    auto key = slice.key;
    if (!slice.service.empty()) {
        slices_of_[owner_of(slice)].insert(key);
        dirty_.insert(owner_of(slice));
    }
    slices_.emplace(std::move(key), std::move(slice));
}

void Cluster::put(const model::Node& node) {
    if (node.name != node_.name) return;
    set_node(model::node_view(node));
    std::vector<model::Cidr> pods;
    for (const auto& text : node.pod_cidrs)
        if (const auto cidr = model::parse_cidr(text)) pods.push_back(*cidr);
    if (!pods.empty()) pod_cidrs_ = std::move(pods);
    node_leaving_ = node.leaving;
}

void Cluster::put(model::ServiceCidr range) {
    auto name = range.name;
    service_cidrs_.insert_or_assign(std::move(name), std::move(range));
}

void Cluster::remove_slice(const model::ObjectKey& key) {
    const auto slice = slices_.find(key);
    if (slice == slices_.end()) return;
    const auto owner = owner_of(slice->second);
    if (const auto keys = slices_of_.find(owner); keys != slices_of_.end()) {
        keys->second.erase(key);
        if (keys->second.empty()) slices_of_.erase(keys);
        dirty_.insert(owner);
    }
    slices_.erase(slice);
}

bool Cluster::set_node(model::NodeView node) {
    auto addresses = own_addresses_;
    // A Node that is gone, or whose addresses are not known yet, says nothing about where the node is reached.
    const auto& others = node.primary.empty() ? node_.primary : node.primary;
    addresses.insert(addresses.end(), others.begin(), others.end());
    node.primary = model::primary_of(addresses);
    node.algorithm = algorithm_;
    node.masquerade_all = masquerade_all_;
    node.node_port_addresses = model::serving_addresses(node_ports_, node.primary, local_addresses_);
    const bool same_zone = node.zone == node_.zone;
    const bool same_addresses =
        std::tie(node.primary, node.node_port_addresses) == std::tie(node_.primary, node_.node_port_addresses);
    node_ = std::move(node);
    bool any = false;
    for (const auto& [key, service] : services_) {
        if (same_zone && (same_addresses || !depends_on_addresses(service))) continue;
        dirty_.insert(key);
        any = true;
    }
    return any;
}

}  // namespace svclb::agent
