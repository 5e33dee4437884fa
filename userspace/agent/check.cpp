// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// --check: what would keep run() from working, told on standard output. Changes nothing.
#include <poll.h>

#include <chrono>
#include <cstdio>

#include "agent.hpp"
#include "cluster.hpp"
#include "input.hpp"
#include "svclb/datapath/devices.hpp"

namespace svclb::agent {
namespace {

using Clock = std::chrono::steady_clock;

// An API server that has not told everything by then is a finding.
constexpr std::chrono::seconds kPatience{10};

bool check_kernel(const Config& config) {
    bool usable = true;
    for (const auto& missing : datapath::missing_features(config.datapath.sockets)) {
        std::printf("kernel: %s\n", missing.what.c_str());
        usable = usable && !missing.needed;
    }
    return usable;
}

// Reads until the first whole view.
Result<bool> read_input(Input& input, Cluster& cluster) {
    bool usable = true;
    for (const auto deadline = Clock::now() + kPatience;;) {
        auto change = input.source->changes();
        if (!change) return fail(change.error());
        for (const auto& problem : change->problems) {
            std::printf("%s: %s\n", input.text.c_str(), problem.c_str());
            usable = false;
        }
        const bool complete = change->complete;
        cluster.apply(std::move(*change));
        // A directory has told all that it holds.
        if (complete || !input.transport) return usable && complete;
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
        pollfd readable{.fd = input.source->fd(), .events = POLLIN, .revents = 0};
        if (left > 0 && ::poll(&readable, 1, static_cast<int>(left)) >= 0) continue;
        const auto error = input.source->state().error;
        std::printf("%s: not read as a whole within %d s%s%s\n", input.text.c_str(),
                    static_cast<int>(kPatience.count()), error.empty() ? "" : ": ", error.c_str());
        return false;
    }
}

bool check_objects(Cluster& cluster, const Config& config, const std::string& source) {
    bool usable = true;
    std::size_t service_ports = 0;
    for (const auto& [change, problems, health] : cluster.take_changes([](const auto&) { return false; })) {
        service_ports += change.state.size();
        for (const auto& problem : problems) {
            std::printf("%s: %s: %s\n", source.c_str(), problem.object.c_str(), problem.what.c_str());
            usable = false;
        }
    }
    std::printf("node %s: %zu Services, %zu EndpointSlices, %zu service ports by family\n", config.node_name.c_str(),
                cluster.service_count(), cluster.slice_count(), service_ports);
    return usable;
}

Status list_devices(const Config& config) {
    auto devices = datapath::Devices::open(config.devices);
    if (!devices) return fail(devices.error());
    const auto found = devices->changes();
    if (!found) return fail(found.error());
    for (const auto& [device, gone] : *found)
        std::printf("%s %s (ifindex %d)\n", device.kind == datapath::LinkKind::pod ? "pod link" : "uplink",
                    device.name.c_str(), device.ifindex);
    return {};
}

}  // namespace

Result<bool> check(const Config& config) {
    bool usable = check_kernel(config);
    auto input = open_input(config);
    if (!input) return fail(input.error());
    Cluster cluster{config.node_name, config.node_addresses, config.node_ports, config.algorithm,
                    config.masquerade.all};
    const auto read = read_input(*input, cluster);
    if (!read) return fail(read.error());
    usable = *read && usable;
    usable = check_objects(cluster, config, input->text) && usable;
    if (auto listed = list_devices(config); !listed) return fail(listed.error());
    std::printf("%s\n", usable ? "usable" : "not usable as it is");
    return usable;
}

}  // namespace svclb::agent
