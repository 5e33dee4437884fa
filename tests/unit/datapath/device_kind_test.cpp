// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "device_kind.hpp"

#include <catch2/catch_test_macros.hpp>

namespace svclb::datapath {
namespace {

const DeviceFacts kPodEnd{.ifindex = 7, .name = "cali12", .type = "veth", .peer_elsewhere = true};
const DevicePatterns kDiscover;

}  // namespace

TEST_CASE("a veth or netkit whose peer lives elsewhere is a pod link, others are none of our business") {
    CHECK(kind_of(kPodEnd, Reach::nowhere, kDiscover) == LinkKind::pod);
    CHECK(kind_of({.ifindex = 7, .name = "nk0", .type = "netkit", .peer_elsewhere = true}, Reach::nowhere, kDiscover) ==
          LinkKind::pod);
    CHECK(kind_of({.ifindex = 7, .name = "veth0", .type = "veth"}, Reach::nowhere, kDiscover) == std::nullopt);
    CHECK(kind_of({.ifindex = 7, .name = "mv0", .type = "macvlan", .peer_elsewhere = true}, Reach::nowhere,
                  kDiscover) == std::nullopt);
    CHECK(kind_of({.ifindex = 1, .name = "lo", .type = ""}, Reach::nowhere, kDiscover) == std::nullopt);
}

TEST_CASE("what leads out is an uplink even where it is a veth with its peer elsewhere") {
    CHECK(kind_of(kPodEnd, Reach::out, kDiscover) == LinkKind::uplink);
    CHECK(kind_of({.ifindex = 2, .name = "eth0", .type = ""}, Reach::out, kDiscover) == LinkKind::uplink);
}

TEST_CASE("a network without a gateway makes an uplink of hardware and what is built on it, and of nothing else") {
    for (const char* type : {"", "bond", "team", "vlan", "macvlan"})
        CHECK(kind_of({.ifindex = 2, .name = "eth1", .type = type}, Reach::network, kDiscover) == LinkKind::uplink);
    for (const char* type : {"bridge", "dummy", "vxlan", "veth"})
        CHECK(kind_of({.ifindex = 2, .name = "dev", .type = type}, Reach::network, kDiscover) == std::nullopt);
    CHECK(kind_of({.ifindex = 2, .name = "eth1", .type = ""}, Reach::nowhere, kDiscover) == std::nullopt);
    CHECK(kind_of(kPodEnd, Reach::network, kDiscover) == LinkKind::pod);
    CHECK(kind_of({.ifindex = 2, .name = "eth1", .type = ""}, Reach::network,
                  {.pod_links = {}, .uplinks = {"!eth1"}}) == std::nullopt);
}

TEST_CASE("a way out by another table makes an uplink of anything but a pod's link") {
    for (const char* type : {"", "bridge", "vlan", "vxlan"})
        CHECK(kind_of({.ifindex = 2, .name = "dev", .type = type}, Reach::other_table, kDiscover) == LinkKind::uplink);
    CHECK(kind_of(kPodEnd, Reach::other_table, kDiscover) == LinkKind::pod);
}

TEST_CASE("what has no Ethernet header is a tunnel, with a gateway or without, and never a pod link") {
    const DeviceFacts tunnel{.ifindex = 5, .name = "wg0", .type = "wireguard", .framing = Framing::bare};
    CHECK(kind_of(tunnel, Reach::nowhere, kDiscover) == LinkKind::tunnel);
    CHECK(kind_of(tunnel, Reach::out, kDiscover) == LinkKind::tunnel);
    CHECK(kind_of(tunnel, Reach::nowhere, {.pod_links = {}, .uplinks = {"wg*"}}) == LinkKind::tunnel);
    CHECK(kind_of(tunnel, Reach::nowhere, {.pod_links = {"wg*"}, .uplinks = {}}) == LinkKind::tunnel);
    CHECK(kind_of(tunnel, Reach::out, {.pod_links = {}, .uplinks = {"eth*"}}) == std::nullopt);
    CHECK(kind_of(tunnel, Reach::out, {.pod_links = {}, .uplinks = {"!wg*"}}) == std::nullopt);
}

TEST_CASE("a device whose packets our programs cannot read is none of our business") {
    const DeviceFacts other{.ifindex = 5, .name = "ib0", .type = "", .framing = Framing::other};
    CHECK(kind_of(other, Reach::out, kDiscover) == std::nullopt);
    CHECK(kind_of(other, Reach::out, {.pod_links = {}, .uplinks = {"ib*"}}) == std::nullopt);
}

TEST_CASE("patterns come before discovery") {
    CHECK(kind_of(kPodEnd, Reach::out, {.pod_links = {"cali*"}, .uplinks = {}}) == LinkKind::pod);
    CHECK(kind_of(kPodEnd, Reach::nowhere, {.pod_links = {}, .uplinks = {"cali*"}}) == LinkKind::uplink);
    CHECK(kind_of(kPodEnd, Reach::nowhere, {.pod_links = {"cali*"}, .uplinks = {"cali*"}}) == LinkKind::uplink);
    CHECK(kind_of({.ifindex = 3, .name = "tap0", .type = "tun"}, Reach::nowhere,
                  {.pod_links = {"tap*"}, .uplinks = {}}) == LinkKind::pod);
}

TEST_CASE("a list of names leaves no room for discovery of its kind, a list of exclusions does") {
    CHECK(kind_of(kPodEnd, Reach::nowhere, {.pod_links = {"lxc*"}, .uplinks = {}}) == std::nullopt);
    CHECK(kind_of(kPodEnd, Reach::nowhere, {.pod_links = {"!lxc*"}, .uplinks = {}}) == LinkKind::pod);
    CHECK(kind_of(kPodEnd, Reach::nowhere, {.pod_links = {"!cali*"}, .uplinks = {}}) == std::nullopt);
    CHECK(kind_of(kPodEnd, Reach::out, {.pod_links = {}, .uplinks = {"!cali*"}}) == LinkKind::pod);
}

TEST_CASE("an exclusion beats an inclusion, in either order") {
    CHECK(match({"cali*", "!cali12"}, "cali12") == Match::no);
    CHECK(match({"!cali12", "cali*"}, "cali12") == Match::no);
    CHECK(match({"!cali12", "cali*"}, "cali13") == Match::yes);
    CHECK(match({}, "cali12") == Match::by_discovery);
}

}  // namespace svclb::datapath
