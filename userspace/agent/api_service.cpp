// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "api_service.hpp"

#include <algorithm>
#include <utility>

namespace svclb::agent {
namespace {

bool usable(const model::ServicePortState& port) {
    return port.cluster == model::Verdict::forward;
}

void serve(model::ServicePortState& port, std::vector<model::Backend> backends) {
    port.backends = std::move(backends);
    const auto any = [&](bool model::Backend::*set) {
        return std::ranges::any_of(port.backends, [&](const model::Backend& backend) { return backend.*set; });
    };
    port.cluster = any(&model::Backend::in_cluster) ? model::Verdict::forward : model::Verdict::reject;
    port.local = any(&model::Backend::in_local) ? model::Verdict::forward : model::Verdict::reject;
}

}  // namespace

const model::ObjectKey& api_service_key() {
    static const model::ObjectKey key{"default", "kubernetes"};
    return key;
}

ApiService::ApiService(ApiSeed seed, model::ServiceState programmed) : seed_(std::move(seed)) {
    if (std::ranges::any_of(programmed, usable)) last_ = std::move(programmed);
}

std::vector<model::Backend> ApiService::seeds(model::Family family) const {
    std::vector<model::Backend> backends;
    for (const auto& [address, port] : seed_.endpoints) {
        if (address.family() != family) continue;
        model::Backend backend{.address = address, .port = port, .node = {}, .zone = {}};
        backend.in_cluster = true;
        backends.push_back(std::move(backend));
    }
    std::ranges::sort(backends);
    backends.erase(std::unique(backends.begin(), backends.end()), backends.end());
    return backends;
}

model::ServiceState ApiService::first() const {
    model::ServiceState state;
    if (!last_.empty()) return state;
    for (const auto& frontend : seed_.frontends) {
        // A kubeconfig that leads to an API server itself says nothing about the Service.
        if (std::ranges::find(seed_.endpoints, frontend) != seed_.endpoints.end()) continue;
        const auto& [address, port] = frontend;
        model::ServicePortState made;
        // As the API server names its port: the real Service takes its place without a change.
        made.id = {.service = api_service_key(),
                   .port_name = "https",
                   .protocol = model::Protocol::tcp,
                   .family = address.family()};
        made.frontends = {{.address = address, .port = port}};
        serve(made, seeds(address.family()));
        const bool taken = std::ranges::any_of(state, [&](const auto& other) { return other.id == made.id; });
        if (usable(made) && !taken) state.push_back(std::move(made));
    }
    std::ranges::sort(state, {}, &model::ServicePortState::id);
    return state;
}

model::ServiceState ApiService::keep(model::ServiceState built) {
    kept_.clear();
    if (built.empty()) {
        auto left = last_.empty() ? first() : last_;
        if (!left.empty()) kept_ = "the source has no such Service: it stays as it was last usable";
        return left;
    }
    for (auto& port : built) {
        if (usable(port)) continue;
        const auto last = std::ranges::find(last_, port.id, &model::ServicePortState::id);
        const bool has_last = last != last_.end() && usable(*last);
        auto backends = has_last ? last->backends : seeds(port.id.family);
        if (backends.empty()) continue;
        serve(port, std::move(backends));
        kept_ = has_last ? "the source has no usable endpoint for it: the last usable ones stay"
                         : "the source has no usable endpoint for it: those of --api-endpoint are used";
    }
    if (std::ranges::any_of(built, usable)) last_ = built;
    return built;
}

}  // namespace svclb::agent
