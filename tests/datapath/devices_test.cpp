// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Pod links and uplinks are found by what they are, and followed.
#include "svclb/datapath/devices.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <chrono>

#include "kernel_sandbox.hpp"

namespace svclb::datapath {
namespace {

Devices open_devices(DevicePatterns patterns = {}) {
    auto devices = Devices::open(std::move(patterns));
    INFO(error_of(devices));
    REQUIRE(devices);
    return std::move(*devices);
}

std::string text_of(Devices& devices) {
    const auto changes = devices.changes();
    INFO(error_of(changes));
    REQUIRE(changes);
    std::string all;
    for (const auto& [device, gone] : *changes) {
        all += (gone ? "-" : "+") + device.name + (device.kind == LinkKind::pod ? " pod;" : " uplink;");
    }
    return all;
}

}  // namespace

TEST_CASE("the first look returns every device that matters") {
    const KernelSandbox sandbox;
    sandbox.add_pod_link("pod0");
    sandbox.ip("link add vetha type veth peer name vethb");
    sandbox.ip("link add br0 type bridge");
    Devices devices = open_devices();
    CHECK(text_of(devices) == "+pod0 pod;");
    CHECK(text_of(devices).empty());
}

TEST_CASE("a new pod link carries our programs when its event has been handled") {
    const KernelSandbox sandbox;
    Datapath datapath = open_or_fail(sandbox.options());
    Devices devices = open_devices();
    CHECK(text_of(devices).empty());
    // The best of some: namespaces of earlier tests are taken down in the background, and hold the kernel's device
    // lock.
    auto best = std::chrono::steady_clock::duration::max();
    for (int attempt = 0; attempt < 5; ++attempt) {
        sandbox.add_pod_link("pod0");
        pollfd readable{.fd = devices.fd(), .events = POLLIN, .revents = 0};
        REQUIRE(::poll(&readable, 1, 20000) == 1);
        const auto begin = std::chrono::steady_clock::now();
        const auto changes = devices.changes();
        REQUIRE(changes);
        REQUIRE(changes->size() == 1);
        REQUIRE(datapath.attach_pod_link(changes->front().device.ifindex, "pod0"));
        best = std::min(best, std::chrono::steady_clock::now() - begin);
        const auto attached = datapath.attached();
        REQUIRE(attached.size() == 1);
        CHECK(attached.front().hooks.size() == 2);
        REQUIRE(datapath.detach(changes->front().device.ifindex));
        sandbox.ip("link del pod0");
        CHECK(text_of(devices) == "-pod0 pod;");
    }
    // A tcx attachment returns a grace period after its program is in force: the second wait delays nothing.
    const auto before_wait = std::chrono::steady_clock::now();
    REQUIRE(datapath.wait_grace_period());
    const auto grace_period = std::chrono::steady_clock::now() - before_wait;
    const auto ms = [](auto time) { return std::chrono::duration<double, std::milli>(time).count(); };
    WARN("both programs in force after " << ms(best) - ms(grace_period) << " ms, back after " << ms(best) << " ms");
}

TEST_CASE("a veth becomes a pod link when its peer moves away, and none when it comes back") {
    const KernelSandbox sandbox;
    sandbox.ip("link add vetha type veth peer name vethb");
    Devices devices = open_devices();
    CHECK(text_of(devices).empty());
    sandbox.ip("link set vethb netns OTHER");
    CHECK(text_of(devices) == "+vetha pod;");
}

TEST_CASE("a default route or a gateway makes a veth an uplink, a pod's own route does not") {
    const KernelSandbox sandbox;
    for (const auto* name : {"host-route", "gateway", "default4", "default6", "multipath"}) sandbox.add_pod_link(name);
    sandbox.ip("route add 10.1.0.7/32 dev host-route scope link");
    sandbox.ip("addr add 10.2.0.1/24 dev gateway");
    sandbox.ip("route add 10.9.0.0/16 via 10.2.0.2 dev gateway");
    sandbox.ip("route add default dev default4");
    sandbox.ip("-6 route add default dev default6");
    sandbox.ip("addr add 10.3.0.1/24 dev multipath");
    sandbox.ip("route add 10.8.0.0/16 nexthop via 10.2.0.3 dev gateway nexthop via 10.3.0.2 dev multipath");
    Devices devices = open_devices();
    CHECK(text_of(devices) == "+host-route pod;+gateway uplink;+default4 uplink;+default6 uplink;+multipath uplink;");
}

TEST_CASE("a network makes an uplink of a device that leads to no pods, and a rule's table of a bridge, too") {
    const KernelSandbox sandbox;
    sandbox.ip("link add under type veth peer name other");
    for (const auto* name : {"alone", "network4", "network6", "by-link", "host"})
        sandbox.ip(std::string("link add ") + name + " link under type macvlan mode private");
    sandbox.ip("link add bridge-network type bridge");
    sandbox.ip("link add bridge-table type bridge");
    sandbox.add_pod_link("pod");
    for (const auto* name :
         {"under", "other", "alone", "network4", "network6", "by-link", "host", "bridge-network", "bridge-table"})
        sandbox.ip(std::string("link set ") + name + " up");
    sandbox.ip("addr add 10.1.0.1/24 dev network4");
    sandbox.ip("addr add fd00:1::1/64 dev network6 nodad");
    sandbox.ip("addr add fe80::9/64 dev by-link nodad");
    sandbox.ip("addr add 10.3.0.1/32 dev host");
    sandbox.ip("route add 10.3.0.2/32 dev host");
    sandbox.ip("addr add 10.4.0.1/24 dev bridge-network");
    sandbox.ip("addr add 10.5.0.1/24 dev bridge-table");
    sandbox.ip("route add default via 10.5.0.2 table 100");
    sandbox.ip("route add default dev pod table 101");
    Devices devices = open_devices();
    CHECK(text_of(devices) == "+network4 uplink;+network6 uplink;+bridge-table uplink;+pod pod;");
    sandbox.ip("addr add 10.6.0.1/24 dev alone");
    CHECK(text_of(devices) == "+alone uplink;");
    sandbox.ip("addr del 10.6.0.1/24 dev alone");
    CHECK(text_of(devices).empty());
}

TEST_CASE("routes are followed as they come and go") {
    const KernelSandbox sandbox;
    sandbox.add_pod_link("pod0");
    sandbox.add_pod_link("pod1");
    Devices devices = open_devices();
    CHECK(text_of(devices) == "+pod0 pod;+pod1 pod;");
    sandbox.ip("route add default dev pod0");
    CHECK(text_of(devices) == "+pod0 uplink;");
    sandbox.ip("route replace default dev pod1");
    CHECK(text_of(devices) == "+pod0 pod;+pod1 uplink;");
    // The kernel tells of the device that goes down, and not of the IPv4 routes that go with it.
    // While it is down it stays what it was: its routes may come back when it is up.
    sandbox.ip("link set pod1 down");
    CHECK(text_of(devices).empty());
    sandbox.ip("link set pod1 up");
    CHECK(text_of(devices) == "+pod1 pod;");
    sandbox.ip("route add 10.1.0.7/32 dev pod0 scope link");
    CHECK(text_of(devices).empty());
}

TEST_CASE("an uplink that goes down and comes up before its default route stays one, even a veth") {
    const KernelSandbox sandbox;
    sandbox.add_pod_link("eth0");
    sandbox.ip("addr add 10.1.0.1/24 dev eth0");
    sandbox.ip("route add default via 10.1.0.2");
    Devices devices = open_devices();
    CHECK(text_of(devices) == "+eth0 uplink;");
    sandbox.ip("link set eth0 down");
    CHECK(text_of(devices).empty());
    sandbox.ip("link set eth0 up");
    CHECK(text_of(devices).empty());
    sandbox.ip("route add default via 10.1.0.2");
    CHECK(text_of(devices).empty());
    sandbox.ip("addr flush dev eth0");
    CHECK(text_of(devices) == "+eth0 pod;");
}

TEST_CASE("a device that is renamed is told again, one that leaves or joins a bridge is not") {
    const KernelSandbox sandbox;
    sandbox.add_pod_link("pod0");
    sandbox.ip("link add br0 type bridge");
    Devices devices = open_devices();
    CHECK(text_of(devices) == "+pod0 pod;");
    sandbox.ip("link set pod0 master br0");
    sandbox.ip("link set pod0 nomaster");
    CHECK(text_of(devices).empty());
    sandbox.ip("link set pod0 down");
    sandbox.ip("link set pod0 name cali0");
    CHECK(text_of(devices) == "+cali0 pod;");
}

TEST_CASE("a namespace's end takes its pod links along") {
    const KernelSandbox sandbox;
    sandbox.add_pod_link("pod0");
    Devices devices = open_devices();
    CHECK(text_of(devices) == "+pod0 pod;");
    sandbox.ip("link set pod0 netns OTHER");
    CHECK(text_of(devices) == "-pod0 pod;");
}

TEST_CASE("patterns override what is found") {
    const KernelSandbox sandbox;
    sandbox.add_pod_link("pod0");
    sandbox.add_pod_link("wan0");
    sandbox.ip("link add br0 type bridge");
    Devices devices = open_devices({.pod_links = {"!wan*"}, .uplinks = {"br*"}});
    CHECK(text_of(devices) == "+pod0 pod;+br0 uplink;");
}

TEST_CASE("lost messages are made good by a new list") {
    const KernelSandbox sandbox;
    sandbox.add_pod_link("pod0");
    Devices devices = open_devices();
    CHECK(text_of(devices) == "+pod0 pod;");
    // Fills the receive buffer: each route is a message.
    const int room = 1;
    REQUIRE(::setsockopt(devices.fd(), SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) == 0);
    for (int i = 0; i < 8; ++i) sandbox.ip("link add lost" + std::to_string(i) + " type bridge");
    sandbox.add_pod_link("pod1");
    CHECK(text_of(devices) == "+pod1 pod;");
}

}  // namespace svclb::datapath
