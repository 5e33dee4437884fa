// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "agent.hpp"

#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <ctime>
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
#include "status_row.hpp"
#include "svclb/base/log.hpp"
#include "svclb/datapath/addresses.hpp"
#include "svclb/datapath/datapath.hpp"
#include "svclb/datapath/devices.hpp"
#include "svclb/reconcile/reconciler.hpp"
#include "sync.hpp"

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
constexpr seconds kHealthRetryPause{5};  // of a port that is taken
constexpr seconds kHostPacketsPause{10};
constexpr std::size_t kLargePass = 1000;  // Services

RealTime now() {
    return std::chrono::system_clock::now();
}

// CLOCK_MONOTONIC, as the programs write it.
std::uint64_t monotonic_s() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec);
}

svclb_cidr abi_cidr(const model::Cidr& cidr) {
    svclb_cidr out{};
    std::array<std::uint8_t, 16> mask{};
    for (std::size_t bit = 0; bit < cidr.prefix; ++bit)
        mask[bit / 8] = static_cast<std::uint8_t>(mask[bit / 8] | 0x80U >> bit % 8);
    std::memcpy(out.addr, cidr.address.bytes.data(), sizeof(out.addr));
    std::memcpy(out.mask, mask.data(), sizeof(out.mask));
    return out;
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
                 .node_ports = config.node_ports},
                reconciler_),
          serving_(config),
          node_health_([this] { return serving_.healthy(); }),
          problems_(datapath_, sync_.cluster(), input_.transport.get(), config.node_name),
          stale_sockets_(datapath_),
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
    void set_service_cidrs();
    void read_addresses();
    void tell_node_ports();
    void set_node_addresses();
    void serve_health_checks();
    Status follow_devices();
    Status read_devices();
    void catch_host_packets();
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
    std::uint64_t flow_entries_ = 0;  // seen by this walk over the tables
    std::vector<model::Cidr> service_cidrs_;
    std::vector<model::Address> node_port_addresses_;  // told
    bool follows_devices_ = false;                     // once the tables are worth it
    bool host_packets_due_ = true;
    std::uint64_t host_packets_at_s_ = 0;
    std::string host_packets_told_;
    bool held_told_ = false;
    SourceLog source_log_;
};

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
    auto& invalid_objects = datapath_.status().invalid_objects;
    if (!change->problems.empty() || change->invalid_objects != invalid_objects)
        problems_.tell_refused(change->problems, input_.source->refusals(), now());
    invalid_objects = change->invalid_objects;
    sync_.take(std::move(*change), now());
    run_due_pass();
}

// All that has arrived while this pass runs is one change to the next one.
void Agent::run_due_pass() {
    if (!sync_.due()) return;
    serving_.on_queued(now());
    run_pass();
}

// Where they cannot be read, those that are known go on serving.
void Agent::read_addresses() {
    const auto found = addresses_.changes();
    if (!found) return spdlog::error("addresses of the node: {}", found.error().message());
    if (!*found) return;
    std::vector<model::Address> addresses;
    for (const auto& bytes : **found) addresses.push_back({.bytes = bytes});
    sync_.set_local_addresses(std::move(addresses));
}

// After each pass, and from time to time where a port is taken.
void Agent::serve_health_checks() {
    node_health_.serve(sync_.health_checks(), sync_.cluster().node().node_port_addresses);
    health_retry_at_s_ = monotonic_s() + static_cast<std::uint64_t>(kHealthRetryPause.count());
    auto warnings = sync_.warnings();
    warnings.insert(warnings.end(), node_health_.warnings().begin(), node_health_.warnings().end());
    std::ranges::sort(warnings);
    problems_.tell(std::move(warnings), now());
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

void Agent::run_pass() {
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
    stale_sockets_.step(monotonic_s());
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

void Agent::set_node_addresses() {
    svclb_node_addresses row{};
    for (const auto& address : sync_.cluster().node().primary)
        std::memcpy(address.family() == model::Family::ipv4 ? row.v4 : row.v6, address.bytes.data(), sizeof(row.v4));
    datapath_.set_node_addresses(row);
}

// The flag's and the objects' together, and none before all Services are known: theirs would be dropped.
void Agent::set_service_cidrs() {
    if (!sync_.complete()) return;
    auto ranges = sync_.cluster().service_cidrs();
    ranges.insert(ranges.end(), config_.service_cidrs.begin(), config_.service_cidrs.end());
    std::ranges::sort(ranges);
    ranges.erase(std::unique(ranges.begin(), ranges.end()), ranges.end());
    if (ranges == service_cidrs_) return;
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
        const bool uplink = device.kind == datapath::LinkKind::uplink;
        const auto status =
            change.gone ? datapath_.detach(device.ifindex) : datapath_.attach(device.ifindex, device.name, device.kind);
        if (!status)
            spdlog::error("link {} ifindex={}: {}", device.name, device.ifindex, status.error().message());
        else
            spdlog::info("{} {} name={} ifindex={}", change.gone ? "detached" : "attached",
                         uplink ? "uplink" : "pod link", device.name, device.ifindex);
    }
    host_packets_due_ = true;
    return {};
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

void Agent::tick() {
    collect_flows();
    catch_host_packets();
    stale_sockets_.step(monotonic_s());
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

}  // namespace

Status run(const Config& config) {
    auto state = StateDir::take(config.state_dir);
    if (!state) return fail(state.error());
    // Before anything in the kernel is touched: wrong input must not empty a node.
    auto input = open_input(config);
    if (!input) return fail(input.error());
    auto devices = datapath::Devices::open(config.devices);
    if (!devices) return fail(devices.error());
    auto addresses = datapath::Addresses::open();
    if (!addresses) return fail(addresses.error());
    auto datapath = datapath::Datapath::open(config.datapath);
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
    // In a container the directory itself is a mount point, and stays.
    if (code && code != std::errc::device_or_resource_busy)
        return fail({code, fmt::format("remove {}", config.state_dir.string())});
    return {};
}

}  // namespace svclb::agent
