// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "input.hpp"

#include <utility>

#include "svclb/kube/manifests.hpp"

namespace svclb::agent {

Result<Input> open_input(const Config& config) {
    auto manifests = kube::Manifests::open(config.manifests);
    if (!manifests) return fail(manifests.error());
    return Input{.text = "manifests " + config.manifests.string(),
                 .transport = nullptr,
                 .source = std::make_unique<kube::Manifests>(std::move(*manifests)),
                 .api_seed = {}};
}

}  // namespace svclb::agent
