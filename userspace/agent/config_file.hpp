// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The file of --config, in one of two formats that its apiVersion and kind tell apart: our own, and kube-proxy's, so
// that a cluster's ConfigMap can stay as it is. Pure; docs/configuration.md has the fields.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config.hpp"
#include "config_fields.hpp"

namespace svclb::agent {

struct ConfigFindings {
    std::vector<std::string> problems;  // "FILE:LINE: FIELD: what"; with any of them the file must not be used
    std::vector<std::string> warnings;  // "FILE: what"
};

// Puts what the file says over `config`.
ConfigFindings read_config(std::string_view text, const std::string& name, Config& config);

// Every field of our own format, but for apiVersion and kind; what is taken goes to `config`, which has to live longer.
[[nodiscard]] std::vector<Field> own_fields(Config& config);

// nodePortAddresses, as both formats have it.
[[nodiscard]] Taker node_port_addresses(model::NodePortAddresses& to);

// clusterCIDR and detectLocalMode, likewise.
[[nodiscard]] Taker cluster_cidr(std::vector<model::Cidr>& to);
[[nodiscard]] Taker detect_local_mode(LocalMode& to);

struct FieldProblem {
    std::string path;
    std::string what;
};

// kube-proxy's, likewise. What depends on more than one field comes with finish().
class KubeProxyConfig {
public:
    explicit KubeProxyConfig(Config& config) : config_(config) {}

    [[nodiscard]] std::vector<Field> fields();
    [[nodiscard]] std::vector<FieldProblem> finish();

private:
    Config& config_;
    std::string kubeconfig_;
    std::string host_name_;
    std::string bind_address_ = "0.0.0.0";
    std::string healthz_address_;
    std::string metrics_address_;
    std::string mode_;
    bool node_ports_given_ = false;
    std::string local_mode_;
    bool masquerade_all_iptables_ = false;
    bool masquerade_all_nftables_ = false;
    std::string bridge_;
    std::string interface_prefix_;
    std::int64_t verbosity_ = 0;
    // Zero where kube-proxy would put its default.
    struct Periods {
        std::chrono::nanoseconds sync{};
        std::chrono::nanoseconds pause{};
    };
    Periods iptables_;
    Periods nftables_;
    Periods ipvs_;
    std::chrono::nanoseconds tcp_established_{};
    std::chrono::nanoseconds udp_{};
    std::chrono::nanoseconds udp_answered_{};
};

}  // namespace svclb::agent
