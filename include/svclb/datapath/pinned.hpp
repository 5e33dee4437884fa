// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What a datapath has in the kernel, seen from outside and with no agent needed: the pinned maps and links of one
// BPF_DIR, for svclb-ctl and for tests. It reads; the one thing that it can change is flows that are to go.
//
// The maps are those that were pinned at open(). The agent may put a larger one in the place of one of them while this
// object lives: what keeps looking (monitor, top) opens anew for each look.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "svclb/abi.h"
#include "svclb/abi/uplinks.h"
#include "svclb/base/result.hpp"
#include "svclb/datapath/datapath.hpp"

namespace svclb::datapath {

// The names of all socket hooks.
[[nodiscard]] std::vector<std::string_view> socket_hooks();

using FlowKey = std::variant<svclb_flow_key4, svclb_flow_key6>;

struct MapInfo {
    std::string name;
    std::string type;           // "hash", "lru_hash", "array", "percpu_array"
    std::uint32_t entries = 0;  // rows in use; of an array: all of them
    std::uint32_t max_entries = 0;
    std::uint64_t bytes = 0;  // memory that the kernel charges for it
};

class Pinned {
public:
    // An error names the directory, and says so when no agent ever ran there or when it speaks another ABI version.
    static Result<Pinned> open(const std::filesystem::path& bpf_dir);

    Pinned(Pinned&&) noexcept;
    Pinned& operator=(Pinned&&) noexcept;
    ~Pinned();

    // In whichever PID namespace it may be.
    [[nodiscard]] bool agent_runs() const;

    // A copy: the agent writes into the row meanwhile. Strings in it always end.
    [[nodiscard]] svclb_agent_status agent() const;

    // Array rows, index 0 included; they change under the reader as the agent writes.
    [[nodiscard]] std::span<const svclb_service> services() const;
    [[nodiscard]] std::span<const svclb_slot> slots() const;
    [[nodiscard]] const svclb_filters& filters() const;

    // Hash rows, in no defined order. A map that changes during the walk may show a row twice or miss a new one.
    Status each_frontend(const std::function<void(const svclb_frontend_key&, const svclb_frontend&)>& visit) const;
    Status each_range(const std::function<void(const svclb_source_range&)>& visit) const;
    Status each_desired(const std::function<void(const svclb_frontend_key&, const svclb_frontend&)>& visit) const;
    Status each_backend(const std::function<void(const svclb_backend_key&, const svclb_backend&)>& visit) const;
    Status each_name(const std::function<void(std::uint32_t service, const svclb_service_name&)>& visit) const;
    Status each_xdp_link(const std::function<void(std::uint32_t ifindex, const svclb_xdp_link&)>& visit) const;
    // Nothing where the agent is of a release that showed none.
    Status each_problem(const std::function<void(std::uint32_t number, const svclb_problem&)>& visit) const;
    Status each_string(const std::function<void(std::uint32_t id, const svclb_string&)>& visit) const;
    // `established` tells the two tables apart: false = opening or one-way.
    Status each_flow(
        const std::function<void(const FlowKey& key, const svclb_flow& flow, bool established)>& visit) const;
    Status each_affinity(const std::function<void(const svclb_affinity_key&, const svclb_affinity&)>& visit) const;

    // Summed over CPUs.
    [[nodiscard]] Result<svclb_counter> service_counter(std::uint32_t service) const;
    [[nodiscard]] Result<svclb_counter> backend_counter(std::uint32_t backend) const;
    [[nodiscard]] Result<svclb_drop_counter> drop_counter(svclb_reason reason) const;
    // Nothing where the agent is of a release without XDP; as the next one.
    [[nodiscard]] Result<svclb_xdp_counter> xdp_counter(svclb_xdp_action action) const;
    // Of each uplink: "native", "generic", or "off" where tc alone serves it.
    [[nodiscard]] Result<std::map<std::string, std::string>> xdp_modes() const;
    // Which uplinks XDP serves, and why it does not serve the others.
    [[nodiscard]] std::string xdp_text() const;

    // Without `count_rows`, which walks over every hash, their entries are 0.
    [[nodiscard]] Result<std::vector<MapInfo>> maps(bool count_rows = true) const;
    // tcx links from their pins, clsact filters from the devices of the caller's network namespace: in another
    // namespace than the agent's, names may be wrong and filters are not seen.
    [[nodiscard]] Result<std::vector<AttachedLink>> links() const;

    // Removes the flows that have an entry which `wanted` names, both entries of each; returns how many flows that
    // were. A conversation that is alive begins anew with its next datagram or SYN; a TCP connection ends.
    Result<std::uint64_t> flush_flows(const std::function<bool(const FlowKey& key, const svclb_flow& flow)>& wanted);

private:
    struct State;
    explicit Pinned(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace svclb::datapath
