// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Through which proxy an API server is reached, by the rules that other Kubernetes clients follow (Go's). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "server_url.hpp"
#include "svclb/base/result.hpp"

namespace svclb::kube {

struct ProxyEnvironment {
    std::string https_proxy;
    std::string no_proxy;
};
// HTTPS_PROXY and NO_PROXY, or the same in lower case.
[[nodiscard]] ProxyEnvironment proxy_environment();

// A URL with a scheme that libcurl knows, "" for none. What the kubeconfig names counts before the environment, and for
// every server. Errors show no URL: there may be a password in it.
Result<std::string> proxy_for(const ServerUrl& server, const std::string& kubeconfig_proxy,
                              const ProxyEnvironment& environment);

// What is wrong with the URL of a proxy.
[[nodiscard]] std::optional<std::string> not_proxy_url(std::string_view text);

}  // namespace svclb::kube
