// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Who may dial a frontend, for tables of cells: pods and clients outside, in and out of the range of the cluster's
// pods.
#pragma once

#include <algorithm>
#include <cstring>

#include "turned_flow.hpp"

namespace svclb::test {

enum class By { pod, pod_out_of_range, itself, outside, outside_in_range };

inline bool is_pod(By by) {
    return by == By::pod || by == By::pod_out_of_range || by == By::itself;
}

// Pods are in 10.244.0.0/16 and fd00:244::/32; at uplinks without a header IPv4 addresses have to begin with 8.0
// (World::bare), and the range is 8.0.8.0/21.
inline void set_pod_range(Datapath& datapath, const World& world) {
    svclb_masquerade& row = datapath.masquerade();
    row.has_v4 = row.has_v6 = 1;
    const auto set = [](svclb_cidr& range, const Ip& address, std::initializer_list<std::uint32_t> mask) {
        std::memcpy(range.addr, address.bytes.data(), sizeof(range.addr));
        std::copy(mask.begin(), mask.end(), range.mask);
    };
    set(row.v4, ip(world.bare ? "8.0.8.0" : "10.244.0.0"),
        {~0U, ~0U, ~0U, htonl(world.bare ? 0xfffff800 : 0xffff0000)});
    set(row.v6, ip("fd00:244::"), {~0U, 0, 0, 0});
}

inline Endpoint client_of(const World& world, By by) {
    const bool bare = world.bare;
    switch (by) {
        case By::pod:
        case By::itself:
            return bare ? Endpoint{world.net("8.0.10.10", "fd00:244:86dd:a::10"), 40000} : world.client();
        case By::outside_in_range:
            return {bare ? world.net("8.0.9.9", "fd00:244:86dd:9::9") : world.net("10.244.9.9", "fd00:244:9::9"),
                    40000};
        case By::pod_out_of_range:
            return {bare ? world.net("8.0.99.9", "fd00:9:86dd::9") : world.net("10.9.9.9", "fd00:9::9"), 40000};
        case By::outside:
            break;
    }
    return outside_client(world);
}

// A packet at the client's device, with or without XDP before the uplink's program: what opens a flow XDP drops, or
// leaves as it is. It serves no exit here.
inline Run first_step(Datapath& datapath, By by, const Packet& packet, bool xdp) {
    if (is_pod(by)) return datapath.from_pod(packet);
    if (xdp) {
        put_xdp_link(datapath, kEntry, packet.to_mac);
        const Run run = datapath.from_wire(packet.frame());
        remove_xdp_link(datapath, kEntry);
        if (run.verdict == xdp_drop) return {dropped, run.frame};
        CHECK(run.verdict == xdp_pass);
        CHECK(difference(packet.frame(), run.frame) == std::string());
    }
    return datapath.from_uplink(packet);
}

}  // namespace svclb::test
