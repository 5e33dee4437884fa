// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Ranges of addresses in the tables: those that may dial a service port, and the Service CIDRs.
#pragma once

#include <bpf/bpf.h>

#include <array>
#include <cstring>

#include "world.hpp"

namespace svclb::test {

inline svclb_source_range source_range(const Ip& address, std::uint32_t service, std::uint32_t bits) {
    svclb_source_range key{};
    key.prefix = SVCLB_SOURCE_RANGE_SERVICE_BITS + bits;
    key.service = service;
    std::memcpy(key.addr, address.bytes.data(), sizeof(key.addr));
    return key;
}
inline void allow(const Datapath& datapath, const Ip& address, std::uint32_t service = 1, std::uint32_t bits = 128) {
    const auto key = source_range(address, service, bits);
    const std::uint32_t yes = 1;
    REQUIRE(bpf_map_update_elem(datapath.map("source_ranges"), &key, &yes, BPF_ANY) == 0);
}
inline void no_longer_allow(const Datapath& datapath, const Ip& address) {
    const auto key = source_range(address, 1, 128);
    REQUIRE(bpf_map_delete_elem(datapath.map("source_ranges"), &key) == 0);
}

// One for each family: 10.96.0.0/20 and fd00:96::/116, in the half of the row that begins with `first`.
inline void set_service_cidrs(Datapath& datapath, std::uint32_t first = 0) {
    const auto cidr = [](const Ip& base, std::size_t prefix) {
        svclb_cidr row{};
        std::memcpy(row.addr, base.bytes.data(), sizeof(row.addr));
        std::array<std::uint8_t, 16> mask{};
        for (std::size_t i = 0; i < prefix; i++) mask[i / 8] = static_cast<std::uint8_t>(mask[i / 8] | 0x80u >> i % 8);
        std::memcpy(row.mask, mask.data(), sizeof(row.mask));
        return row;
    };
    auto& ranges = datapath.service_cidrs();
    ranges.cidr[first] = cidr(ip("10.96.0.0"), 96 + 20);
    ranges.cidr[first + 1] = cidr(ip("fd00:96::"), 116);
    ranges.used = first | 2u << 16;
}

}  // namespace svclb::test
