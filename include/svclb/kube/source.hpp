// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Where objects come from: a directory of manifests, or an API server.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "svclb/base/result.hpp"
#include "svclb/model/objects.hpp"

namespace svclb::kube {

// The difference to what the source told before. Where it tells of one object twice, only the latest content is in
// here.
struct Change {
    std::vector<model::Object> changed;  // new or different objects
    std::vector<model::ObjectKey> gone_services;
    std::vector<model::ObjectKey> gone_slices;
    std::vector<std::string> gone_nodes;
    std::vector<std::string> gone_service_cidrs;
    std::vector<std::string> problems;  // new since the last call, one line each
    std::uint32_t invalid_objects = 0;  // how many objects are refused now
    [[nodiscard]] bool empty() const {
        return changed.empty() && gone_services.empty() && gone_slices.empty() && gone_nodes.empty() &&
               gone_service_cidrs.empty() && problems.empty();
    }
};

class Source {
public:
    virtual ~Source() = default;
    [[nodiscard]] virtual int fd() const = 0;  // readable when changes() has something to do
    // Takes what has arrived; never waits. An error leaves everything in force that was told before.
    virtual Result<Change> changes() = 0;

protected:
    Source() = default;
    Source(const Source&) = default;
    Source& operator=(const Source&) = default;
    Source(Source&&) = default;
    Source& operator=(Source&&) = default;
};

}  // namespace svclb::kube
