// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// An agent while it runs: what its parts are, and which of them acts on what. agent.cpp has the loop and the passes,
// agent_devices.cpp the node's devices and addresses.
#pragma once

#include <chrono>
#include <cstdint>
#include <ctime>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "event_loop.hpp"
#include "grace.hpp"
#include "input.hpp"
#include "node_health.hpp"
#include "problems.hpp"
#include "serving.hpp"
#include "source_log.hpp"
#include "stale_sockets.hpp"
#include "state_dir.hpp"
#include "svclb/base/result.hpp"
#include "svclb/datapath/addresses.hpp"
#include "svclb/datapath/datapath.hpp"
#include "svclb/datapath/devices.hpp"
#include "svclb/reconcile/reconciler.hpp"
#include "sync.hpp"

namespace svclb::agent {

inline RealTime now() {
    return std::chrono::system_clock::now();
}

// CLOCK_MONOTONIC, as the programs write it.
inline std::uint64_t monotonic_s() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec);
}

class Agent {
public:
    Agent(const Config& config, StateDir state, datapath::Datapath datapath, reconcile::Reconciler reconciler,
          datapath::Devices devices, datapath::Addresses addresses, Input input)
        : config_(config),
          state_(std::move(state)),
          datapath_(std::move(datapath)),
          reconciler_(std::move(reconciler)),
          devices_(std::move(devices)),
          addresses_(std::move(addresses)),
          input_(std::move(input)),
          sync_({.node_name = config.node_name,
                 .api = input_.api_seed,
                 .node_addresses = config.node_addresses,
                 .node_ports = config.node_ports,
                 .algorithm = config.algorithm,
                 .masquerade_all = config.masquerade.all},
                reconciler_),
          serving_(config),
          node_health_([this] { return serving_.healthy(); }),
          problems_(datapath_, sync_.cluster(), input_.transport.get(), config.node_name),
          stale_sockets_([this](std::uint32_t messages) { return datapath_.end_stale_sockets(messages); }),
          grace_([this] { return datapath_.wait_grace_period(); }),
          source_log_(input_.text) {}

    Status start();
    Status loop();

private:
    Result<bool> handle(int fd);  // false: the end

    void read_source();
    void run_due_pass();
    void run_pass();
    void note_sync(RealTime when);
    void tell_source();
    [[nodiscard]] std::vector<model::Cidr> service_ranges() const;
    void set_service_cidrs();
    void read_addresses();
    void tell_node_ports();
    void set_node_addresses();
    void set_uplink_addresses();
    void serve_health_checks();
    Status follow_devices();
    Status read_devices();
    void attach(const datapath::Device& device);
    void retry_devices();
    void tell_problems();
    void catch_host_packets();
    void follow_pod_sockets();
    void end_stale_sockets();
    void tick();
    void collect_flows();
    void begin_grace_period();

    const Config& config_;
    StateDir state_;
    datapath::Datapath datapath_;
    reconcile::Reconciler reconciler_;
    datapath::Devices devices_;
    datapath::Addresses addresses_;
    Input input_;
    Sync sync_;
    Serving serving_;
    NodeHealth node_health_;
    Problems problems_;
    StaleSockets stale_sockets_;
    GraceWaiter grace_;
    EventLoop event_loop_;
    std::uint64_t retry_at_s_ = 0;
    std::uint64_t health_retry_at_s_ = 0;
    std::uint64_t collect_at_s_ = 0;
    std::uint64_t flow_entries_ = 0;                         // seen by this walk over the tables
    std::optional<std::vector<model::Cidr>> service_cidrs_;  // until they are set, a former agent's are in force
    std::vector<model::Address> node_port_addresses_;        // told
    bool follows_devices_ = false;                           // once the tables are worth it
    struct Unserved {
        datapath::Device device;
        std::string why;  // printable
    };
    std::map<int, Unserved> unserved_;  // by ifindex
    std::uint64_t devices_retry_at_s_ = 0;
    bool host_packets_due_ = true;
    std::uint64_t host_packets_at_s_ = 0;
    std::string host_packets_told_;
    bool pod_sockets_due_ = false;
    std::uint64_t pod_sockets_at_s_ = 0;
    std::uint64_t pod_sockets_looked_s_ = 0;
    std::string pod_sockets_told_;
    bool held_told_ = false;
    SourceLog source_log_;
};

}  // namespace svclb::agent
