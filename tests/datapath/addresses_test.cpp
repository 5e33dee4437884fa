// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The addresses of the namespace's devices are listed, and followed.
#include "svclb/datapath/addresses.hpp"

#include <arpa/inet.h>
#include <poll.h>

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "kernel_sandbox.hpp"

namespace svclb::datapath {
namespace {

std::string text_of(const AddressBytes& bytes) {
    std::string text(INET6_ADDRSTRLEN, '\0');
    ::inet_ntop(AF_INET6, bytes.data(), text.data(), INET6_ADDRSTRLEN);
    return text.c_str();
}

// But for the loopback's; "same" where nothing has changed.
std::vector<std::string> texts_of(Addresses& addresses) {
    const auto changes = addresses.changes();
    INFO(error_of(changes));
    REQUIRE(changes);
    if (!*changes) return {"same"};
    std::vector<std::string> texts;
    for (const auto& bytes : **changes)
        if (const auto text = text_of(bytes); text != "::1" && text != "::ffff:127.0.0.1") texts.push_back(text);
    return texts;
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("addresses of all devices are listed once, and again when one comes or goes") {
    const KernelSandbox sandbox;
    sandbox.ip("link add br0 type bridge");
    sandbox.ip("address add 10.9.0.1/24 dev br0");
    sandbox.ip("address add fd00:9::1/64 dev br0 nodad");
    sandbox.ip("address add 10.9.0.2 peer 10.9.0.3 dev br0");
    auto opened = Addresses::open();
    INFO(error_of(opened));
    REQUIRE(opened);
    auto& addresses = *opened;
    CHECK(texts_of(addresses) == Texts{"::ffff:10.9.0.1", "::ffff:10.9.0.2", "fd00:9::1"});
    CHECK(texts_of(addresses) == Texts{"same"});

    sandbox.ip("address add 10.9.9.9/24 dev br0");
    pollfd readable{.fd = addresses.fd(), .events = POLLIN, .revents = 0};
    CHECK(::poll(&readable, 1, 10000) == 1);
    CHECK(texts_of(addresses) == Texts{"::ffff:10.9.0.1", "::ffff:10.9.0.2", "::ffff:10.9.9.9", "fd00:9::1"});
    sandbox.ip("address del fd00:9::1/64 dev br0");
    CHECK(texts_of(addresses) == Texts{"::ffff:10.9.0.1", "::ffff:10.9.0.2", "::ffff:10.9.9.9"});
    // Link-local ones come with each Pod's link.
    sandbox.ip("address add fe80::9/64 dev br0 nodad");
    CHECK(texts_of(addresses) == Texts{"same"});
    // One that another device has, too, stays when one of them goes.
    sandbox.ip("link add br1 type bridge");
    sandbox.ip("address add 10.9.9.9/32 dev br1");
    CHECK(texts_of(addresses) == Texts{"same"});
    sandbox.ip("link del br0");
    CHECK(texts_of(addresses) == Texts{"::ffff:10.9.9.9"});
}

TEST_CASE("addresses of Services, which kube-proxy's IPVS mode puts on a device, are none of the node's") {
    const KernelSandbox sandbox;
    sandbox.ip("link add br0 type bridge");
    sandbox.ip("address add 10.9.0.1/24 dev br0");
    sandbox.ip("link add kube-ipvs0 type bridge");
    sandbox.ip("address add 10.96.0.10/32 dev kube-ipvs0");
    sandbox.ip("address add fd00:96::10/128 dev kube-ipvs0 nodad");
    auto addresses = Addresses::open();
    INFO(error_of(addresses));
    REQUIRE(addresses);
    CHECK(texts_of(*addresses) == Texts{"::ffff:10.9.0.1"});
    sandbox.ip("address add 10.96.0.11/32 dev kube-ipvs0");
    CHECK(texts_of(*addresses) == Texts{"same"});
}

TEST_CASE("of a device's addresses the first that may be a source is told, and none that is to go") {
    const KernelSandbox sandbox;
    sandbox.ip("link add br0 type bridge");
    sandbox.ip("address add fd00:9::1/64 dev br0 nodad preferred_lft 0");
    auto opened = Addresses::open();
    REQUIRE(opened);
    auto& addresses = *opened;
    CHECK(texts_of(addresses) == Texts{"fd00:9::1"});
    CHECK(addresses.by_device().at(ifindex_of("br0")).v6 == AddressBytes{});
    sandbox.ip("address add 10.9.0.1/24 dev br0");
    sandbox.ip("address add 10.9.0.2/24 dev br0");
    sandbox.ip("address add fd00:9::2/64 dev br0 nodad");
    CHECK(texts_of(addresses).size() == 4);
    const auto& device = addresses.by_device().at(ifindex_of("br0"));
    CHECK(text_of(device.v4) == "::ffff:10.9.0.1");
    CHECK(text_of(device.v6) == "fd00:9::2");
    CHECK(device.all.size() == 4);
}

}  // namespace svclb::datapath
