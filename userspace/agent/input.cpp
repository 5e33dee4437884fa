// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "input.hpp"

#include <cstdlib>
#include <string_view>
#include <utility>

#include "svclb/kube/api_source.hpp"
#include "svclb/kube/manifests.hpp"
#include "svclb/kube/open_transport.hpp"

namespace svclb::agent {
namespace {

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string{} : value;
}

Result<Input> open_manifests(const Config& config) {
    auto manifests = kube::Manifests::open(config.manifests);
    if (!manifests) return fail(manifests.error());
    return Input{.text = "manifests " + config.manifests.string(),
                 .transport = nullptr,
                 .source = std::make_unique<kube::Manifests>(std::move(*manifests)),
                 .api_seed = {}};
}

}  // namespace

std::vector<model::AddressPort> api_frontends(std::string_view url, const std::string& host, const std::string& port) {
    std::vector<model::AddressPort> found;
    const auto add = [&](const std::string& text) {
        if (const auto parsed = model::parse_address_port(text)) found.push_back(*parsed);
    };
    if (const auto address = model::parse_address(host))
        add((address->family() == model::Family::ipv6 ? "[" + host + "]:" : host + ":") +
            (port.empty() ? "443" : port));
    constexpr std::string_view kScheme = "https://";
    if (!url.starts_with(kScheme)) return found;
    url.remove_prefix(kScheme.size());
    const std::string place{url.substr(0, url.find('/'))};
    add(model::parse_address_port(place) ? place : place + ":443");
    return found;
}

Result<Input> open_input(const Config& config) {
    if (!config.manifests.empty()) return open_manifests(config);
    auto server = config.kubeconfig.empty() ? kube::open_in_cluster_transport(config.api_endpoints)
                                            : kube::open_transport(config.kubeconfig, config.api_endpoints);
    if (!server) return fail(server.error());
    auto source =
        kube::ApiSource::open(*server->transport, {.node_name = config.node_name,
                                                   .watch_silence = std::chrono::seconds{config.watch_silence_s},
                                                   .surroundings = {}});
    if (!source) return fail(source.error());
    ApiSeed seed{.endpoints = config.api_endpoints, .frontends = {}};
    if (!seed.endpoints.empty())
        seed.frontends =
            api_frontends(server->url, environment("KUBERNETES_SERVICE_HOST"), environment("KUBERNETES_SERVICE_PORT"));
    return Input{.text = "kubernetes " + server->url,
                 .transport = std::move(server->transport),
                 .source = std::make_unique<kube::ApiSource>(std::move(*source)),
                 .api_seed = std::move(seed)};
}

}  // namespace svclb::agent
