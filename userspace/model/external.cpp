// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "external.hpp"

#include <algorithm>
#include <string_view>

#include "svclb/model/node_addresses.hpp"

namespace svclb::model {

namespace {

constexpr std::uint8_t kWholeAddress = 128;

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view kBlanks = " \t\r\n";
    const auto first = text.find_first_not_of(kBlanks);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

// An address that means something else to every host would take that from this one.
std::optional<Address> read_external(const std::string& text, const std::string& field, Told& told) {
    const auto address = read_address(text, field, told);
    if (!address || is_routable(*address)) return address;
    told.add(field, "not an address that can be a Service's: " + to_string(*address));
    return std::nullopt;
}

bool is_everybody(const Cidr& cidr) {
    return cidr.prefix == (cidr.address.family() == Family::ipv4 ? 96 : 0);
}

}  // namespace

ExternalAddresses external_addresses(const Service& service, Told& told) {
    ExternalAddresses found;
    for (std::size_t i = 0; i < service.external_ips.size(); ++i) {
        const auto address = read_external(service.external_ips[i], element("spec.externalIPs", i), told);
        if (address) found.external_ips.push_back(*address);
    }
    for (std::size_t i = 0; i < service.ingress.size(); ++i) {
        const auto& ingress = service.ingress[i];
        if (ingress.ip.empty() || !(ingress.ip_mode.empty() || ingress.ip_mode == "VIP")) continue;
        const auto address = read_external(ingress.ip, element("status.loadBalancer.ingress", i) + ".ip", told);
        if (address) found.vips.push_back(*address);
    }
    return found;
}

SourceRanges source_ranges(const Service& service, Told& told) {
    SourceRanges ranges;
    for (std::size_t i = 0; i < service.source_ranges.size(); ++i) {
        const auto text = trimmed(service.source_ranges[i]);
        const auto cidr = parse_cidr(text);
        if (cidr)
            ranges.cidrs.push_back(*cidr);
        else
            told.add(element("spec.loadBalancerSourceRanges", i), "not a CIDR: " + printable(text));
        const bool v6 = cidr ? cidr->address.family() == Family::ipv6 : text.find(':') != std::string_view::npos;
        (v6 ? ranges.ipv6 : ranges.ipv4) = true;
    }
    return ranges;
}

std::optional<std::vector<Cidr>> allowed_sources(const SourceRanges& ranges, Family family,
                                                 const ExternalAddresses& external, const NodeView& node) {
    if (!(family == Family::ipv4 ? ranges.ipv4 : ranges.ipv6)) return std::nullopt;
    std::vector<Cidr> allowed;
    std::ranges::copy_if(ranges.cidrs, std::back_inserter(allowed),
                         [family](const Cidr& cidr) { return cidr.address.family() == family; });
    if (std::ranges::any_of(allowed, is_everybody)) return std::nullopt;
    // The node may dial a VIP from that VIP, where it has it on a device of its own.
    const bool node_may = std::ranges::any_of(node.primary, [&](const Address& address) {
        return std::ranges::any_of(allowed, [&](const Cidr& cidr) { return contains(cidr, address); });
    });
    if (node_may) {
        for (const auto& vip : external.vips)
            if (vip.family() == family) allowed.push_back({.address = vip, .prefix = kWholeAddress});
    }
    std::ranges::sort(allowed);
    allowed.erase(std::unique(allowed.begin(), allowed.end()), allowed.end());
    return allowed;
}

}  // namespace svclb::model
