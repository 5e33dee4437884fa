// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "agent.hpp"

#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <utility>

#include "running_agent.hpp"
#include "status_row.hpp"
#include "svclb/base/log.hpp"
#include "svclb/model/text.hpp"

namespace svclb::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kTick{250};
// Flow entries that the collector looks at in one tick: bounds what it adds to the delay of an event.
constexpr std::uint32_t kCollectBudget = 4096;
// From the end of one walk over the flow tables to the beginning of the next.
constexpr seconds kCollectPause{10};
constexpr seconds kRetryPause{1};
constexpr seconds kHealthRetryPause{5};   // of a port that is taken
constexpr std::size_t kLargePass = 1000;  // Services

}  // namespace

Status Agent::start() {
    auto& status = datapath_.status();
    const auto slots_capacity = status.slots_capacity;
    status = {};
    status.abi_version = SVCLB_ABI_VERSION;
    status.slots_capacity = slots_capacity;
    status.pid = static_cast<std::uint32_t>(::getpid());
    status.started_ns = nanoseconds(now());
    put_text(status.node, config_.node_name);
    put_text(status.source, input_.text);
    const auto& sockets = datapath_.sockets();
    status.sockets_attached = sockets.attached ? 1 : 0;
    put_text(status.sockets, sockets.text);
    put_text(status.pod_sockets, sockets.pods);
    if (sockets.attached || !config_.datapath.sockets.host)
        spdlog::info("host sockets: {}", sockets.text);
    else
        spdlog::warn("host sockets are not translated: {}", sockets.text);

    if (auto opened = event_loop_.open(kTick); !opened) return opened;
    if (auto served = serving_.start(); !served) return served;
    for (const int fd : {grace_.fd(), addresses_.fd(), input_.source->fd()})
        if (auto watched = event_loop_.watch(fd); !watched) return watched;

    // Slots that no published row points at are free to the reconciler at once; a program that was running when the
    // last agent ended may still read them.
    if (auto waited = datapath_.wait_grace_period(); !waited) return waited;
    read_addresses();
    read_source();
    tell_source();
    return follow_devices();
}

Status Agent::loop() {
    for (;;) {
        const auto readable = event_loop_.wait();
        if (!readable) return fail(readable.error());
        for (const int fd : *readable) {
            const auto more = handle(fd);
            if (!more) return fail(more.error());
            if (*more) continue;
            datapath_.status().pid = 0;
            spdlog::info("stopping; the data path goes on");
            return {};
        }
    }
}

Result<bool> Agent::handle(int fd) {
    if (event_loop_.is_end(fd)) return false;
    if (fd == devices_.fd()) {
        if (auto read = read_devices(); !read) return fail(read.error());
    } else if (fd == addresses_.fd()) {
        read_addresses();
        run_due_pass();
    } else if (fd == input_.source->fd()) {
        read_source();
    } else if (fd == grace_.fd()) {
        if (const auto ticket = grace_.finish())
            reconciler_.release(*ticket);
        else
            spdlog::warn("{}", ticket.error().message());
        begin_grace_period();
    } else if (event_loop_.take_tick(fd)) {
        tick();
    }
    return follow_devices().map([] { return true; });
}

void Agent::read_source() {
    auto change = input_.source->changes();
    // It may come back; what is programmed goes on serving.
    if (!change) {
        spdlog::error("{}", change.error().message());
        put_text(datapath_.status().error, change.error().message());
        return;
    }
    if (!change->problems.empty() || change->refusals_changed)
        problems_.tell_refused(change->problems, input_.source->refusals(), now());
    datapath_.status().invalid_objects = change->invalid_objects;
    // Where devices are followed already nobody would forget what comes out larger than is needed.
    if (change->complete && !follows_devices_) datapath_.foresee(rooms_for(*change));
    sync_.take(std::move(*change), now());
    run_due_pass();
}

// All that has arrived while this pass runs is one change to the next one.
void Agent::run_due_pass() {
    if (!sync_.due()) return;
    serving_.on_queued(now());
    run_pass();
}

// After each pass, and from time to time where a port is taken.
void Agent::serve_health_checks() {
    // Where node ports are; but a balancer may ask at its own address, which is no device's, where all are to serve.
    node_health_.serve(sync_.health_checks(), is_all(config_.node_ports) ? std::vector<model::Address>{}
                                                                         : sync_.cluster().node().node_port_addresses);
    health_retry_at_s_ = monotonic_s() + static_cast<std::uint64_t>(kHealthRetryPause.count());
    tell_problems();
}

void Agent::tell_problems() {
    auto warnings = sync_.warnings();
    warnings.insert(warnings.end(), node_health_.warnings().begin(), node_health_.warnings().end());
    for (const auto& [ifindex, unserved] : unserved_)
        warnings.push_back({"Device " + model::printable(unserved.device.name), "NotServed", unserved.why});
    std::ranges::sort(warnings);
    problems_.tell(std::move(warnings), now());
}

void Agent::run_pass() {
    // An agent that drains: before the Services go, or their addresses would be nobody's for a while.
    if (service_ranges().empty()) set_service_cidrs();
    auto report = sync_.pass(now());
    report.ended = now();
    for (const auto& [family, at] : sync_.take_triggers()) report.delays.push_back({family, report.ended - at});
    show_pass(datapath_.status(), report);
    serving_.on_pass(report);
    // An API server knows every Node; in manifests there need not be any.
    serving_.on_node(sync_.cluster().node_leaving().value_or(report.complete && input_.transport));
    for (const auto& error : sync_.errors()) spdlog::error("programming: {}", error.message());
    put_text(datapath_.status().error, sync_.errors().empty() ? "" : sync_.errors().front().message());
    note_sync(report.ended);
    if (sync_.wants_retry()) retry_at_s_ = monotonic_s() + static_cast<std::uint64_t>(kRetryPause.count());
    if (!report.complete && report.held_services != 0 && !std::exchange(held_told_, true))
        // An API server needs its time; a directory is wrong.
        spdlog::log(input_.transport ? spdlog::level::info : spdlog::level::warn,
                    "the input cannot be read as a whole yet: held_services={}", report.held_services);
    spdlog::debug("pass writes={} failures={}", report.writes, report.failures);
    datapath_.status().slots_capacity = datapath_.tables().capacity(datapath::Sized::slots);
    serve_health_checks();
    tell_node_ports();
    set_node_addresses();
    set_service_cidrs();
    begin_grace_period();
    if (report.epochs != 0) stale_sockets_.look();
    end_stale_sockets();
    // What a first sync needed meanwhile, a third of all at its end, would stay with us for good.
    if (report.services_built >= kLargePass) ::malloc_trim(0);
}

// With an API server that has not told everything yet, nothing is in step; a directory has told what it can.
void Agent::note_sync(RealTime when) {
    const bool told = sync_.complete() || !input_.transport;
    if (told && follows_devices_ && sync_.errors().empty()) datapath_.status().synced_ns = nanoseconds(when);
}

void Agent::tell_source() {
    const auto state = input_.source->state();
    show_source(datapath_.status(), state, now());
    serving_.on_source(state, problems_.events());
    if (const auto line = source_log_.next(state))
        spdlog::log(line->warning ? spdlog::level::warn : spdlog::level::info, "{}", line->text);
}

void Agent::end_stale_sockets() {
    datapath_.status().sockets_ended += stale_sockets_.step(monotonic_s());
    show_sockets(datapath_.status(), datapath_.sockets().text, stale_sockets_.problem());
}

void Agent::tick() {
    collect_flows();
    retry_devices();
    catch_host_packets();
    follow_pod_sockets();
    end_stale_sockets();
    tell_source();
    problems_.step(datapath_.status().source_connected != 0, now());
    if (!node_health_.warnings().empty() && monotonic_s() >= health_retry_at_s_) serve_health_checks();
    if (!sync_.wants_retry() || monotonic_s() < retry_at_s_) return;
    sync_.retry();
    run_pass();
}

void Agent::collect_flows() {
    if (monotonic_s() < collect_at_s_) return;
    const auto step = datapath_.collect(config_.flow_timeouts, monotonic_s(), kCollectBudget);
    if (!step) {
        spdlog::warn("{}", step.error().message());
        return;
    }
    datapath_.status().collected += step->removed;
    flow_entries_ += step->visited;
    if (!step->finished) return;
    serving_.on_flows(std::exchange(flow_entries_, 0));
    // A crowded table is walked again at once.
    if (step->crowded) return;
    collect_at_s_ = monotonic_s() + static_cast<std::uint64_t>(kCollectPause.count());
}

void Agent::begin_grace_period() {
    if (reconciler_.resting() && !grace_.busy()) grace_.begin(reconciler_.ticket());
}

Status run(const Config& config) {
    EventLoop::hold_end_signals();
    auto state = StateDir::take(config.state_dir);
    if (!state) return fail(state.error());
    // Before anything in the kernel is touched: wrong input must not empty a node.
    auto input = open_input(config);
    if (!input) return fail(input.error());
    auto devices = datapath::Devices::open(config.devices);
    if (!devices) return fail(devices.error());
    auto addresses = datapath::Addresses::open();
    if (!addresses) return fail(addresses.error());
    auto options = config.datapath;
    const auto present = devices->present();
    if (!present) return fail(present.error());
    for (const auto& device : *present) options.expected.insert(device.kind);
    if (config.host_packets) options.expected.insert(datapath::LinkKind::host);
    auto datapath = datapath::Datapath::open(options);
    if (!datapath) {
        for (const auto& missing : datapath::missing_features(config.datapath.sockets))
            if (missing.needed) return fail(Error::invalid(missing.what));
        return fail(datapath.error());
    }
    auto reconciler = reconcile::Reconciler::adopt(datapath->tables());
    if (!reconciler) return fail(reconciler.error());
    Agent agent{config,
                std::move(*state),
                std::move(*datapath),
                std::move(*reconciler),
                std::move(*devices),
                std::move(*addresses),
                std::move(*input)};
    if (auto started = agent.start(); !started) return started;
    return agent.loop();
}

Status clean_up(const Config& config) {
    auto state = StateDir::take(config.state_dir);
    if (!state) return fail(state.error());
    if (auto cleaned = datapath::cleanup(config.datapath.bpf_dir); !cleaned) return cleaned;
    std::error_code code;
    std::filesystem::remove_all(config.state_dir, code);
    // In a container the directory itself is a mount point, its root often read-only, and stays.
    if (code && code != std::errc::device_or_resource_busy && code != std::errc::read_only_file_system)
        return fail({code, fmt::format("remove {}", config.state_dir.string())});
    return {};
}

}  // namespace svclb::agent
