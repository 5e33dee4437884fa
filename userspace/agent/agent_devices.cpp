// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The node's devices and addresses, and what the programs are told of both.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "masquerade.hpp"
#include "running_agent.hpp"
#include "status_row.hpp"
#include "svclb/base/log.hpp"
#include "svclb/model/text.hpp"
#include "uplink_sources.hpp"

namespace svclb::agent {
namespace {

using std::chrono::seconds;

constexpr seconds kDevicesPause{10};
constexpr seconds kHostPacketsPause{10};
constexpr seconds kPodSocketsPause{1};
constexpr seconds kPodSocketsFailedPause{10};

const char* text_of(datapath::LinkKind kind) {
    return kind == datapath::LinkKind::pod ? "pod link" : "uplink";
}

}  // namespace

// Where they cannot be read, those that are known go on serving.
void Agent::read_addresses() {
    const auto found = addresses_.changes();
    if (!found) return spdlog::error("addresses of the node: {}", found.error().message());
    set_uplink_addresses();
    if (!*found) return;
    std::vector<model::Address> addresses;
    for (const auto& bytes : **found) addresses.push_back({.bytes = bytes});
    sync_.set_local_addresses(std::move(addresses));
}

void Agent::set_uplink_addresses() {
    const auto& primary = sync_.cluster().node().primary;
    // Nobody has told us yet who we are: what a former agent wrote stays.
    if (primary.empty() && !sync_.complete()) return;
    const auto rows = uplink_sources(datapath_.attached(), addresses_.by_device(), primary);
    if (auto set = datapath_.set_uplink_addresses(rows); !set)
        spdlog::error("addresses of uplinks: {}", set.error().message());
}

// After a pass: those of the Node object come with what the source tells.
void Agent::tell_node_ports() {
    const auto& serving = sync_.cluster().node().node_port_addresses;
    if (serving == node_port_addresses_) return;
    node_port_addresses_ = serving;
    std::string text;
    for (const auto& address : serving) text += (text.empty() ? "" : ",") + model::to_string(address);
    spdlog::info("node ports addresses={}", text);
}

void Agent::set_node_addresses() {
    svclb_node_addresses row{};
    for (const auto& address : sync_.cluster().node().primary)
        std::memcpy(address.family() == model::Family::ipv4 ? row.v4 : row.v6, address.bytes.data(), sizeof(row.v4));
    datapath_.set_node_addresses(row);
    set_uplink_addresses();
    datapath_.set_masquerade(masquerade_row(config_.masquerade, sync_.cluster().pod_cidrs()));
}

// The flag's and the objects' together.
std::vector<model::Cidr> Agent::service_ranges() const {
    auto ranges = sync_.cluster().service_cidrs();
    ranges.insert(ranges.end(), config_.service_cidrs.begin(), config_.service_cidrs.end());
    std::ranges::sort(ranges);
    ranges.erase(std::unique(ranges.begin(), ranges.end()), ranges.end());
    return ranges;
}

// None before all Services are known: theirs would be dropped.
void Agent::set_service_cidrs() {
    if (!sync_.complete()) return;
    const auto ranges = service_ranges();
    if (service_cidrs_ == ranges) return;
    service_cidrs_ = ranges;
    std::vector<svclb_cidr> rows(ranges.size());
    std::ranges::transform(ranges, rows.begin(), abi_cidr);
    if (auto set = datapath_.set_service_cidrs(rows); !set) spdlog::error("{}", set.error().message());
    host_packets_due_ = true;
}

// The tables first, the devices afterwards: a node that starts anew has no packet answered from empty tables, and one
// whose tables a former agent has filled need not wait for anybody.
Status Agent::follow_devices() {
    if (follows_devices_ || !(sync_.complete() || sync_.programmed())) return {};
    if (auto ready = datapath_.serve(); !ready) return ready;
    follows_devices_ = true;
    if (auto watched = event_loop_.watch(devices_.fd()); !watched) return watched;
    if (auto read = read_devices(); !read) return read;
    catch_host_packets();
    note_sync(now());
    spdlog::info("ready services={} slices={} links={}", sync_.cluster().service_count(), sync_.cluster().slice_count(),
                 datapath_.attached().size());
    return {};
}

Status Agent::read_devices() {
    const auto changes = devices_.changes();
    if (!changes) return fail(changes.error());
    for (const auto& change : *changes) {
        const auto& device = change.device;
        unserved_.erase(device.ifindex);
        if (!change.gone) {
            attach(device);
        } else if (auto detached = datapath_.detach(device.ifindex); !detached) {
            spdlog::error("link {} ifindex={}: {}", device.name, device.ifindex, detached.error().message());
        } else {
            spdlog::info("detached {} name={} ifindex={}", text_of(device.kind), device.name, device.ifindex);
        }
    }
    tell_problems();
    set_uplink_addresses();
    host_packets_due_ = true;
    pod_sockets_due_ = true;
    follow_pod_sockets();
    return {};
}

// What cannot be served is tried again: its programs may not have been loaded for want of memory.
void Agent::attach(const datapath::Device& device) {
    const auto attached = datapath_.attach(device.ifindex, device.name, device.kind, device.hardware);
    if (!attached) {
        unserved_.insert_or_assign(device.ifindex, Unserved{device, model::printable(attached.error().message())});
        devices_retry_at_s_ = monotonic_s() + static_cast<std::uint64_t>(kDevicesPause.count());
        return;
    }
    spdlog::info("attached {} name={} ifindex={}", text_of(device.kind), device.name, device.ifindex);
}

void Agent::retry_devices() {
    if (unserved_.empty() || monotonic_s() < devices_retry_at_s_) return;
    for (const auto& [ifindex, unserved] : std::exchange(unserved_, {})) attach(unserved.device);
    tell_problems();
    set_uplink_addresses();
    host_packets_due_ = true;
    pod_sockets_due_ = true;
}

// When a link has come or gone, and every second while a pod has no address yet; at most once a second, for a pod is
// given up after so many looks.
void Agent::follow_pod_sockets() {
    const auto second = monotonic_s();
    if (second == pod_sockets_looked_s_) return;
    if (!pod_sockets_due_ && (pod_sockets_at_s_ == 0 || second < pod_sockets_at_s_)) return;
    pod_sockets_due_ = false;
    pod_sockets_looked_s_ = second;
    const auto settled = datapath_.follow_pod_sockets();
    const auto pause = settled ? kPodSocketsPause : kPodSocketsFailedPause;
    pod_sockets_at_s_ = settled && *settled ? 0 : monotonic_s() + static_cast<std::uint64_t>(pause.count());
    const auto& text = datapath_.sockets().pods;
    put_text(datapath_.status().pod_sockets, text);
    if (text == pod_sockets_told_) return;
    pod_sockets_told_ = text;
    if (settled)
        spdlog::info("pod sockets: {}", text);
    else
        spdlog::warn("pod sockets: {}", text);
}

// At most once a tick; of addresses nobody tells us, so every few seconds anyway.
void Agent::catch_host_packets() {
    if (!follows_devices_ || (!host_packets_due_ && monotonic_s() < host_packets_at_s_)) return;
    host_packets_due_ = false;
    host_packets_at_s_ = monotonic_s() + static_cast<std::uint64_t>(kHostPacketsPause.count());
    std::string text = "switched off";
    if (!config_.host_packets) {
        if (auto left = datapath_.leave_host_packets(); !left) text = left.error().message();
    } else if (const auto caught = datapath_.catch_host_packets(); !caught) {
        text = fmt::format("not in force: {}", caught.error().message());
    } else {
        text = caught->empty() ? "not in force: no Service CIDR is known, or no address of the node" : *caught;
    }
    if (text == host_packets_told_) return;
    host_packets_told_ = text;
    put_text(datapath_.status().host_packets, text);
    spdlog::info("host packets: {}", text);
}

}  // namespace svclb::agent
