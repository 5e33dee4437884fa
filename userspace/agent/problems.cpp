// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "problems.hpp"

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
    if (current == told_) return;
    std::vector<Warning> fresh;
    std::vector<Warning> solved;
    std::ranges::set_difference(current, told_, std::back_inserter(fresh));
    std::ranges::set_difference(told_, current, std::back_inserter(solved));
    for (const auto& warning : fresh) {
        spdlog::warn("{}: {}: {}", warning.object, warning.reason, warning.note);
        make_event(warning, now);
    }
    for (const auto& [object, reason, note] : solved) spdlog::info("{}: {} no more: {}", object, reason, note);
    told_ = std::move(current);
    datapath_.status().problems = static_cast<std::uint32_t>(told_.size());
    if (auto shown = datapath_.show_problems(problem_rows(told_)); !shown) spdlog::warn("{}", shown.error().message());
}

void Problems::tell_refused(const std::string& line, RealTime now) {
    spdlog::error("{}", line);
    const auto object = line.substr(0, line.find(": "));
    if (object.size() < line.size()) make_event({object, "InvalidObject", line.substr(object.size() + 2)}, now);
}

void Problems::step(bool connected, RealTime now) {
    if (!events_) return;
    if (!repeated_) repeated_ = now;
    if (now - *repeated_ >= kEventRepeat) {
        repeated_ = now;
        for (const auto& warning : told_) make_event(warning, now);
    }
    if (connected) events_->step(now);
    show_events(datapath_.status(), events_->counts());
}

void Problems::make_event(const Warning& warning, RealTime now) {
    if (!events_) return;
    const auto object = object_reference(warning.object);
    const bool service = object && object->kind == "Service";
    events_->note(warning, service ? cluster_.uid_of(object->key) : std::string{}, now);
}

}  // namespace svclb::agent
