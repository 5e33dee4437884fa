// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "sync.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "api_time.hpp"
#include "svclb/model/keys.hpp"
#include "svclb/model/text.hpp"

namespace svclb::agent {
namespace {

constexpr std::size_t kMostTriggers = 4096;  // while writes fail and fail again

std::set<model::ObjectKey> services_of(const std::vector<model::ServicePortId>& ports) {
    std::set<model::ObjectKey> services;
    for (const auto& port : ports) services.insert(port.service);
    return services;
}

}  // namespace

std::string service_text(const model::ObjectKey& key) {
    return fmt::format("Service {}/{}", model::printable(key.ns), model::printable(key.name));
}

std::vector<datapath::Room> rooms_for(const kube::Change& change) {
    // Entry 0 of a table is nobody's.
    std::size_t services = 1;
    std::size_t backends = 1;
    for (const auto& object : change.changed) {
        if (const auto* service = std::get_if<model::Service>(&object))
            services += service->ports.size() * service->cluster_ips.size();
        if (const auto* slice = std::get_if<model::EndpointSlice>(&object))
            backends += slice->ports.size() * slice->endpoints.size();
    }
    return {{datapath::Sized::services, static_cast<std::uint32_t>(services)},
            {datapath::Sized::backends, static_cast<std::uint32_t>(backends)}};
}

Sync::Sync(SyncOptions options, reconcile::Reconciler& reconciler)
    : reconciler_(reconciler),
      cluster_(std::move(options.node_name), std::move(options.node_addresses), std::move(options.node_ports),
               options.algorithm, options.masquerade_all),
      api_(std::move(options.api), reconciler.programmed(api_service_key())),
      adopted_(services_of(reconciler.programmed())) {
    programmed_ = !adopted_.empty();
}

void Sync::take(kube::Change change, RealTime now) {
    for (const auto& object : change.changed) {
        if (std::holds_alternative<model::Service>(object)) ++counts_.services;
        const auto* slice = std::get_if<model::EndpointSlice>(&object);
        if (slice == nullptr) continue;
        ++counts_.endpoint_slices;
        // The first view tells of changes that were made long ago.
        if (!retained_ || !slice->family) continue;
        const auto text = slice->annotations.find(std::string{model::kTriggerTimeAnnotation});
        if (text == slice->annotations.end() || text->second == cluster_.trigger_time(slice->key)) continue;
        if (const auto time = parse_time(text->second); time && *time <= now && triggers_.size() < kMostTriggers)
            triggers_.push_back({*slice->family, *time});
    }
    counts_.services += change.gone_services.size();
    counts_.endpoint_slices += change.gone_slices.size();

    std::set<model::ObjectKey> kept{change.kept_services.begin(), change.kept_services.end()};
    std::set<model::ObjectKey> kept_endpoints{change.kept_endpoints.begin(), change.kept_endpoints.end()};
    due_ = due_ || !change.empty() || kept != kept_ || kept_endpoints != kept_endpoints_ ||
           (change.complete && !complete_);
    complete_ = complete_ || change.complete;
    for (const auto& service : kept_)
        if (!kept.contains(service)) cluster_.mark_dirty(service);
    for (const auto& service : kept_endpoints_)
        if (!kept_endpoints.contains(service)) cluster_.forget_leftovers(service);
    kept_ = std::move(kept);
    kept_endpoints_ = std::move(kept_endpoints);
    cluster_.apply(std::move(change));
}

void Sync::set_local_addresses(std::vector<model::Address> addresses) {
    due_ = cluster_.set_local_addresses(std::move(addresses)) || due_;
}

bool Sync::held(const model::ObjectKey& service) const {
    return adopted_.contains(service) && (!complete_ || kept_.contains(service));
}

PassReport Sync::pass(RealTime began) {
    PassReport report;
    report.began = began;
    report.changes = std::exchange(counts_, {});
    due_ = false;
    errors_.clear();

    keep_endpoints();
    auto built = cluster_.take_changes([this](const auto& service) { return held(service); });
    std::vector<reconcile::ServiceChange> changes;
    changes.reserve(built.size() + 1);
    for (auto& [change, problems, health] : built) {
        if (health)
            health_checks_[change.service] = *health;
        else
            health_checks_.erase(change.service);
        if (change.service == api_service_key()) change.state = api_.keep(std::move(change.state));
        adopted_.erase(change.service);
        if (problems.empty())
            build_problems_.erase(change.service);
        else
            build_problems_[change.service] = std::move(problems);
        changes.push_back(std::move(change));
    }
    // Before anything is known, and once: what the source tells later takes its place.
    if (!std::exchange(seeded_, true) && !cluster_.has_service(api_service_key()))
        if (auto first = api_.first(); !first.empty()) changes.push_back({api_service_key(), std::move(first)});
    report.services_built = changes.size();
    if (!changes.empty()) run(report, reconciler_.apply(changes));
    if (complete_ && !retained_) finish_start(report);

    report.complete = complete_;
    report.held_services = static_cast<std::size_t>(
        std::ranges::count_if(adopted_, [this](const auto& service) { return held(service); }));
    report.retries = retry_.size();
    report.fill = reconciler_.fill();
    report.pending = !retry_.empty() || report.held_services != 0;
    report.known_services = cluster_.service_count();
    report.known_endpoint_slices = cluster_.slice_count();
    report.conflicts = conflicts_.size();
    return report;
}

// Once for each Service, before it is handed in for the first time.
void Sync::keep_endpoints() {
    for (const auto& service : kept_endpoints_)
        if (adopted_.contains(service) && !held(service) && cluster_.has_service(service))
            cluster_.keep(service, leftovers_of(service, reconciler_.programmed(service), cluster_.node()));
}

// The first whole view: what nobody told of does not exist any more.
void Sync::finish_start(PassReport& report) {
    auto known = cluster_.service_keys();
    known.insert(kept_.begin(), kept_.end());
    // Through ApiService: it has the last word on its Service.
    if (known.insert(api_service_key()).second) {
        auto state = api_.keep({});
        if (state.empty()) known.erase(api_service_key());
    }
    run(report, reconciler_.retain_only(known));
    std::erase_if(adopted_, [&](const auto& service) { return !known.contains(service); });
    retained_ = true;
}

void Sync::run(PassReport& report, reconcile::PassResult result) {
    report.writes += result.writes;
    report.failures += result.failures;
    report.epochs += result.epochs;
    std::ranges::move(result.errors, std::back_inserter(errors_));
    retry_.insert(result.retry.begin(), result.retry.end());
    conflicts_ = std::move(result.conflicts);
    programmed_ = true;
}

void Sync::retry() {
    for (const auto& service : std::exchange(retry_, {})) cluster_.mark_dirty(service);
    due_ = true;
}

std::vector<Sync::Trigger> Sync::take_triggers() {
    if (wants_retry()) return {};
    return std::exchange(triggers_, {});
}

std::vector<Warning> Sync::warnings() const {
    std::vector<Warning> all;
    for (const auto& [object, what] : conflicts_) all.push_back({object, "FrontendConflict", what});
    for (const auto& [service, problems] : build_problems_)
        for (const auto& [object, what] : problems) all.push_back({object, "InvalidField", what});
    for (const auto& service : adopted_)
        if (held(service) && complete_)
            all.push_back({service_text(service), "Held", "cannot be read: it stays as it is programmed"});
    for (const auto& service : cluster_.with_leftovers())
        all.push_back({service_text(service), "EndpointsKept",
                       "one of its EndpointSlices cannot be read: programmed endpoints that no other one names stay"});
    if (!api_.kept().empty()) all.push_back({service_text(api_service_key()), "LastEndpointsKept", api_.kept()});
    std::ranges::sort(all);
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
}

}  // namespace svclb::agent
