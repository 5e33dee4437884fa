// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Where objects come from: a directory of manifests, or an API server.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "svclb/base/result.hpp"
#include "svclb/kube/transport.hpp"
#include "svclb/model/objects.hpp"

namespace svclb::kube {

// The difference to what the source told before. Where it tells of one object twice, only the latest content is in
// here.
struct Change {
    // New or different objects. One that differs only in what we don't read (its resourceVersion, the trigger time of a
    // slice) may be among them.
    std::vector<model::Object> changed;
    std::vector<model::ObjectKey> gone_services;
    std::vector<model::ObjectKey> gone_slices;
    std::vector<std::string> gone_nodes;
    std::vector<std::string> gone_service_cidrs;
    std::vector<std::string> problems;  // new since the last call, one line each
    std::uint32_t invalid_objects = 0;  // how many objects are refused now
    bool refusals_changed = false;      // Source::refusals() may have another answer than the last time
    // What this and all changes before it didn't name doesn't exist: it may be removed. False while some part of the
    // input has never been read as a whole.
    bool complete = false;
    // Services that exist although they can't be used and never could: what is programmed for them stays. All of them
    // at each call; one that is no longer here has to be built anew.
    std::vector<model::ObjectKey> kept_services;
    // The same of Services that have such a slice: of what is programmed, the endpoints that no other slice names stay.
    std::vector<model::ObjectKey> kept_endpoints;
    [[nodiscard]] bool empty() const {
        return changed.empty() && gone_services.empty() && gone_slices.empty() && gone_nodes.empty() &&
               gone_service_cidrs.empty() && problems.empty();
    }
};

// Why an object is refused, or what it is used without: one of these for each reason, all printable.
struct Refusal {
    std::string object;        // "EndpointSlice default/web-x"; a file, where no object can be told
    std::string what;          // "endpoints[0].addresses[0]: not an IP address: 10.0.0"
    model::ObjectKey service;  // whom it concerns; the name is "" where that is nobody, or not known
    std::string uid{};         // of the object, "" where it is not known
    bool used = false;         // all but this
    auto operator<=>(const Refusal&) const = default;
};

// How one kind of objects fares.
struct ResourceState {
    std::string name;                              // "services"
    bool synced = false;                           // listed as a whole at least once, or known not to be served
    bool connected = false;                        // its watch is open
    std::optional<std::chrono::milliseconds> age;  // of the last word from the server; nothing: none yet
    std::uint64_t objects = 0;
    std::uint64_t lists = 0;     // begun
    std::uint64_t watches = 0;   // begun
    std::uint64_t failures = 0;  // of both
    std::string error;           // the last failure, one printable line; "" since the last success
};

struct SourceState {
    bool synced = false;     // everything that is waited for has been read once
    bool connected = false;  // what is told is up to date, as far as the source can know
    std::string error;       // of the resources, the first one that has one
    std::uint64_t bytes_received = 0;
    RequestStats requests;
    std::vector<ResourceState> resources;
};

class Source {
public:
    virtual ~Source() = default;
    [[nodiscard]] virtual int fd() const = 0;  // readable when changes() has something to do
    // Takes what has arrived; never waits. An error leaves everything in force that was told before.
    virtual Result<Change> changes() = 0;
    // All that hold now: see Change::refusals_changed.
    [[nodiscard]] virtual std::vector<Refusal> refusals() const = 0;
    // For status and metrics; files are always at hand.
    [[nodiscard]] virtual SourceState state() const {
        SourceState state;
        state.synced = state.connected = true;
        return state;
    }

protected:
    Source() = default;
    Source(const Source&) = default;
    Source& operator=(const Source&) = default;
    Source(Source&&) = default;
    Source& operator=(Source&&) = default;
};

}  // namespace svclb::kube
