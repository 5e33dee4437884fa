// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Where node ports are served: behaviour row 1.24.
#include "svclb/model/node_addresses.hpp"

#include "fixtures.hpp"

using namespace svclb::model;
using namespace svclb::model::test;

namespace {

std::vector<Address> addresses(const Texts& texts) {
    std::vector<Address> out;
    for (const auto& text : texts) out.push_back(address(text));
    return out;
}

Texts texts_of(const std::vector<Address>& from) {
    Texts texts;
    for (const auto& each : from) texts.push_back(to_string(each));
    return texts;
}

Texts serving(const Texts& chosen) {
    const auto parsed = parse_node_port_addresses(chosen);
    REQUIRE(parsed);
    const auto primary = addresses({"192.168.0.1", "fd00:168::1"});
    const auto local = addresses(
        {"fe80::1", "fd00:168::1", "fd00:9::1", "::1", "127.0.0.1", "192.168.0.1", "10.244.1.1", "192.168.0.1"});
    return texts_of(serving_addresses(*parsed, primary, local));
}

}  // namespace

TEST_CASE("row 1.24: by default the primary address of each family") {
    CHECK(serving({"primary"}) == Texts{"192.168.0.1", "fd00:168::1"});
    CHECK(serving({}) == Texts{"192.168.0.1", "fd00:168::1"});
}

TEST_CASE("row 1.24: ranges choose among the addresses of devices, never loopback or link-local ones") {
    CHECK(serving({"192.168.0.0/16", "fd00:9::/64"}) == Texts{"192.168.0.1", "fd00:9::1"});
    CHECK(serving({"0.0.0.0/0", "::/0"}) == Texts{"10.244.1.1", "192.168.0.1", "fd00:9::1", "fd00:168::1"});
    CHECK(serving({"127.0.0.0/8", "fd00:9::1/128"}) == Texts{"fd00:9::1"});
}

TEST_CASE("row 1.24: of a family without a range all addresses serve") {
    CHECK(serving({"10.0.0.0/8"}) == Texts{"10.244.1.1", "fd00:9::1", "fd00:168::1"});
    CHECK(serving({"fd00:9::/64"}) == Texts{"10.244.1.1", "192.168.0.1", "fd00:9::1"});
}

TEST_CASE(
    "row 1.24: ranges are all addresses where each family has its whole range, or none and the other one has it") {
    const auto all = [](const Texts& texts) { return is_all(*parse_node_port_addresses(texts)); };
    CHECK(is_all(all_addresses()));
    CHECK(all({"::/0", "10.0.0.0/8", "0.0.0.0/0"}));
    CHECK(all({"0.0.0.0/0"}));
    CHECK(all({"::/0"}));
    CHECK_FALSE(all({"0.0.0.0/0", "fd00::/8"}));
    CHECK_FALSE(all({"0.0.0.0/1", "::/0"}));
    CHECK_FALSE(all({"primary"}));
    CHECK_FALSE(all({}));
}

TEST_CASE("nodePortAddresses are CIDRs, or primary alone") {
    CHECK_FALSE(parse_node_port_addresses(Texts{"primary", "10.0.0.0/8"}));
    CHECK_FALSE(parse_node_port_addresses(Texts{"10.0.0.1"}));
    CHECK_FALSE(parse_node_port_addresses(Texts{"eth0"}));
}

TEST_CASE("the primary addresses of a Node are the first one of each family that is a host's") {
    Node node;
    node.ips = {"not one", "0.0.0.0", "fd00:168::1", "192.168.0.1", "192.168.0.2", "fd00:168::2"};
    CHECK(texts_of(primary_addresses(node)) == Texts{"fd00:168::1", "192.168.0.1"});
    CHECK(texts_of(node_view(node).primary) == Texts{"fd00:168::1", "192.168.0.1"});
}

TEST_CASE("a range holds the addresses of its own family, to the bit") {
    const auto holds = [](const char* range, const char* of) { return contains(*parse_cidr(range), address(of)); };
    CHECK(holds("10.0.0.0/8", "10.255.255.255"));
    CHECK_FALSE(holds("10.0.0.0/8", "11.0.0.0"));
    CHECK(holds("10.0.0.128/25", "10.0.0.128"));
    CHECK_FALSE(holds("10.0.0.128/25", "10.0.0.127"));
    CHECK(holds("10.0.0.1/32", "10.0.0.1"));
    CHECK_FALSE(holds("10.0.0.1/32", "10.0.0.0"));
    CHECK(holds("0.0.0.0/0", "1.2.3.4"));
    CHECK_FALSE(holds("::/0", "1.2.3.4"));
    CHECK(holds("::/0", "fd00::1"));
    CHECK(holds("fd00:1::/33", "fd00:1:7fff::"));
    CHECK_FALSE(holds("fd00:1::/33", "fd00:1:8000::"));
    CHECK(to_string(*parse_cidr("10.0.0.128/25")) == "10.0.0.128/25");
    CHECK(to_string(*parse_cidr("::/0")) == "::/0");
    CHECK(to_string(*parse_cidr("fd00:1::/33")) == "fd00:1::/33");
}
