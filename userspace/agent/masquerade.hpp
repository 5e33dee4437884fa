// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Whose flows get the node's address as their source, as it is configured, and what the programs are told of it. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "svclb/abi.h"
#include "svclb/model/address.hpp"

namespace svclb::agent {

// How the cluster's own pods are known. kube-proxy's modes by name of a device are one for us: pods come out of pod
// links, whatever those are called.
enum class LocalMode : std::uint8_t { cluster_cidr, node_cidr, links };

struct Masquerade {
    bool all = false;  // flows of the cluster's pods to a ClusterIP as well
    LocalMode local = LocalMode::cluster_cidr;
    std::vector<model::Cidr> cluster_cidrs;  // the first of each family counts
};

// kube-proxy's words. Nothing for any other text.
[[nodiscard]] std::optional<LocalMode> local_mode(std::string_view word);
// One CIDR, or one of each family with a comma between them; none for "".
[[nodiscard]] std::optional<std::vector<model::Cidr>> cluster_cidrs(std::string_view text);

[[nodiscard]] svclb_cidr abi_cidr(const model::Cidr& cidr);
// `pod_cidrs`: those of the Node object.
[[nodiscard]] svclb_masquerade masquerade_row(const Masquerade& chosen, std::span<const model::Cidr> pod_cidrs);

}  // namespace svclb::agent
