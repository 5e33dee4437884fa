// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// kubeconfig v1 text -> what one of its contexts says. Pure, and fuzzed.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server_url.hpp"
#include "svclb/base/result.hpp"

namespace svclb::kube {

// PEM text, given in the kubeconfig or in a file that may change. Both empty: not given.
struct Pem {
    std::string inline_text;
    std::filesystem::path file;
    [[nodiscard]] bool given() const { return !inline_text.empty() || !file.empty(); }
};

// A program that prints an ExecCredential.
struct ExecConfig {
    std::string api_version;  // client.authentication.k8s.io/v1 or /v1beta1
    std::string command;      // a name to look for in PATH, or a path
    std::vector<std::string> args;
    std::vector<std::pair<std::string, std::string>> env;
    std::string install_hint;
    bool provide_cluster_info = false;
    std::string cluster_config_json;  // of the cluster's extension for such programs; "": none
};

struct Kubeconfig {
    ServerUrl server;
    std::string tls_server_name;
    std::string proxy_url;
    Pem ca;
    Pem certificate;  // with key, or none of both
    Pem key;
    std::string token;
    std::filesystem::path token_file;
    std::optional<ExecConfig> exec;
};

// `file` names the text in errors, and relative paths start from its directory. `context` "": the current one.
// Clusters, contexts and users that are not asked for may be anything.
Result<Kubeconfig> parse_kubeconfig(std::string_view text, const std::filesystem::path& file,
                                    std::string_view context = {});

}  // namespace svclb::kube
