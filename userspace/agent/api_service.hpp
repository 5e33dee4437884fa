// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The API server's own Service, default/kubernetes. Whatever the source says, it never goes to zero backends: a node
// that cannot reach the API server any more can never be told better. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "svclb/model/address.hpp"
#include "svclb/model/desired.hpp"

namespace svclb::agent {

[[nodiscard]] const model::ObjectKey& api_service_key();

// What an operator gives where nothing is known yet.
struct ApiSeed {
    std::vector<model::AddressPort> endpoints;  // of the API servers, both families
    std::vector<model::AddressPort> frontends;  // what Pods dial
};

class ApiService {
public:
    // `programmed` is what a former agent left.
    ApiService(ApiSeed seed, model::ServiceState programmed);

    // What to program before the source has told anything; empty where something is programmed already, or where the
    // seed does not say what Pods dial.
    [[nodiscard]] model::ServiceState first() const;
    // What to program where the source's objects make `built`, which is empty when the Service is gone.
    [[nodiscard]] model::ServiceState keep(model::ServiceState built);
    // Why the result of the last keep() is not what the source says; "" where it is.
    [[nodiscard]] const std::string& kept() const { return kept_; }

private:
    [[nodiscard]] std::vector<model::Backend> seeds(model::Family family) const;

    ApiSeed seed_;
    model::ServiceState last_;  // the last state with usable backends
    std::string kept_;
};

}  // namespace svclb::agent
