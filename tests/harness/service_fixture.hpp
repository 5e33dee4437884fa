// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Writes what the agent would write for one service port, in the same order: filter bytes, backends, slots, the run,
// the frontend. Rows only: no code of the agent's.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "packet.hpp"
#include "prog_run.hpp"
#include "svclb/abi.h"

namespace svclb::test {

struct ServiceOptions {
    svclb_set set = SVCLB_SET_CLUSTER;  // the one that clients of the frontend use
    std::uint32_t affinity_s = 0;
    svclb_algorithm algorithm = SVCLB_ALGORITHM_RANDOM;
    svclb_verdict verdict_when_empty = SVCLB_VERDICT_REJECT;
    svclb_frontend_kind kind = SVCLB_FRONTEND_CLUSTER_IP;
    std::vector<Endpoint> on_node{};         // the backends that are known to be on this node
    std::optional<svclb_set> outside_set{};  // the one for clients outside, if it is another
    bool source_ranges = false;              // only who is in a row of source_ranges may dial it
    bool dsr = false;                        // answered directly; all its backends have a node's name then
};

// One service port with one frontend, at the index `index` of services (never 0). The rows stay until
// Datapath::clear().
class ServiceFixture {
public:
    ServiceFixture(Datapath& datapath, std::uint32_t index, const Endpoint& frontend, std::uint8_t proto,
                   const std::vector<Endpoint>& backends, const ServiceOptions& options = {});

    // A new run with these slots, in this order; a backend that is named twice has twice the weight. Backends that were
    // there before and are no longer keep their rows: see the next two.
    void publish(const std::vector<Endpoint>& slots) { publish(slots, options_.set); }
    void publish(const std::vector<Endpoint>& slots, svclb_set set);
    // The backend may keep its UDP conversations but gets no new ones, unless it is still in a slot.
    void drain(const Endpoint& backend);
    void remove_backend(const Endpoint& backend);
    // No new flow comes from this frontend any more; the service port itself stays.
    void remove_frontend(const Endpoint& frontend);
    void add_frontend(const Endpoint& frontend);
    // Frontend, slots, backends and the service port's row: as when the Service is deleted.
    void remove();

    [[nodiscard]] std::uint32_t index() const { return index_; }
    [[nodiscard]] const Endpoint& frontend() const { return frontend_; }
    // Id in backend_counters.
    [[nodiscard]] std::uint32_t id_of(const Endpoint& backend) const;

private:
    void put_backend(const Endpoint& backend, std::uint8_t state, std::uint8_t flags);
    svclb_service& row() { return datapath_.service(index_); }

    Datapath& datapath_;
    std::uint32_t index_;
    Endpoint frontend_;
    std::uint8_t proto_;
    ServiceOptions options_;
    std::vector<Endpoint> known_;  // backends by id: id_of() is the position and an offset for the service port
    std::uint16_t generation_ = 0;
    std::uint32_t next_slot_;
};

// Marks an address as a ClusterIP, so that its unknown ports are refused.
void mark_cluster_ip(Datapath& datapath, const Ip& address);

}  // namespace svclb::test
