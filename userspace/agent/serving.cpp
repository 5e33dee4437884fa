// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "serving.hpp"

#include <utility>

#include "process_facts.hpp"
#include "svclb/base/log.hpp"
#include "svclb/datapath/pinned.hpp"

namespace svclb::agent {
namespace {

// From one try to listen on an address to the next one, as kube-proxy does it.
constexpr std::chrono::seconds kRetryPause{5};

constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

RealTime now() {
    return std::chrono::system_clock::now();
}

// Opened for each answer: the agent may put a larger map in the place of one of them.
std::optional<KernelFacts> kernel_facts(const std::filesystem::path& bpf_dir) {
    const auto pinned = datapath::Pinned::open(bpf_dir);
    if (!pinned) return std::nullopt;
    KernelFacts facts;
    facts.agent = pinned->agent();
    facts.without_local_backends = without_local_backends(pinned->services());
    auto maps = pinned->maps(false);
    if (!maps) return std::nullopt;
    facts.maps = std::move(*maps);
    for (std::size_t i = 0; i < facts.reasons.size(); ++i) {
        const auto counter = pinned->drop_counter(static_cast<svclb_reason>(i));
        if (!counter) return std::nullopt;
        facts.reasons.at(i) = *counter;
    }
    for (std::size_t i = 0; i < facts.xdp.size(); ++i) {
        const auto counter = pinned->xdp_counter(static_cast<svclb_xdp_action>(i));
        if (!counter) return std::nullopt;
        facts.xdp.at(i) = *counter;
    }
    auto modes = pinned->xdp_modes();
    if (!modes) return std::nullopt;
    facts.xdp_modes = std::move(*modes);
    return facts;
}

HttpAnswer plain(std::string body) {
    return {.body = std::move(body)};
}

}  // namespace

Serving::Serving(const Config& config) : config_(config) {
    health_.updated = now();
    healthz_.at = config.healthz_address;
    healthz_.routes = {{"/healthz", [this] { return probe(Probe::healthz); }},
                       {"/livez", [this] { return probe(Probe::livez); }}};
    metrics_.at = config.metrics_address;
    metrics_.routes = {{"/metrics", [this] { return metrics(); }},
                       {"/metrics/slis", [this] { return slis(); }},
                       {"/healthz", [this] { return ping(); }},
                       {"/proxyMode", [] { return plain("svclb"); }}};
}

Status Serving::start() {
    for (auto* door : {&healthz_, &metrics_})
        if (auto opened = open(*door); !opened && config_.bind_hard_fail) return opened;
    return {};
}

bool Serving::healthy() {
    const std::lock_guard lock(mutex_);
    return is_healthy(health_, now());
}

Status Serving::open(Door& door) {
    if (!door.at || door.server) return {};
    auto server = HttpServer::listen(*door.at, door.routes);
    if (!server) {
        auto error = server.error().message();
        if (error != door.error) spdlog::error("{}", error);
        door.error = std::move(error);
        return fail(server.error());
    }
    door.server = std::move(*server);
    spdlog::info("serving address={}", model::endpoint_text(door.at->address, door.at->port));
    return {};
}

void Serving::on_queued(RealTime when) {
    const std::lock_guard lock(mutex_);
    passes_.queued(when);
    if (!health_.waiting_since) health_.waiting_since = when;
}

void Serving::on_flows(std::uint64_t entries) {
    const std::lock_guard lock(mutex_);
    flow_entries_ = entries;
}

void Serving::on_pass(const PassReport& report) {
    const std::lock_guard lock(mutex_);
    passes_.passed(report);
    // A Service that is held for want of a whole view does not wait for us.
    if (report.retries != 0) return;
    health_.waiting_since.reset();
    health_.updated = report.ended;
}

void Serving::on_source(const kube::SourceState& state, const EventCounts& events) {
    {
        const std::lock_guard lock(mutex_);
        source_ = state;
        events_ = events;
    }
    const auto time = std::chrono::steady_clock::now();
    if (time < retry_at_) return;
    retry_at_ = time + kRetryPause;
    for (auto* door : {&healthz_, &metrics_}) (void)open(*door);
}

void Serving::on_node(bool deleting_or_gone) {
    const std::lock_guard lock(mutex_);
    health_.node_leaving = deleting_or_gone;
}

HttpAnswer Serving::probe(Probe which) {
    const std::lock_guard lock(mutex_);
    const bool for_balancers = which == Probe::healthz;
    auto answer = for_balancers ? healthz(health_, now()) : livez(health_, now());
    ++(for_balancers ? answers_.healthz : answers_.livez)[answer.status];
    return {.status = answer.status, .type = "application/json", .body = std::move(answer.body)};
}

HttpAnswer Serving::ping() {
    const std::lock_guard lock(mutex_);
    ++answers_.pings;
    return plain("ok");
}

HttpAnswer Serving::slis() {
    const std::lock_guard lock(mutex_);
    return {.type = kMetricsType, .body = slis_text(answers_)};
}

HttpAnswer Serving::metrics() {
    MetricFacts facts;
    facts.kernel = kernel_facts(config_.datapath.bpf_dir);
    facts.process = process_facts();
    {
        const std::lock_guard lock(mutex_);
        facts.passes = passes_;
        facts.source = source_;
        facts.events = events_;
        facts.answers = answers_;
        facts.flow_entries = flow_entries_;
        facts.healthy = is_healthy(health_, now());
        facts.node_leaving = health_.node_leaving;
    }
    return {.type = kMetricsType, .body = metrics_text(facts)};
}

}  // namespace svclb::agent
