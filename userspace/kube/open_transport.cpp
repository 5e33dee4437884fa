// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "svclb/kube/open_transport.hpp"

#include <cstdlib>
#include <utility>

#include "credentials.hpp"
#include "kubeconfig.hpp"
#include "proxy.hpp"
#include "read_file.hpp"
#include "svclb/model/address.hpp"
#include "svclb/model/text.hpp"
#include "transport.hpp"

namespace svclb::kube {

namespace {

Result<ApiServer> open(Kubeconfig config, const Dial& dial) {
    Route route{.server = config.server, .tls_server_name = config.tls_server_name, .proxy = ""};
    for (const auto& [address, port] : dial) route.dial.push_back(model::endpoint_text(address, port));
    auto proxy = proxy_for(config.server, config.proxy_url, proxy_environment());
    if (!proxy) return fail(proxy.error());
    route.proxy = *std::move(proxy);
    auto credentials = Credentials::open(std::move(config));
    if (!credentials) return fail(credentials.error());
    const auto url = route.server.text();
    auto transport = CurlTransport::open(std::move(route), *std::move(credentials));
    if (!transport) return fail(transport.error());
    return ApiServer{.url = url, .transport = *std::move(transport)};
}

}  // namespace

Result<ApiServer> open_transport(const std::filesystem::path& kubeconfig, const Dial& dial,
                                 const std::string& context) {
    const auto text = read_file(kubeconfig);
    if (!text) return fail(text.error());
    auto config = parse_kubeconfig(*text, kubeconfig, context);
    if (!config) return fail(config.error());
    auto server = open(*std::move(config), dial);
    if (!server) return fail(server.error().within(model::printable(kubeconfig.string(), kLongestPath)));
    return server;
}

Result<ApiServer> open_in_cluster_transport(const Dial& dial, const std::filesystem::path& service_account) {
    const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
    const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
    if (!host || !port || *host == '\0' || *port == '\0')
        return fail(
            Error::invalid("environment: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: not set, as they "
                           "would be in a Pod"));
    const auto number = parse_port(port);
    if (!number)
        return fail(Error::invalid("environment: KUBERNETES_SERVICE_PORT: not a port: " + model::printable(port)));
    const auto server = parse_server_url("https://" + join_host_port(host, *number));
    if (!server)
        return fail(Error::invalid("environment: KUBERNETES_SERVICE_HOST: not a host: " + model::printable(host)));
    Kubeconfig config;
    config.server = *server;
    config.ca.file = service_account / "ca.crt";
    config.token_file = service_account / "token";
    auto opened = open(std::move(config), dial);
    if (!opened) return fail(opened.error().within("service account"));
    return opened;
}

}  // namespace svclb::kube
