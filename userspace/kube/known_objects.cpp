// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "known_objects.hpp"

#include <algorithm>
#include <utility>

namespace svclb::kube {

void KnownObjects::begin_list() {
    listed_.clear();
    listed_same_.clear();
}

void KnownObjects::list(const Sighting& sighting) {
    const auto known = known_.find(sighting.key);
    if (known != known_.end() && known->second.version == sighting.version) {
        listed_.erase(sighting.key);
        listed_same_.insert(sighting.key);
        return;
    }
    listed_same_.erase(sighting.key);
    listed_.insert_or_assign(sighting.key, Listed{.version = sighting.version, .read = read_sighting(kind_, sighting)});
}

void KnownObjects::unlist(const Sighting& sighting) {
    listed_.erase(sighting.key);
    listed_same_.erase(sighting.key);
}

void KnownObjects::end_list() {
    std::vector<model::ObjectKey> gone;
    for (const auto& [key, known] : known_)
        if (!listed_same_.contains(key) && !listed_.contains(key)) gone.push_back(key);
    for (const auto& key : gone) drop(key);
    // Piece by piece: at a cluster's size the memory of both would be felt.
    while (!listed_.empty()) {
        auto one = listed_.extract(listed_.begin());
        commit(one.key(), std::move(one.mapped().version), std::move(one.mapped().read));
    }
    listed_same_.clear();
}

bool KnownObjects::put(const Sighting& sighting, const std::string& since) {
    const auto known = known_.find(sighting.key);
    const auto& latest = known == known_.end() ? since : known->second.version;
    const auto order = compare_versions(sighting.version, latest);
    if (order && *order <= 0) return false;
    commit(sighting.key, sighting.version, read_sighting(kind_, sighting));
    return true;
}

bool KnownObjects::remove(const Sighting& sighting) {
    const auto known = known_.find(sighting.key);
    if (known == known_.end()) return false;
    const auto order = compare_versions(sighting.version, known->second.version);
    if (order && *order < 0) return false;
    drop(sighting.key);
    return true;
}

void KnownObjects::commit(const model::ObjectKey& key, std::string version, ApiObject read) {
    auto& known = known_[key];
    known.version = std::move(version);
    const bool refused = !read.object;
    if (!refused) {
        known.told = true;
        untold_.insert_or_assign(key, std::move(read.object));
    }
    if (!refused && read.problems.empty()) {
        forget_faults(key);
        return;
    }
    auto& faulty = faulty_[key];
    for (const auto& problem : read.problems)
        if (std::ranges::find(faulty.problems, problem) == faulty.problems.end()) problems_.push_back(problem);
    faulty = {.problems = std::move(read.problems),
              .service = std::move(read.service),
              .uid = std::move(read.uid),
              .refused = refused};
    faults_changed_ = true;
}

void KnownObjects::forget_faults(const model::ObjectKey& key) {
    faults_changed_ |= faulty_.erase(key) != 0;
}

void KnownObjects::drop(const model::ObjectKey& key) {
    const auto known = known_.find(key);
    if (known->second.told) untold_.insert_or_assign(key, std::nullopt);
    known_.erase(known);
    forget_faults(key);
}

void KnownObjects::take(Change& change) {
    change.changed.reserve(change.changed.size() + untold_.size());
    while (!untold_.empty()) {
        auto one = untold_.extract(untold_.begin());
        const auto& key = one.key();
        if (one.mapped()) {
            change.changed.push_back(*std::move(one.mapped()));
            continue;
        }
        switch (kind_) {
            case ObjectKind::service:
                change.gone_services.push_back(key);
                break;
            case ObjectKind::endpoint_slice:
                change.gone_slices.push_back(key);
                break;
            case ObjectKind::node:
                change.gone_nodes.push_back(key.name);
                break;
            case ObjectKind::service_cidr:
                change.gone_service_cidrs.push_back(key.name);
                break;
        }
    }
    for (auto& problem : std::exchange(problems_, {})) change.problems.push_back(std::move(problem));
    change.refusals_changed |= std::exchange(faults_changed_, false);
    auto& kept = kind_ == ObjectKind::service ? change.kept_services : change.kept_endpoints;
    for (const auto& [key, faulty] : faulty_) {
        if (!faulty.refused) continue;
        ++change.invalid_objects;
        if (!faulty.service.name.empty() && !known_.at(key).told) kept.push_back(faulty.service);
    }
}

void KnownObjects::add_refusals(std::vector<Refusal>& all) const {
    for (const auto& [key, faulty] : faulty_) {
        for (const auto& line : faulty.problems) {
            const auto end = std::min(line.find(": "), line.size());
            all.push_back({.object = line.substr(0, end),
                           .what = line.substr(std::min(end + 2, line.size())),
                           .service = faulty.service,
                           .uid = faulty.uid,
                           .used = !faulty.refused});
        }
    }
}

}  // namespace svclb::kube
