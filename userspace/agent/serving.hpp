// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The health and the metrics server. Observes the agent on the agent's own thread and answers on the servers'; a copy
// of the facts under a lock is all that they share.
#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "config.hpp"
#include "health.hpp"
#include "http_server.hpp"
#include "metrics.hpp"
#include "observe.hpp"
#include "svclb/base/result.hpp"

namespace svclb::agent {

class Serving : public Observer {
public:
    // `config` has to live longer. Signals should be blocked: the servers have threads.
    explicit Serving(const Config& config);

    // Fails only where the configuration wants that: an address that is taken is tried again.
    Status start();
    // As /livez has it. From any thread.
    [[nodiscard]] bool healthy();

    void on_queued(RealTime when) override;
    void on_flows(std::uint64_t entries) override;
    void on_pass(const PassReport& report) override;
    void on_source(const kube::SourceState& state, const EventCounts& events) override;
    void on_node(bool deleting_or_gone) override;

private:
    enum class Probe : std::uint8_t { healthz, livez };

    // One of the two, and what became of it.
    struct Door {
        std::optional<model::AddressPort> at;
        HttpRoutes routes;
        std::optional<HttpServer> server;
        std::string error;  // told
    };

    Status open(Door& door);
    HttpAnswer probe(Probe which);
    HttpAnswer ping();
    HttpAnswer metrics();
    HttpAnswer slis();

    const Config& config_;
    std::mutex mutex_;
    Health health_;                              // these
    PassMetrics passes_;                         // are
    kube::SourceState source_;                   // guarded
    EventCounts events_;                         // by
    Answers answers_;                            // the
    std::optional<std::uint64_t> flow_entries_;  // mutex
    std::chrono::steady_clock::time_point retry_at_;
    // Last: they end before what they answer from.
    Door healthz_;
    Door metrics_;
};

}  // namespace svclb::agent
