// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which service ports a pass concerns.
#include "svclb/reconcile/reconciler.hpp"

#include <algorithm>
#include <cassert>
#include <tuple>
#include <utility>

#include "pass.hpp"
#include "programmed.hpp"
#include "rows.hpp"

namespace svclb::reconcile {

namespace {

// The ids of a Service's ports lie together; this one is not after any of them.
model::ServicePortId first_port(const model::ObjectKey& service) {
    return {.service = service, .port_name = "", .protocol = model::Protocol{}, .family = model::Family{}};
}

Port& new_port(Programmed& state, const model::ServicePortId& id) {
    auto port = std::make_unique<Port>();
    port->id = id;
    return *state.ports.emplace(id, std::move(port)).first->second;
}

// The rows, read back into the model's words.
model::ServicePortState port_state(const Port& port, const Strings& strings) {
    model::ServicePortState state;
    state.id = port.id;
    state.created = port.created;
    for (const auto& claim : port.claims) state.frontends.push_back(frontend_of(claim.key, claim.row));
    std::ranges::sort(state.frontends);
    for (const auto& [address, number, row, present, rewrite] : port.backends) {
        if (!present || rewrite) continue;
        state.backends.push_back({.address = address,
                                  .port = number,
                                  .node = strings.text(row.node),
                                  .zone = strings.text(row.zone),
                                  .state = static_cast<model::BackendState>(row.state),
                                  .serving = (row.flags & SVCLB_BACKEND_SERVING) != 0,
                                  .in_cluster = (row.flags & SVCLB_BACKEND_IN_CLUSTER) != 0,
                                  .in_local = (row.flags & SVCLB_BACKEND_IN_LOCAL) != 0,
                                  .weight = row.weight,
                                  .on_node = (row.flags & SVCLB_BACKEND_ON_NODE) != 0});
    }
    // As the model orders them.
    std::ranges::stable_sort(state.backends, [](const model::Backend& a, const model::Backend& b) {
        return std::tuple(!a.in_local, a.address, a.port) < std::tuple(!b.in_local, b.address, b.port);
    });
    state.cluster = static_cast<model::Verdict>(port.row.verdicts[SVCLB_SET_CLUSTER]);
    state.local = static_cast<model::Verdict>(port.row.verdicts[SVCLB_SET_LOCAL]);
    state.internal_policy = static_cast<model::TrafficPolicy>(port.row.internal_set);
    state.external_policy = static_cast<model::TrafficPolicy>(port.row.external_set);
    state.affinity_s = port.row.affinity_s;
    state.algorithm = static_cast<model::Algorithm>(port.row.algorithm);
    state.source_ranges = port.ranges;
    return state;
}

// Programmed and desired ports of one Service, side by side.
void compare(Programmed& state, const ServiceChange& change, Pass& pass) {
    const auto& desired = change.state;
    assert(std::is_sorted(desired.begin(), desired.end(), [](const auto& a, const auto& b) { return a.id < b.id; }));
    auto now = desired.begin();
    auto old = state.ports.lower_bound(first_port(change.service));
    const auto more = [&] { return old != state.ports.end() && old->first.service == change.service; };
    while (more() || now != desired.end()) {
        if (now == desired.end() || (more() && old->first < now->id)) {
            pass.drop(*old++->second);
        } else if (!more() || now->id < old->first) {
            assert(now->id.service == change.service);
            pass.want(new_port(state, now->id), *now);
            ++now;
        } else {
            pass.want(*old++->second, *now++);
        }
    }
    const auto [first, last] = state.strays.equal_range(change.service);
    for (auto stray = first; stray != last; ++stray) pass.drop(*stray->second);
}

}  // namespace

struct Reconciler::State {
    std::unique_ptr<Programmed> programmed;
};

Reconciler::Reconciler(std::unique_ptr<State> state) : state_(std::move(state)) {}
Reconciler::Reconciler(Reconciler&&) noexcept = default;
Reconciler& Reconciler::operator=(Reconciler&&) noexcept = default;
Reconciler::~Reconciler() = default;

Result<Reconciler> Reconciler::adopt(datapath::Tables& tables) {
    return read_back(tables).map([](std::unique_ptr<Programmed> programmed) {
        return Reconciler(std::make_unique<State>(State{std::move(programmed)}));
    });
}

PassResult Reconciler::apply(const std::vector<ServiceChange>& changes) {
    std::vector<const ServiceChange*> last;
    last.reserve(changes.size());
    std::size_t service_ports = 0;
    for (const auto& change : changes) {
        last.push_back(&change);
        service_ports += change.state.size();
    }
    const auto key = [](const ServiceChange* change) -> const model::ObjectKey& { return change->service; };
    std::stable_sort(last.begin(), last.end(), [&](const auto* a, const auto* b) { return key(a) < key(b); });

    Pass pass(*state_->programmed);
    pass.reserve(service_ports);
    for (std::size_t at = 0; at < last.size(); ++at) {
        // A Service handed in twice: what came last counts.
        if (at + 1 < last.size() && key(last[at]) == key(last[at + 1])) continue;
        compare(*state_->programmed, *last[at], pass);
    }
    return pass.run();
}

PassResult Reconciler::retain_only(const std::set<model::ObjectKey>& known) {
    auto& programmed = *state_->programmed;
    Pass pass(programmed);
    for (const auto& [id, port] : programmed.ports) {
        if (!known.contains(id.service))
            pass.drop(*port);
        else if (port->row.epoch_due != 0)
            pass.raise_epoch(*port);
    }
    for (const auto& [service, port] : programmed.strays) pass.drop(*port);
    return pass.run();
}

bool Reconciler::resting() const {
    return state_->programmed->runs.resting();
}
std::uint64_t Reconciler::ticket() {
    return state_->programmed->runs.ticket();
}
void Reconciler::release(std::uint64_t ticket) {
    state_->programmed->runs.release(ticket);
}

std::vector<model::ServicePortId> Reconciler::programmed() const {
    std::vector<model::ServicePortId> ids;
    for (const auto& [id, port] : state_->programmed->ports)
        if (port->row.family != 0) ids.push_back(id);
    return ids;
}

model::ServiceState Reconciler::programmed(const model::ObjectKey& service) const {
    const auto& state = *state_->programmed;
    model::ServiceState ports;
    for (auto at = state.ports.lower_bound(first_port(service));
         at != state.ports.end() && at->first.service == service; ++at)
        if (at->second->row.family != 0) ports.push_back(port_state(*at->second, state.strings));
    return ports;
}

Fill Reconciler::fill() const {
    const auto& programmed = *state_->programmed;
    return {.services = programmed.indices.in_use(),
            .frontends = programmed.frontends.size(),
            .backends = programmed.backend_ids.in_use(),
            .slots = programmed.runs.in_use()};
}

}  // namespace svclb::reconcile
