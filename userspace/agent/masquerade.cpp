// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "masquerade.hpp"

#include <array>
#include <cstddef>
#include <cstring>

namespace svclb::agent {

std::optional<LocalMode> local_mode(std::string_view word) {
    if (word.empty() || word == "ClusterCIDR") return LocalMode::cluster_cidr;
    if (word == "NodeCIDR") return LocalMode::node_cidr;
    if (word == "BridgeInterface" || word == "InterfaceNamePrefix") return LocalMode::links;
    return std::nullopt;
}

std::optional<std::vector<model::Cidr>> cluster_cidrs(std::string_view text) {
    std::vector<model::Cidr> ranges;
    if (text.empty()) return ranges;
    const auto comma = text.find(',');
    const auto first = model::parse_cidr(text.substr(0, comma));
    if (!first) return std::nullopt;
    ranges.push_back(*first);
    if (comma == std::string_view::npos) return ranges;
    const auto second = model::parse_cidr(text.substr(comma + 1));
    if (!second || second->address.family() == first->address.family()) return std::nullopt;
    ranges.push_back(*second);
    return ranges;
}

svclb_cidr abi_cidr(const model::Cidr& cidr) {
    svclb_cidr out{};
    std::array<std::uint8_t, 16> mask{};
    for (std::size_t bit = 0; bit < cidr.prefix; ++bit)
        mask[bit / 8] = static_cast<std::uint8_t>(mask[bit / 8] | 0x80U >> bit % 8);
    std::memcpy(out.addr, cidr.address.bytes.data(), sizeof(out.addr));
    std::memcpy(out.mask, mask.data(), sizeof(out.mask));
    return out;
}

svclb_masquerade masquerade_row(const Masquerade& chosen, std::span<const model::Cidr> pod_cidrs) {
    svclb_masquerade row{};
    row.all = chosen.all ? 1 : 0;
    if (chosen.local == LocalMode::links) return row;
    if (chosen.local == LocalMode::cluster_cidr) pod_cidrs = chosen.cluster_cidrs;
    for (const auto& cidr : pod_cidrs) {
        const bool v4 = cidr.address.family() == model::Family::ipv4;
        auto& has = v4 ? row.has_v4 : row.has_v6;
        if (has != 0) continue;
        has = 1;
        (v4 ? row.v4 : row.v6) = abi_cidr(cidr);
    }
    return row;
}

}  // namespace svclb::agent
