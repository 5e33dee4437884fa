// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What the agent tells of itself as it goes, for metrics and health. An observer is called on the agent's own thread,
// must not wait, and copies what it wants to keep.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "svclb/kube/source.hpp"
#include "svclb/model/address.hpp"
#include "svclb/reconcile/reconciler.hpp"

namespace svclb::agent {

using RealTime = std::chrono::system_clock::time_point;

// What has arrived since the last pass, by kind of object.
struct ChangeCounts {
    std::size_t services = 0;
    std::size_t endpoint_slices = 0;
};

// One look at what waits, whether or not there was anything to write.
struct PassReport {
    RealTime began;
    RealTime ended;
    ChangeCounts changes;  // taken in by this pass
    std::size_t services_built = 0;
    std::uint64_t writes = 0;    // rows
    std::uint64_t failures = 0;  // rows; the Services concerned are tried again
    std::uint64_t epochs = 0;    // raised: some backend is no longer, or newly, one that serves
    bool complete = false;       // every object has been read: what this node does is what the input says
    std::size_t retries = 0;     // Services that wait for their failed writes to be tried again
    bool pending = false;        // some Service still waits: for a retry, or held as a former agent left it
    std::size_t known_services = 0;
    std::size_t known_endpoint_slices = 0;
    std::size_t held_services = 0;  // stay as programmed because what is known of them is not whole
    std::size_t conflicts = 0;      // frontends that two Services claim
    // From the time that the controller noted on a slice (endpoints.kubernetes.io/last-change-trigger-time) to `ended`,
    // one for each changed slice that carries a new time. Not those from before the agent had its first whole view.
    struct Delay {
        model::Family family;
        std::chrono::nanoseconds time;
    };
    std::vector<Delay> delays;
    reconcile::Fill fill;  // of the tables, at the end
};

struct EventCounts {
    std::uint64_t sent = 0;
    std::uint64_t failed = 0;   // the API server did not take them
    std::uint64_t dropped = 0;  // never sent: too many at once
};

class Observer {
public:
    virtual ~Observer() = default;
    // Something has arrived and waits for the pass that follows.
    virtual void on_queued(RealTime when) = 0;
    // At the end of each walk over the flow tables: both families, opening and established.
    virtual void on_flows(std::uint64_t entries) = 0;
    virtual void on_pass(const PassReport& report) = 0;
    // At each tick of the agent's clock, some four a second.
    virtual void on_source(const kube::SourceState& state, const EventCounts& events) = 0;
    // This node's own object, or that there is none: health answers differ for a node that is about to go.
    virtual void on_node(bool deleting_or_gone) = 0;

protected:
    Observer() = default;
    Observer(const Observer&) = default;
    Observer& operator=(const Observer&) = default;
};

}  // namespace svclb::agent
