// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What is wrong with objects, told wherever an operator may look: in the log, in svclb-ctl, as Events of the API.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster.hpp"
#include "events.hpp"
#include "observe.hpp"
#include "svclb/datapath/datapath.hpp"
#include "svclb/kube/source.hpp"
#include "svclb/kube/transport.hpp"
#include "sync.hpp"

namespace svclb::agent {

class Problems {
public:
    // All but the name must outlive this. No transport: there is nobody to send Events to.
    Problems(datapath::Datapath& datapath, const Cluster& cluster, kube::Transport* transport,
             const std::string& node_name);

    // All that hold now, sorted: each is told once when it comes and once when it goes.
    void tell(std::vector<Warning> current, RealTime now);
    // What the source has told, in its own words, and the objects that it refuses now.
    void tell_refused(const std::vector<std::string>& lines, const std::vector<kube::Refusal>& all, RealTime now);
    // At each tick: sends the Events that are due.
    void step(bool connected, RealTime now);
    [[nodiscard]] EventCounts events() const { return events_ ? events_->counts() : EventCounts{}; }

private:
    // The solved ones are logged; the fresh ones as well, unless they have been told in better words.
    void replace(std::vector<Warning>& told, std::vector<Warning> current, bool log_fresh, RealTime now);
    void make_event(const Warning& warning, RealTime now);

    datapath::Datapath& datapath_;
    const Cluster& cluster_;
    std::optional<EventSender> events_;
    std::optional<RealTime> repeated_;
    std::vector<Warning> told_;
    std::vector<Warning> refused_;
    bool shown_ = false;
    std::map<std::string, std::string> refused_uids_;  // by object: what was never valid is not in the cluster
};

// "" where the object is not known.
[[nodiscard]] std::string uid_in(const Cluster& cluster, const std::string& object);

// Sorted. A slice that cannot be used is told of its Service as well: that is where people look.
[[nodiscard]] std::vector<Warning> refusal_warnings(const std::vector<kube::Refusal>& refusals);

}  // namespace svclb::agent
