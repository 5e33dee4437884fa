// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The objects as last seen, and which Services have to be built anew because of what changed. Pure: no clock, no file.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "leftovers.hpp"
#include "svclb/kube/source.hpp"
#include "svclb/model/build.hpp"
#include "svclb/model/desired.hpp"
#include "svclb/model/health_check.hpp"
#include "svclb/model/node_addresses.hpp"
#include "svclb/model/objects.hpp"
#include "svclb/reconcile/reconciler.hpp"

namespace svclb::agent {

class Cluster {
public:
    // `node_name` is this node's, known or not yet known as an object. `own_addresses` go before that object's.
    explicit Cluster(std::string node_name, std::vector<model::Address> own_addresses = {},
                     model::NodePortAddresses node_ports = {}, model::Algorithm algorithm = model::Algorithm::random,
                     bool masquerade_all = false);

    void apply(kube::Change change);
    // The addresses of the node's devices. True if that makes a difference to any Service.
    bool set_local_addresses(std::vector<model::Address> addresses);
    void mark_dirty(const model::ObjectKey& service) { dirty_.insert(service); }

    struct Built {
        reconcile::ServiceChange change;
        std::vector<model::Problem> problems;
        std::optional<model::HealthCheck> health{};
    };
    // Builds every Service that something has changed for since it was built last, but for those that are `held`: they
    // are built by a later call that holds them no more.
    using Held = std::function<bool(const model::ObjectKey&)>;
    std::vector<Built> take_changes(const Held& held);

    // From the next time that the Service is built until forget_leftovers; less and less of them, see drop_named.
    void keep(const model::ObjectKey& service, Leftovers leftovers);
    void forget_leftovers(const model::ObjectKey& service);
    // Services that have any.
    [[nodiscard]] std::vector<model::ObjectKey> with_leftovers() const;

    [[nodiscard]] bool has_service(const model::ObjectKey& key) const { return services_.contains(key); }
    // "" where there is none.
    [[nodiscard]] std::string uid_of(const model::ObjectKey& service) const;
    [[nodiscard]] std::string uid_of_slice(const model::ObjectKey& slice) const;
    [[nodiscard]] std::string trigger_time(const model::ObjectKey& slice) const;
    [[nodiscard]] std::set<model::ObjectKey> service_keys() const;
    // The ranges of all ServiceCIDR objects, sorted and unique; what cannot be parsed is left out.
    [[nodiscard]] std::vector<model::Cidr> service_cidrs() const;
    // Whether the own Node is gone, or about to go; nothing while it has never been told of.
    [[nodiscard]] std::optional<bool> node_leaving() const { return node_leaving_; }
    [[nodiscard]] const model::NodeView& node() const { return node_; }
    // Those of the own Node, as long as none others are known.
    [[nodiscard]] const std::vector<model::Cidr>& pod_cidrs() const { return pod_cidrs_; }
    [[nodiscard]] std::size_t service_count() const { return services_.size(); }
    [[nodiscard]] std::size_t slice_count() const { return slices_.size(); }

private:
    void build(const model::Service& service, Built& built);
    void put(model::Service service);
    void put(model::EndpointSlice slice);
    void put(const model::Node& node);
    void put(model::ServiceCidr range);
    void remove_slice(const model::ObjectKey& key);
    // True if any Service has to be built anew.
    bool set_node(model::NodeView node);

    std::vector<model::Address> own_addresses_;
    model::NodePortAddresses node_ports_;
    model::Algorithm algorithm_;  // of Services that ask for none
    bool masquerade_all_;
    std::vector<model::Address> local_addresses_;
    model::NodeView node_;
    std::vector<model::Cidr> pod_cidrs_;
    std::optional<bool> node_leaving_;
    std::map<model::ObjectKey, model::Service> services_;
    std::map<model::ObjectKey, model::EndpointSlice> slices_;
    std::map<model::ObjectKey, std::set<model::ObjectKey>> slices_of_;  // by Service
    std::map<model::ObjectKey, Leftovers> leftovers_;                   // by Service
    std::map<std::string, model::ServiceCidr> service_cidrs_;           // by name
    std::set<model::ObjectKey> dirty_;                                  // Services
};

}  // namespace svclb::agent
