// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What /metrics tells: kube-proxy's names where they have a meaning here, and our own. Pure; docs/metrics.md has the
// list.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "observe.hpp"
#include "process_facts.hpp"
#include "svclb/abi.h"
#include "svclb/base/histogram.hpp"
#include "svclb/datapath/pinned.hpp"
#include "svclb/kube/source.hpp"

namespace svclb::agent {

// Gathered on the agent's own thread, from pass to pass.
class PassMetrics {
public:
    PassMetrics();

    void queued(RealTime when);
    void passed(const PassReport& report);

    struct Changes {
        std::uint64_t total = 0;
        std::uint64_t pending = 0;  // taken in by passes that could not write all
    };
    struct Family {
        Histogram sync;
        Histogram full;     // every Service was built
        Histogram partial;  // some were
        Histogram programming;
    };
    // One pass programs both families.
    std::array<Family, 2> families;  // IPv4, IPv6
    Histogram endpoint_delay;        // as network_programming_duration, finer
    Histogram event_delay;           // from arrival at this agent to programmed
    Changes services;
    Changes endpoint_slices;
    std::optional<RealTime> last_queued;
    std::optional<RealTime> last_synced;  // without an error
    std::uint64_t passes = 0;
    std::uint64_t writes = 0;
    std::uint64_t failures = 0;
    PassReport last;

private:
    std::optional<RealTime> arrived_;  // the oldest that the next pass takes in
};

struct Answers {
    std::map<int, std::uint64_t> healthz;  // by HTTP status
    std::map<int, std::uint64_t> livez;
    std::uint64_t pings = 0;  // of the metrics server's own /healthz
};

// Read from the kernel when somebody asks.
struct KernelFacts {
    svclb_agent_status agent{};
    std::array<svclb_drop_counter, SVCLB_REASON_COUNT> reasons{};
    std::array<svclb_xdp_counter, SVCLB_XDP_ACTIONS> xdp{};
    std::map<std::string, std::string> xdp_modes;  // by uplink
    std::vector<datapath::MapInfo> maps;           // entries of hashes are not counted
    // Services with a policy Local and backends, but none on this node: [family][internal, external].
    std::array<std::array<std::uint64_t, 2>, 2> without_local_backends{};
};

struct MetricFacts {
    PassMetrics passes;
    kube::SourceState source;
    EventCounts events;
    Answers answers;
    bool healthy = true;
    bool node_leaving = false;
    std::optional<std::uint64_t> flow_entries;  // nothing: not walked over yet
    std::optional<KernelFacts> kernel;          // nothing: could not be read
    ProcessFacts process;
};

// In Prometheus' text format.
[[nodiscard]] std::string metrics_text(const MetricFacts& facts);
// What Kubernetes' components tell of their own checks.
[[nodiscard]] std::string slis_text(const Answers& answers);

// How many Services of each family and policy have their backends elsewhere.
[[nodiscard]] std::array<std::array<std::uint64_t, 2>, 2> without_local_backends(std::span<const svclb_service> rows);

}  // namespace svclb::agent
