// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "problems.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "status_row.hpp"
#include "svclb/base/log.hpp"

namespace svclb::agent {
namespace {

// What still holds is noted again before the API forgets its Event, which is after an hour.
constexpr std::chrono::minutes kEventRepeat{30};

}  // namespace

Problems::Problems(datapath::Datapath& datapath, const Cluster& cluster, kube::Transport* transport,
                   const std::string& node_name)
    : datapath_(datapath), cluster_(cluster) {
    if (transport != nullptr) events_.emplace(*transport, node_name);
}

void Problems::tell(std::vector<Warning> current, RealTime now) {
    // The first time whatever there is: a former agent's are still shown.
    if (!std::exchange(shown_, true) || current != told_) replace(told_, std::move(current), true, now);
}

void Problems::tell_refused(const std::vector<std::string>& lines, const std::vector<kube::Refusal>& all,
                            RealTime now) {
    for (const auto& line : lines) spdlog::error("{}", line);
    refused_uids_.clear();
    for (const auto& refusal : all)
        if (!refusal.uid.empty()) refused_uids_[refusal.object] = refusal.uid;
    if (auto current = refusal_warnings(all); current != refused_) replace(refused_, std::move(current), false, now);
}

void Problems::replace(std::vector<Warning>& told, std::vector<Warning> current, bool log_fresh, RealTime now) {
    std::vector<Warning> fresh;
    std::vector<Warning> solved;
    std::ranges::set_difference(current, told, std::back_inserter(fresh));
    std::ranges::set_difference(told, current, std::back_inserter(solved));
    for (const auto& warning : fresh) {
        if (log_fresh) spdlog::warn("{}: {}: {}", warning.object, warning.reason, warning.note);
        make_event(warning, now);
    }
    for (const auto& [object, reason, note] : solved) spdlog::info("{}: {} no more: {}", object, reason, note);
    told = std::move(current);

    std::vector<Warning> all;
    std::ranges::merge(told_, refused_, std::back_inserter(all));
    datapath_.status().problems = static_cast<std::uint32_t>(all.size());
    if (auto shown = datapath_.show_problems(problem_rows(all)); !shown) spdlog::warn("{}", shown.error().message());
}

void Problems::step(bool connected, RealTime now) {
    if (!events_) return;
    if (!repeated_) repeated_ = now;
    if (now - *repeated_ >= kEventRepeat) {
        repeated_ = now;
        for (const auto* held : {&told_, &refused_})
            for (const auto& warning : *held) make_event(warning, now);
    }
    if (connected) events_->step(now);
    show_events(datapath_.status(), events_->counts());
}

void Problems::make_event(const Warning& warning, RealTime now) {
    if (!events_) return;
    const auto refused = refused_uids_.find(warning.object);
    events_->note(warning, refused != refused_uids_.end() ? refused->second : uid_in(cluster_, warning.object), now);
}

std::string uid_in(const Cluster& cluster, const std::string& object) {
    const auto reference = object_reference(object);
    if (!reference) return {};
    if (reference->kind == "Service") return cluster.uid_of(reference->key);
    if (reference->kind == "EndpointSlice") return cluster.uid_of_slice(reference->key);
    return {};
}

std::vector<Warning> refusal_warnings(const std::vector<kube::Refusal>& refusals) {
    std::vector<Warning> all;
    for (const auto& [object, what, service, uid, used] : refusals) {
        all.push_back({object, used ? "InvalidField" : "InvalidObject", what});
        if (!used && object.starts_with("EndpointSlice ") && !service.name.empty())
            all.push_back({service_text(service), "InvalidEndpointSlice", fmt::format("{}: {}", object, what)});
    }
    std::ranges::sort(all);
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
}

}  // namespace svclb::agent
