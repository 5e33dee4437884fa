// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The one source that the configuration asks for.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api_service.hpp"
#include "config.hpp"
#include "svclb/base/result.hpp"
#include "svclb/kube/source.hpp"
#include "svclb/kube/transport.hpp"

namespace svclb::agent {

struct Input {
    std::string text;  // "manifests /etc/svclb", "kubernetes https://10.0.0.1:6443"
    // Nothing for manifests; the source works through it, and so may others.
    std::unique_ptr<kube::Transport> transport;
    std::unique_ptr<kube::Source> source;
    ApiSeed api_seed;
};

Result<Input> open_input(const Config& config);

// What Pods dial to reach the API server, as far as it can be told before the API server has been: the Pod's own
// environment (`host` and `port`, "" = not set), and where the kubeconfig leads to if that is an address.
[[nodiscard]] std::vector<model::AddressPort> api_frontends(std::string_view url, const std::string& host,
                                                            const std::string& port);

}  // namespace svclb::agent
