// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "device_table.hpp"

#include <catch2/catch_test_macros.hpp>

namespace svclb::datapath {
namespace {

DeviceFacts pod_end(int ifindex, const std::string& name) {
    return {.ifindex = ifindex, .name = name, .type = "veth", .peer_elsewhere = true};
}

DeviceFacts pair_end(int ifindex, const std::string& name, int peer) {
    return {.ifindex = ifindex, .name = name, .type = "veth", .peer = peer};
}

std::string text(const std::vector<DeviceChange>& changes) {
    std::string all;
    for (const auto& [device, gone] : changes) {
        all += (gone ? "-" : "+") + device.name + (device.kind == LinkKind::pod ? " pod;" : " uplink;");
    }
    return all;
}

}  // namespace

TEST_CASE("each change is reported once") {
    DeviceTable table({});
    table.set(pod_end(3, "veth3"));
    CHECK(text(table.take_changes()) == "+veth3 pod;");
    table.set(pod_end(3, "veth3"));
    CHECK(table.take_changes().empty());
    table.remove(3);
    CHECK(text(table.take_changes()) == "-veth3 pod;");
    CHECK(table.take_changes().empty());
}

TEST_CASE("a pod link becomes an uplink with its route, and a pod link again without") {
    DeviceTable table({});
    table.set(pod_end(3, "eth0"));
    CHECK(text(table.take_changes()) == "+eth0 pod;");
    table.set_reach({{3, Reach::out}});
    CHECK(text(table.take_changes()) == "+eth0 uplink;");
    table.set_reach({});
    CHECK(text(table.take_changes()) == "+eth0 pod;");
}

TEST_CASE("an uplink that is no veth stays one without its routes, under any name, until it goes") {
    DeviceTable table({.pod_links = {}, .uplinks = {"!skip*"}});
    table.set({.ifindex = 3, .name = "eth0", .type = ""});
    table.set({.ifindex = 4, .name = "br0", .type = "bridge"});
    table.set_reach({{3, Reach::network}, {4, Reach::out}});
    CHECK(text(table.take_changes()) == "+eth0 uplink;+br0 uplink;");
    table.set_reach({});
    CHECK(table.take_changes().empty());
    table.set({.ifindex = 4, .name = "wan0", .type = "bridge"});
    CHECK(text(table.take_changes()) == "+wan0 uplink;");
    table.set({.ifindex = 4, .name = "skip0", .type = "bridge"});
    CHECK(text(table.take_changes()) == "-wan0 uplink;");
    table.remove(3);
    table.set({.ifindex = 3, .name = "eth0", .type = ""});
    CHECK(text(table.take_changes()) == "-eth0 uplink;");
}

TEST_CASE("XDP is for hardware with a gateway: a network alone may be one of storage") {
    DeviceTable table({});
    table.set({.ifindex = 3, .name = "eth1", .type = ""});
    table.set_reach({{3, Reach::network}});
    CHECK_FALSE(table.take_changes().at(0).device.hardware);
    table.set_reach({{3, Reach::out}});
    CHECK(table.take_changes().at(0).device.hardware);
    table.set_reach({});
    CHECK(table.take_changes().empty());
}

TEST_CASE("hardware is told from virtual devices, and a bond is hardware") {
    const auto is_hardware = [](const char* type) {
        DeviceTable table({});
        table.set({.ifindex = 3, .name = "eth0", .type = type});
        table.set_reach({{3, Reach::out}});
        return table.take_changes().at(0).device.hardware;
    };
    CHECK(is_hardware(""));
    CHECK(is_hardware("bond"));
    for (const char* type : {"veth", "netkit", "bridge", "vlan", "vxlan", "wireguard"}) CHECK_FALSE(is_hardware(type));
}

TEST_CASE("a device that comes back under its number between two looks is another one") {
    DeviceTable table({});
    table.set(pod_end(3, "veth3"));
    table.take_changes();
    table.remove(3);
    table.set(pod_end(3, "veth3"));
    CHECK(text(table.take_changes()) == "-veth3 pod;+veth3 pod;");
}

TEST_CASE("a device that came and went between two looks is not reported") {
    DeviceTable table({});
    table.set(pod_end(3, "veth3"));
    table.remove(3);
    CHECK(table.take_changes().empty());
}

TEST_CASE("the end that stays is named when its peer leaves or comes back") {
    DeviceTable table({});
    CHECK(table.set(pair_end(3, "veth3", 4)) == 0);
    CHECK(table.set(pair_end(4, "eth0", 3)) == 3);
    CHECK(table.set(pair_end(4, "eth0", 3)) == 0);
    CHECK(table.remove(4) == 3);
    CHECK(table.remove(4) == 0);
    CHECK(table.set(pair_end(4, "eth0", 3)) == 3);
}

TEST_CASE("a complete list reports what vanished unseen") {
    DeviceTable table({});
    table.set(pod_end(3, "veth3"));
    table.set(pod_end(4, "veth4"));
    table.take_changes();
    table.forget_devices();
    table.set(pod_end(4, "veth4"));
    CHECK(text(table.take_changes()) == "-veth3 pod;");
}

}  // namespace svclb::datapath
