// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// One reflector for each resource, and the gate in front of them.
#include "svclb/kube/api_source.hpp"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <random>
#include <utility>

#include "reflector.hpp"
#include "svclb/base/unique_fd.hpp"

namespace svclb::kube {

namespace {

using Clock = Surroundings::Clock;

// Without the Node there are no topology hints, without ServiceCIDRs no answer to unknown addresses: worth a moment,
// not an outage where one of them cannot be had.
constexpr std::chrono::seconds kOthersPatience{5};

enum Index : std::size_t { kServices, kSlices, kNode, kCidrs, kResources };

std::array<Resource, kResources> resources(const std::string& node) {
    return {
        Resource{.kind = ObjectKind::service,
                 .name = "services",
                 .path = "/api/v1/services",
                 .selectors = "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name",
                 .saving = "fieldSelector=spec.clusterIP%21%3DNone"},  // since 1.31
        Resource{.kind = ObjectKind::endpoint_slice,
                 .name = "endpointslices",
                 .path = "/apis/discovery.k8s.io/v1/endpointslices",
                 .selectors = "labelSelector=%21service.kubernetes.io%2Fheadless",
                 .saving = ""},
        // Checked by open: nothing to escape.
        Resource{.kind = ObjectKind::node,
                 .name = "nodes",
                 .path = "/api/v1/nodes",
                 .selectors = "fieldSelector=metadata.name%3D" + node,
                 .saving = ""},
        Resource{.kind = ObjectKind::service_cidr,
                 .name = "servicecidrs",
                 .path = "/apis/networking.k8s.io/v1/servicecidrs",
                 .selectors = "",
                 .saving = "",
                 .optional = true},
    };
}

Status watch(int epoll, int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return fail_errno(errno, "epoll_ctl");
    return {};
}

}  // namespace

struct ApiSource::State {
    State(Transport& transport_, const ApiOptions& options)
        : transport(transport_), surroundings(options.surroundings) {
        if (!surroundings.random)
            surroundings.random = [engine = std::mt19937_64(std::random_device()())]() mutable {
                return std::uniform_real_distribution<double>()(engine);
            };
        for (auto& resource : resources(options.node_name))
            reflectors.push_back(
                std::make_unique<Reflector>(std::move(resource), transport, surroundings, options.watch_silence));
    }

    Transport& transport;
    Surroundings surroundings;
    UniqueFd timer;
    UniqueFd epoll;
    std::vector<std::unique_ptr<Reflector>> reflectors;
    std::optional<Clock::time_point> enough_since;  // Services and EndpointSlices are complete
    bool open = false;                              // the gate

    void look_at_gate();
    void set_timer() const;
};

void ApiSource::State::look_at_gate() {
    if (open || !reflectors[kServices]->synced() || !reflectors[kSlices]->synced()) return;
    const auto now = surroundings.now();
    if (!enough_since) enough_since = now;
    open = (reflectors[kNode]->synced() && reflectors[kCidrs]->synced()) || now - *enough_since >= kOthersPatience;
}

void ApiSource::State::set_timer() const {
    std::optional<Clock::time_point> next;
    if (!open && enough_since) next = *enough_since + kOthersPatience;
    for (const auto& reflector : reflectors) {
        const auto wake = reflector->wake_at();
        if (wake && (!next || *wake < *next)) next = wake;
    }
    itimerspec when{};  // all zero: disarmed
    if (next) {
        // In milliseconds, rounded up: a timer that is early would only come again.
        const auto wait = std::chrono::ceil<std::chrono::milliseconds>(*next - surroundings.now());
        const auto count = std::max<std::int64_t>(wait.count(), 1);
        when.it_value.tv_sec = count / 1000;
        when.it_value.tv_nsec = (count % 1000) * 1000000;
    }
    ::timerfd_settime(timer.get(), 0, &when, nullptr);
}

Result<ApiSource> ApiSource::open(Transport& transport, const ApiOptions& options) {
    // Part of a selector: another one would ask for other Nodes, or for all.
    if (auto what = not_dns_subdomain(options.node_name)) return fail(Error::invalid("node name: " + *what));
    auto state = std::make_unique<State>(transport, options);
    state->timer = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    if (!state->timer) return fail_errno(errno, "timerfd_create");
    state->epoll = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
    if (!state->epoll) return fail_errno(errno, "epoll_create1");
    for (const int fd : {state->timer.get(), transport.fd()})
        if (auto status = watch(state->epoll.get(), fd); !status) return fail(status.error());
    state->set_timer();
    return ApiSource(std::move(state));
}

Result<Change> ApiSource::changes() {
    std::uint64_t expirations = 0;
    // Nothing to read when it was not the timer that woke us.
    [[maybe_unused]] const auto ignored = ::read(state_->timer.get(), &expirations, sizeof expirations);

    state_->transport.step();
    for (const auto& reflector : state_->reflectors) reflector->tick();
    state_->look_at_gate();
    Change change;
    for (const auto& reflector : state_->reflectors) {
        reflector->take_problem(change);
        if (state_->open) reflector->take_objects(change);
    }
    for (auto* kept : {&change.kept_services, &change.kept_endpoints}) {
        std::ranges::sort(*kept);
        kept->erase(std::unique(kept->begin(), kept->end()), kept->end());
    }
    change.complete = state_->open;
    state_->set_timer();
    return change;
}

int ApiSource::fd() const {
    return state_->epoll.get();
}

std::vector<Refusal> ApiSource::refusals() const {
    std::vector<Refusal> all;
    if (!state_->open) return all;
    for (const auto& reflector : state_->reflectors) reflector->add_refusals(all);
    return all;
}

SourceState ApiSource::state() const {
    SourceState state;
    state.synced = state_->open;
    state.bytes_received = state_->transport.bytes_received();
    state.requests = state_->transport.stats();
    for (const auto& reflector : state_->reflectors) {
        auto& resource = state.resources.emplace_back(reflector->state());
        if (state.error.empty()) state.error = resource.error;
    }
    state.connected = state.resources[kServices].connected && state.resources[kSlices].connected;
    return state;
}

ApiSource::ApiSource(std::unique_ptr<State> state) : state_(std::move(state)) {}
ApiSource::ApiSource(ApiSource&&) noexcept = default;
ApiSource& ApiSource::operator=(ApiSource&&) noexcept = default;
ApiSource::~ApiSource() = default;

}  // namespace svclb::kube
