// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "agent.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster.hpp"
#include "grace.hpp"
#include "state_dir.hpp"
#include "svclb/base/log.hpp"
#include "svclb/datapath/datapath.hpp"
#include "svclb/datapath/devices.hpp"
#include "svclb/kube/manifests.hpp"
#include "svclb/reconcile/reconciler.hpp"

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

std::uint64_t realtime_ns() {
    return static_cast<std::uint64_t>(
        std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count());
}

// CLOCK_MONOTONIC, as the programs write it.
std::uint64_t monotonic_s() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec);
}

template <std::size_t Size>
void put_text(char (&to)[Size], std::string_view text) {
    const auto size = std::min(text.size(), Size - 1);
    std::copy_n(text.begin(), size, to);
    std::fill(to + size, to + Size, '\0');
}

class Agent {
public:
    Agent(const Config& config, StateDir state, datapath::Datapath datapath, reconcile::Reconciler reconciler,
          datapath::Devices devices, kube::Manifests manifests)
        : config_(config),
          state_(std::move(state)),
          datapath_(std::move(datapath)),
          reconciler_(std::move(reconciler)),
          devices_(std::move(devices)),
          manifests_(std::move(manifests)),
          cluster_(config.node_name),
          grace_([this] { return datapath_.wait_grace_period(); }) {}

    Status start();
    Status loop();

private:
    Status watch(int fd);
    Result<bool> handle(int fd);  // false: the end

    Status read_manifests();
    Status read_devices();
    void hold_programmed(std::vector<reconcile::ServiceChange>& changes);
    void become_complete();
    std::vector<reconcile::ServiceChange> build_changes();
    void program(const std::vector<reconcile::ServiceChange>& changes);
    void report(const reconcile::PassResult& result, std::string_view what);
    void tick();
    void collect_flows();
    void begin_grace_period();

    const Config& config_;
    StateDir state_;
    datapath::Datapath datapath_;
    reconcile::Reconciler reconciler_;
    datapath::Devices devices_;
    kube::Manifests manifests_;
    Cluster cluster_;
    GraceWaiter grace_;
    UniqueFd epoll_;
    UniqueFd signals_;
    UniqueFd timer_;
    std::set<model::ObjectKey> retry_;
    std::uint64_t retry_at_s_ = 0;
    std::uint64_t collect_at_s_ = 0;
    std::set<model::Problem> known_problems_;
    bool ready_ = false;  // tables and devices: a sync counts from here on
    bool first_read_ = true;
    bool complete_ = false;            // every object has been read well once: only then may something disappear
    std::set<model::ObjectKey> held_;  // Services that stay as adopted until they change or the rest is complete
};

void block_signals(sigset_t& signals) {
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGTERM);
    ::sigaddset(&signals, SIGINT);
    ::sigprocmask(SIG_BLOCK, &signals, nullptr);
}

Status Agent::start() {
    auto& status = datapath_.status();
    status.pid = static_cast<std::uint32_t>(::getpid());
    status.started_ns = realtime_ns();
    status.synced_ns = 0;
    status.passes = status.writes = status.last_writes = status.failures = status.collected = 0;
    put_text(status.node, config_.node_name);
    put_text(status.source, "manifests " + config_.manifests.string());
    put_text(status.error, "");

    sigset_t signals{};
    block_signals(signals);
    epoll_ = UniqueFd{::epoll_create1(EPOLL_CLOEXEC)};
    signals_ = UniqueFd{::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK)};
    timer_ = UniqueFd{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
    const timespec interval{.tv_sec = 0, .tv_nsec = std::chrono::nanoseconds{kTick}.count()};
    const itimerspec ticks{.it_interval = interval, .it_value = interval};
    if (!epoll_ || !signals_ || !timer_ || ::timerfd_settime(timer_.get(), 0, &ticks, nullptr) != 0)
        return fail_errno(errno, "set up the event loop");
    for (const int fd : {signals_.get(), timer_.get(), grace_.fd(), devices_.fd(), manifests_.fd()})
        if (auto watched = watch(fd); !watched) return watched;

    // Slots that no published row points at are free to the reconciler at once; a program that was running when the
    // last agent ended may still read them.
    if (auto waited = datapath_.wait_grace_period(); !waited) return waited;
    // The tables first, the devices afterwards: a node that starts anew has no packet answered from empty tables.
    if (auto read = read_manifests(); !read) return read;
    if (auto read = read_devices(); !read) return read;
    ready_ = true;
    if (status.error[0] == '\0') status.synced_ns = realtime_ns();
    spdlog::info("ready services={} slices={} links={}", cluster_.service_count(), cluster_.slice_count(),
                 datapath_.attached().size());
    return {};
}

Status Agent::watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno(errno, "watch a descriptor");
    return {};
}

Status Agent::loop() {
    for (;;) {
        std::array<epoll_event, 8> events{};
        const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
        if (count < 0 && errno != EINTR) return fail_errno(errno, "wait for events");
        for (int i = 0; i < count; ++i) {
            const auto more = handle(events.at(static_cast<std::size_t>(i)).data.fd);
            if (!more) return fail(more.error());
            if (*more) continue;
            datapath_.status().pid = 0;
            spdlog::info("stopping; the data path goes on");
            return {};
        }
    }
}

Result<bool> Agent::handle(int fd) {
    Status status;
    if (fd == signals_.get()) return false;
    if (fd == devices_.fd()) {
        status = read_devices();
    } else if (fd == manifests_.fd()) {
        status = read_manifests();
    } else if (fd == grace_.fd()) {
        if (const auto ticket = grace_.finish())
            reconciler_.release(*ticket);
        else
            spdlog::warn("{}", ticket.error().message());
        begin_grace_period();
    } else {
        tick();
    }
    if (!status) return fail(status.error());
    return true;
}

Status Agent::read_manifests() {
    const auto change = manifests_.changes();
    // The directory may come back; what is programmed goes on serving.
    if (!change) {
        spdlog::error("{}", change.error().message());
        put_text(datapath_.status().error, change.error().message());
        return {};
    }
    for (const auto& problem : change->problems) spdlog::error("{}", problem);
    datapath_.status().invalid_objects = change->invalid_objects;
    cluster_.apply(*change);
    auto changes = build_changes();
    const bool whole = change->invalid_objects == 0;
    if (std::exchange(first_read_, false) && !whole) hold_programmed(changes);
    program(changes);
    if (whole && !complete_) become_complete();
    return {};
}

// What a Service lacks may only have been left out by a file that does not parse: what a former agent knew of it is
// better than the rest.
void Agent::hold_programmed(std::vector<reconcile::ServiceChange>& changes) {
    std::set<model::ObjectKey> programmed;
    for (const auto& id : reconciler_.programmed()) programmed.insert(id.service);
    std::erase_if(changes, [&](const auto& change) {
        return programmed.contains(change.service) && held_.insert(change.service).second;
    });
    spdlog::error("the manifests cannot be read as a whole: held_services={}", programmed.size());
}

void Agent::become_complete() {
    complete_ = true;
    for (const auto& service : held_) cluster_.mark_dirty(service);
    held_.clear();
    program(build_changes());
    report(reconciler_.retain_only(cluster_.service_keys()), "removing what no longer exists");
}

std::vector<reconcile::ServiceChange> Agent::build_changes() {
    std::vector<model::Problem> problems;
    auto changes = cluster_.take_changes(problems);
    for (const auto& problem : problems)
        if (known_problems_.insert(problem).second) spdlog::warn("{}: {}", problem.object, problem.what);
    datapath_.status().services = static_cast<std::uint32_t>(cluster_.service_count());
    datapath_.status().endpoint_slices = static_cast<std::uint32_t>(cluster_.slice_count());
    return changes;
}

void Agent::program(const std::vector<reconcile::ServiceChange>& changes) {
    for (const auto& change : changes) held_.erase(change.service);
    if (!changes.empty()) report(reconciler_.apply(changes), "programming");
}

void Agent::report(const reconcile::PassResult& result, std::string_view what) {
    auto& status = datapath_.status();
    status.passes++;
    status.writes += result.writes;
    status.last_writes = result.writes;
    status.failures += result.failures;
    status.slots_capacity = datapath_.tables().capacity(datapath::Sized::slots);
    for (const auto& error : result.errors) spdlog::error("{}: {}", what, error.message());
    for (const auto& conflict : result.conflicts)
        if (known_problems_.insert(conflict).second) spdlog::warn("{}: {}", conflict.object, conflict.what);
    put_text(status.error, result.errors.empty() ? "" : result.errors.front().message());
    if (result.errors.empty() && ready_) status.synced_ns = realtime_ns();
    retry_.insert(result.retry.begin(), result.retry.end());
    if (!result.retry.empty()) retry_at_s_ = monotonic_s() + static_cast<std::uint64_t>(kRetryPause.count());
    spdlog::debug("{} writes={} failures={}", what, result.writes, result.failures);
    begin_grace_period();
}

Status Agent::read_devices() {
    const auto changes = devices_.changes();
    if (!changes) return fail(changes.error());
    for (const auto& change : *changes) {
        const auto& device = change.device;
        if (!change.gone && device.kind != datapath::LinkKind::pod) {
            spdlog::info("uplink name={} ifindex={}", device.name, device.ifindex);
            continue;
        }
        const auto status =
            change.gone ? datapath_.detach(device.ifindex) : datapath_.attach_pod_link(device.ifindex, device.name);
        if (!status)
            spdlog::error("link {} ifindex={}: {}", device.name, device.ifindex, status.error().message());
        else
            spdlog::info("{} name={} ifindex={}", change.gone ? "detached" : "attached", device.name, device.ifindex);
    }
    return {};
}

void Agent::tick() {
    std::uint64_t expirations = 0;
    if (::read(timer_.get(), &expirations, sizeof(expirations)) != sizeof(expirations)) return;
    collect_flows();
    if (retry_.empty() || monotonic_s() < retry_at_s_) return;
    for (const auto& service : retry_) cluster_.mark_dirty(service);
    retry_.clear();
    program(build_changes());
}

void Agent::collect_flows() {
    if (monotonic_s() < collect_at_s_) return;
    const auto step = datapath_.collect({}, monotonic_s(), kCollectBudget);
    if (!step) {
        spdlog::warn("{}", step.error().message());
        return;
    }
    datapath_.status().collected += step->removed;
    if (step->finished) collect_at_s_ = monotonic_s() + static_cast<std::uint64_t>(kCollectPause.count());
}

void Agent::begin_grace_period() {
    if (reconciler_.resting() && !grace_.busy()) grace_.begin(reconciler_.ticket());
}

}  // namespace

Status run(const Config& config) {
    auto state = StateDir::take(config.state_dir);
    if (!state) return fail(state.error());
    // Before anything in the kernel is touched: a wrong directory must not empty a node.
    auto manifests = kube::Manifests::open(config.manifests);
    if (!manifests) return fail(manifests.error());
    auto devices = datapath::Devices::open(config.devices);
    if (!devices) return fail(devices.error());
    auto datapath = datapath::Datapath::open(config.datapath);
    if (!datapath) {
        for (const auto& missing : datapath::missing_features())
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
                std::move(*manifests)};
    if (auto started = agent.start(); !started) return started;
    return agent.loop();
}

Result<bool> check(const Config& config) {
    bool usable = true;
    for (const auto& missing : datapath::missing_features()) {
        std::printf("kernel: %s\n", missing.what.c_str());
        usable = usable && !missing.needed;
    }
    auto manifests = kube::Manifests::open(config.manifests);
    if (!manifests) return fail(manifests.error());
    const auto change = manifests->changes();
    if (!change) return fail(change.error());
    for (const auto& problem : change->problems) {
        std::printf("manifests: %s\n", problem.c_str());
        usable = false;
    }
    Cluster cluster{config.node_name};
    cluster.apply(*change);
    std::vector<model::Problem> problems;
    std::size_t service_ports = 0;
    for (const auto& built : cluster.take_changes(problems)) service_ports += built.state.size();
    for (const auto& problem : problems) {
        std::printf("manifests: %s: %s\n", problem.object.c_str(), problem.what.c_str());
        usable = false;
    }
    std::printf("node %s: %zu Services, %zu EndpointSlices, %zu service ports by family\n", config.node_name.c_str(),
                cluster.service_count(), cluster.slice_count(), service_ports);
    auto devices = datapath::Devices::open(config.devices);
    if (!devices) return fail(devices.error());
    const auto found = devices->changes();
    if (!found) return fail(found.error());
    for (const auto& [device, gone] : *found)
        std::printf("%s %s (ifindex %d)\n", device.kind == datapath::LinkKind::pod ? "pod link" : "uplink",
                    device.name.c_str(), device.ifindex);
    std::printf("%s\n", usable ? "usable" : "not usable as it is");
    return usable;
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
