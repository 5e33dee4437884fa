// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "cluster.hpp"

namespace svclb::agent {
namespace {

// A slice belongs to the Service that its label names, in its own namespace.
model::ObjectKey owner_of(const model::EndpointSlice& slice) {
    return {slice.key.ns, slice.service};
}

}  // namespace

void Cluster::apply(const kube::Change& change) {
    for (const auto& object : change.changed) std::visit([this](const auto& value) { put(value); }, object);
    for (const auto& key : change.gone_slices) remove_slice(key);
    for (const auto& key : change.gone_services)
        if (services_.erase(key) != 0) dirty_.insert(key);
    for (const auto& name : change.gone_service_cidrs) service_cidrs_.erase(name);
    for (const auto& name : change.gone_nodes)
        if (name == node_.name) set_node({.name = name, .zone = {}});
}

std::vector<reconcile::ServiceChange> Cluster::take_changes(std::vector<model::Problem>& problems) {
    std::vector<reconcile::ServiceChange> changes;
    changes.reserve(dirty_.size());
    for (const auto& key : dirty_) {
        auto& change = changes.emplace_back(reconcile::ServiceChange{.service = key, .state = {}});
        const auto service = services_.find(key);
        if (service == services_.end()) continue;
        std::vector<const model::EndpointSlice*> slices;
        if (const auto keys = slices_of_.find(key); keys != slices_of_.end())
            for (const auto& slice : keys->second) slices.push_back(&slices_.at(slice));
        change.state = model::build_service(service->second, slices, node_, problems);
    }
    dirty_.clear();
    return changes;
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

void Cluster::put(const model::Service& service) {
    services_.insert_or_assign(service.key, service);
    dirty_.insert(service.key);
}

void Cluster::put(const model::EndpointSlice& slice) {
    remove_slice(slice.key);  // its label may have named another Service
    slices_.emplace(slice.key, slice);
    if (slice.service.empty()) return;
    slices_of_[owner_of(slice)].insert(slice.key);
    dirty_.insert(owner_of(slice));
}

void Cluster::put(const model::Node& node) {
    if (node.name == node_.name) set_node(model::node_view(node));
}

void Cluster::put(const model::ServiceCidr& range) {
    service_cidrs_.insert_or_assign(range.name, range);
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

void Cluster::set_node(model::NodeView node) {
    if (node.zone != node_.zone)
        for (const auto& [key, service] : services_) dirty_.insert(dirty_.end(), key);
    node_ = std::move(node);
}

}  // namespace svclb::agent
