// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What a credential plug-in is told (KUBERNETES_EXEC_INFO) and what it answers. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "kubeconfig.hpp"
#include "svclb/base/result.hpp"
#include "tree.hpp"

namespace svclb::kube {

struct ExecCredential {
    std::string token;        // or "", where there is a certificate
    std::string certificate;  // PEM, with key, or none of both
    std::string key;
    std::optional<std::chrono::system_clock::time_point> expires;
};

// `ca` is PEM text, or "".
[[nodiscard]] std::string exec_info(const ExecConfig& exec, const Kubeconfig& config, const std::string& ca);
// JSON of the version that the plug-in was asked for. Errors name the field and show no value.
Result<ExecCredential> parse_exec_credential(std::string_view text, const std::string& api_version);

// Text without quotes becomes a number, a boolean or null where it reads as one.
[[nodiscard]] std::string to_json(const Value& value);

}  // namespace svclb::kube
