// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "uplink_sources.hpp"

#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <string>
#include <vector>

using namespace svclb;
using namespace svclb::agent;
using datapath::LinkKind;

namespace {

constexpr int kUnderlay = 2;
constexpr int kOverlay = 3;

model::Address address(const char* text) {
    return *model::parse_address(text);
}

datapath::LinkAddresses own(const char* v4, const char* v6) {
    const auto first = address(v4).bytes;
    const auto second = address(v6).bytes;
    return {.v4 = first, .v6 = second, .all = {first, second}};
}

// "IPV4 IPV6" of a device, "-" for the node's own.
std::string sources(LinkKind overlay, const std::vector<const char*>& primary, int device) {
    const std::vector<datapath::AttachedLink> links{
        {.ifindex = kUnderlay, .name = "eth0", .kind = LinkKind::uplink, .hooks = {}},
        {.ifindex = kOverlay, .name = "over", .kind = overlay, .hooks = {}},
        {.ifindex = 9, .name = "gone", .kind = LinkKind::uplink, .hooks = {}}};
    std::vector<model::Address> node;
    for (const auto* text : primary) node.push_back(address(text));
    const auto rows = uplink_sources(
        links, {{kUnderlay, own("192.0.2.1", "2001:db8::1")}, {kOverlay, own("10.9.0.1", "fd00:9::1")}}, node);
    const auto row = rows.find(device);
    if (row == rows.end()) return "- -";
    const auto text = [](const auto& words) {
        model::Address found;
        std::memcpy(found.bytes.data(), words, found.bytes.size());
        return found == model::Address{} ? "-" : model::to_string(found);
    };
    return text(row->second.v4) + " " + text(row->second.v6);
}

}  // namespace

TEST_CASE("a device other than the node address's has its own as the source, by family") {
    for (const auto kind : {LinkKind::uplink, LinkKind::tunnel}) {
        CHECK(sources(kind, {"192.0.2.1", "2001:db8::1"}, kUnderlay) == "- -");
        CHECK(sources(kind, {"192.0.2.1", "2001:db8::1"}, kOverlay) == "10.9.0.1 fd00:9::1");
        CHECK(sources(kind, {"192.0.2.1", "fd00:9::1"}, kUnderlay) == "- 2001:db8::1");
        CHECK(sources(kind, {"192.0.2.1", "fd00:9::1"}, kOverlay) == "10.9.0.1 -");
    }
}

TEST_CASE("a node's address that is on no uplink is the source at all of them, and at no tunnel") {
    for (const auto* node : {"198.51.100.1", "2001:db8:5::1"}) {
        CHECK(sources(LinkKind::uplink, {node}, kUnderlay) == "- -");
        CHECK(sources(LinkKind::uplink, {node}, kOverlay) == "- -");
        CHECK(sources(LinkKind::tunnel, {node}, kOverlay) == "10.9.0.1 fd00:9::1");
    }
}

TEST_CASE("pods' links have no source of their own") {
    CHECK(sources(LinkKind::pod, {"192.0.2.1", "2001:db8::1"}, kOverlay) == "- -");
}
