// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What a source tells -> what the reconciler programs, with the rules that keep a node serving:
//
//   * while the input is not known as a whole, nothing is removed, and a Service that a former agent programmed stays
//     exactly as it is;
//   * a Service that exists but cannot be read stays as it is programmed;
//   * where it is a slice that cannot be read, the endpoints that no other slice has named stay;
//   * the API server's own Service never goes to zero backends (ApiService).
//
// Knows no clock, descriptor or log: all that it does can be tested by value.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "api_service.hpp"
#include "cluster.hpp"
#include "observe.hpp"
#include "svclb/datapath/tables.hpp"
#include "svclb/kube/source.hpp"
#include "svclb/reconcile/reconciler.hpp"

namespace svclb::agent {

// Something an operator should know of an object, for as long as it is so.
struct Warning {
    std::string object;  // "Service default/web"
    std::string reason;  // one word, as in an Event: "FrontendConflict"
    std::string note;
    auto operator<=>(const Warning&) const = default;
};

// "Service default/web", printable.
[[nodiscard]] std::string service_text(const model::ObjectKey& key);

// About the room that these objects' service ports and backends need.
[[nodiscard]] std::vector<datapath::Room> rooms_for(const kube::Change& change);

struct SyncOptions {
    std::string node_name;
    ApiSeed api;
    std::vector<model::Address> node_addresses{};  // see Cluster
    model::NodePortAddresses node_ports{};
    model::Algorithm algorithm = model::Algorithm::random;
    bool masquerade_all = false;
};

class Sync {
public:
    Sync(SyncOptions options, reconcile::Reconciler& reconciler);

    // What the source has told since the last call. Nothing is written before pass().
    void take(kube::Change change, RealTime now);
    // The addresses of the node's devices, when they have changed.
    void set_local_addresses(std::vector<model::Address> addresses);
    // Does anything wait for a pass?
    [[nodiscard]] bool due() const { return due_; }
    // Programs all that waits and may be programmed. `began` is the time now; the end of it is the caller's to add.
    PassReport pass(RealTime began);
    // Services whose rows could not be written are part of the next pass again.
    void retry();
    [[nodiscard]] bool wants_retry() const { return !retry_.empty(); }

    // The failed writes of the last pass, a handful at most.
    [[nodiscard]] const std::vector<Error>& errors() const { return errors_; }
    // All that hold now, sorted.
    [[nodiscard]] std::vector<Warning> warnings() const;
    // Of the Services that have been built, by their ports' owners.
    using HealthChecks = std::map<model::ObjectKey, model::HealthCheck>;
    [[nodiscard]] const HealthChecks& health_checks() const { return health_checks_; }
    [[nodiscard]] bool complete() const { return complete_; }
    // Is anything programmed, by this agent or the one before it?
    [[nodiscard]] bool programmed() const { return programmed_; }
    [[nodiscard]] const Cluster& cluster() const { return cluster_; }

    // Times that slices carry, since the last call: see PassReport::delays. None while rows are to be written again:
    // what has not been programmed has no delay yet.
    struct Trigger {
        model::Family family;
        RealTime at;
        bool operator==(const Trigger&) const = default;
    };
    [[nodiscard]] std::vector<Trigger> take_triggers();

private:
    [[nodiscard]] bool held(const model::ObjectKey& service) const;
    void keep_endpoints();
    void run(PassReport& report, reconcile::PassResult result);
    void finish_start(PassReport& report);

    reconcile::Reconciler& reconciler_;
    Cluster cluster_;
    ApiService api_;
    bool due_ = true;  // the first pass is
    bool seeded_ = false;
    bool complete_ = false;
    bool retained_ = false;  // what did not exist any more at the first whole view has been removed
    bool programmed_ = false;
    std::set<model::ObjectKey> adopted_;  // programmed by a former agent, not yet handed in by this one
    std::set<model::ObjectKey> kept_;     // of the last change, see kube::Change
    std::set<model::ObjectKey> kept_endpoints_;
    std::set<model::ObjectKey> retry_;
    std::map<model::ObjectKey, std::vector<model::Problem>> build_problems_;  // by Service, until it is built anew
    HealthChecks health_checks_;
    std::vector<model::Problem> conflicts_;
    std::vector<Error> errors_;
    std::vector<Trigger> triggers_;
    ChangeCounts counts_;
};

}  // namespace svclb::agent
