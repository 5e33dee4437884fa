// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Answers load balancers at the healthCheckNodePort of each Service (behaviour row 1.30): 200 where the node has a
// ready endpoint of it, else 503. All ports together take two threads, and none while there is no port.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "svclb/base/result.hpp"
#include "svclb/model/address.hpp"
#include "sync.hpp"

namespace svclb::agent {

class NodeHealth {
public:
    // `healthy` says whether this node keeps up; it is called on a thread of the server's.
    explicit NodeHealth(std::function<bool()> healthy);
    NodeHealth(const NodeHealth&) = delete;
    NodeHealth& operator=(const NodeHealth&) = delete;
    NodeHealth(NodeHealth&&) = delete;
    NodeHealth& operator=(NodeHealth&&) = delete;
    ~NodeHealth();

    // From now on these and no others, at these addresses; none means all of both families. A port that is taken is
    // tried again by the next call. Signals should be blocked.
    void serve(const Sync::HealthChecks& checks, const std::vector<model::Address>& addresses);
    // Of the ports that are not served.
    [[nodiscard]] const std::vector<Warning>& warnings() const { return warnings_; }

private:
    struct Server;
    Status start();

    std::function<bool()> healthy_;
    std::unique_ptr<Server> server_;  // from the first port on
    std::vector<Warning> warnings_;
};

}  // namespace svclb::agent
