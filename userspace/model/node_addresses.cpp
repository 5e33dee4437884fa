// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "svclb/model/node_addresses.hpp"

#include <algorithm>

namespace svclb::model {

namespace {

bool has_family(std::span<const Address> addresses, Family family) {
    return std::ranges::any_of(addresses, [family](const auto& address) { return address.family() == family; });
}

bool is_link_local(const Address& address) {
    return address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0U) == 0x80;
}

}  // namespace

std::optional<NodePortAddresses> parse_node_port_addresses(std::span<const std::string> texts) {
    NodePortAddresses chosen;
    if (texts.size() == 1 && texts.front() == "primary") return chosen;
    for (const auto& text : texts) {
        const auto cidr = parse_cidr(text);
        if (!cidr) return std::nullopt;
        chosen.ranges.push_back(*cidr);
    }
    return chosen;
}

NodePortAddresses all_addresses() {
    return {.ranges = {*parse_cidr("0.0.0.0/0"), *parse_cidr("::/0")}};
}

bool is_all(const NodePortAddresses& chosen) {
    const auto all = all_addresses().ranges;
    return !chosen.ranges.empty() && std::ranges::all_of(all, [&](const Cidr& whole) {
        const auto of_family = [&](const Cidr& cidr) { return cidr.address.family() == whole.address.family(); };
        return std::ranges::find(chosen.ranges, whole) != chosen.ranges.end() ||
               std::ranges::none_of(chosen.ranges, of_family);
    });
}

bool is_routable(const Address& address) noexcept {
    const auto& bytes = address.bytes;
    if (address.family() == Family::ipv4) return bytes[12] != 0 && bytes[12] != 127 && (bytes[12] & 0xf0U) != 0xe0;
    const bool only_last = std::all_of(bytes.begin(), bytes.end() - 1, [](auto byte) { return byte == 0; });
    return bytes[0] != 0xff && !(only_last && bytes[15] <= 1);
}

std::vector<Address> primary_of(std::span<const Address> addresses) {
    std::vector<Address> primary;
    for (const auto& address : addresses)
        if (is_routable(address) && !has_family(primary, address.family())) primary.push_back(address);
    return primary;
}

std::vector<Address> primary_addresses(const Node& node) {
    std::vector<Address> addresses;
    for (const auto& text : node.ips)
        if (const auto address = parse_address(text)) addresses.push_back(*address);
    return primary_of(addresses);
}

std::vector<Address> serving_addresses(const NodePortAddresses& chosen, std::span<const Address> primary,
                                       std::span<const Address> local) {
    std::vector<Address> serving;
    if (chosen.ranges.empty()) {
        serving.assign(primary.begin(), primary.end());
    } else {
        std::ranges::copy_if(local, std::back_inserter(serving), [&](const Address& address) {
            const auto of_family = [&](const Cidr& cidr) { return cidr.address.family() == address.family(); };
            const auto holds = [&](const Cidr& cidr) { return contains(cidr, address); };
            return is_routable(address) && !is_link_local(address) &&
                   (std::ranges::any_of(chosen.ranges, holds) || std::ranges::none_of(chosen.ranges, of_family));
        });
    }
    std::ranges::sort(serving);
    serving.erase(std::unique(serving.begin(), serving.end()), serving.end());
    return serving;
}

}  // namespace svclb::model
