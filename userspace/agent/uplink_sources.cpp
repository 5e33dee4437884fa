// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "uplink_sources.hpp"

#include <algorithm>
#include <cstring>

namespace svclb::agent {
namespace {

using datapath::LinkKind;

// Of one family.
using Bytes = datapath::AddressBytes;

bool carries(const datapath::LinkAddresses& device, std::span<const model::Address> primary, model::Family family) {
    return std::ranges::any_of(primary, [&](const model::Address& address) {
        return address.family() == family && std::ranges::find(device.all, address.bytes) != device.all.end();
    });
}

}  // namespace

std::map<int, svclb_node_addresses> uplink_sources(std::span<const datapath::AttachedLink> links,
                                                   const std::map<int, datapath::LinkAddresses>& addresses,
                                                   std::span<const model::Address> primary) {
    std::map<int, svclb_node_addresses> rows;
    const auto of_each = [&](model::Family family, Bytes datapath::LinkAddresses::*own, auto place) {
        const auto leads_out = [&](const datapath::AttachedLink& link) {
            return (link.kind == LinkKind::uplink || link.kind == LinkKind::tunnel) && addresses.contains(link.ifindex);
        };
        const bool on_an_uplink = std::ranges::any_of(links, [&](const datapath::AttachedLink& link) {
            return leads_out(link) && carries(addresses.at(link.ifindex), primary, family);
        });
        for (const auto& link : links) {
            if (!leads_out(link) || (link.kind == LinkKind::uplink && !on_an_uplink)) continue;
            const auto& device = addresses.at(link.ifindex);
            if (device.*own == Bytes{} || carries(device, primary, family)) continue;
            std::memcpy(rows[link.ifindex].*place, (device.*own).data(), sizeof(Bytes));
        }
    };
    of_each(model::Family::ipv4, &datapath::LinkAddresses::v4, &svclb_node_addresses::v4);
    of_each(model::Family::ipv6, &datapath::LinkAddresses::v6, &svclb_node_addresses::v6);
    return rows;
}

}  // namespace svclb::agent
