// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The way to an API server: where it is and who we are, from a kubeconfig or from the Pod we run in. TLS is always
// verified. Credentials that rotate (token, CA, client certificate, exec plug-in) are followed.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "svclb/base/result.hpp"
#include "svclb/kube/transport.hpp"
#include "svclb/model/address.hpp"

namespace svclb::kube {

struct ApiServer {
    std::string url;  // for people: "https://10.0.0.1:6443", printable and without credentials
    std::unique_ptr<Transport> transport;
};

// API servers to connect to instead of where the URL leads, each in its turn; empty = go by the URL. For a URL that is
// a ClusterIP, which works only once somebody has heard from the API server.
using Dial = std::vector<model::AddressPort>;

// One file, its current context or the one named. Errors name the file and the field.
Result<ApiServer> open_transport(const std::filesystem::path& kubeconfig, const Dial& dial = {},
                                 const std::string& context = {});

inline constexpr const char* kServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount";
// The environment of a Pod: KUBERNETES_SERVICE_HOST and _PORT, and the files `token` and `ca.crt`.
Result<ApiServer> open_in_cluster_transport(const Dial& dial = {},
                                            const std::filesystem::path& service_account = kServiceAccount);

}  // namespace svclb::kube
