// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "svclb/model/address.hpp"

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "svclb/model/desired.hpp"
#include "svclb/model/text.hpp"

using namespace svclb::model;

namespace {

std::string reprinted(std::string_view text) {
    const auto address = parse_address(text);
    return address ? to_string(*address) : "nothing";
}

std::string reprinted_cidr(std::string_view text) {
    const auto cidr = parse_cidr(text);
    return cidr ? to_string(cidr->address) + "/" + std::to_string(cidr->prefix) : "nothing";
}

}  // namespace

TEST_CASE("row 1.7: an address is read leniently and printed in its canonical form") {
    struct Row {
        const char* text;
        const char* canonical;
    };
    for (const auto& [text, canonical] : {
             Row{"10.0.0.1", "10.0.0.1"},
             Row{"0.0.0.0", "0.0.0.0"},
             Row{"255.255.255.255", "255.255.255.255"},
             Row{"010.00.000.09", "10.0.0.9"},
             Row{"000000192.0.2.1", "192.0.2.1"},
             Row{"::", "::"},
             Row{"::1", "::1"},
             Row{"1::", "1::"},
             Row{"FD00:0:0:0:0:0:0:ABCD", "fd00::abcd"},
             Row{"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
             Row{"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
             Row{"2001:0db8::0001", "2001:db8::1"},
             Row{"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
             Row{"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
             Row{"1:2:3:4:5:6:192.0.2.33", "1:2:3:4:5:6:c000:221"},
             Row{"::ffff:10.0.0.1", "10.0.0.1"},
             Row{"::ffff:a00:1", "10.0.0.1"},
         }) {
        CAPTURE(text);
        CHECK(reprinted(text) == canonical);
    }
}

TEST_CASE("text that is no address reads as nothing") {
    for (const auto* text : {"",
                             " ",
                             "10",
                             "10.0.0",
                             "10.0.0.",
                             ".10.0.0.1",
                             "10.0.0.1.",
                             "10.0.0.1.2",
                             "256.0.0.1",
                             "10.0.0.-1",
                             "10.0.0.1 ",
                             " 10.0.0.1",
                             "10.0.0.0x1",
                             "1e1.0.0.1",
                             "99999999999.0.0.1",
                             ":",
                             ":::",
                             "1:",
                             ":1",
                             "1:2:3:4:5:6:7",
                             "1:2:3:4:5:6:7:8:9",
                             "1:2:3:4:5:6:7:8::",
                             "1::2::3",
                             "12345::",
                             "g::",
                             "fe80::1%eth0",
                             "[::1]",
                             "1:2:3:4:5:6:7:1.2.3.4",
                             "1:2:3:4:5:1.2.3.4",
                             "::1.2.3",
                             "::1.2.3.4:5",
                             "::1.2.3.4.5",
                             "None",
                             "10.0.0.1/8"}) {
        CAPTURE(text);
        CHECK(reprinted(text) == "nothing");
    }
}

TEST_CASE("an IPv4 address is stored IPv4-mapped in network order") {
    const auto address = parse_address("10.96.0.10");
    REQUIRE(address);
    CHECK(address->bytes == std::array<std::uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 96, 0, 10});
    CHECK(address->family() == Family::ipv4);
    CHECK(parse_address("fd00::1")->family() == Family::ipv6);
    CHECK(parse_address("::fffe:10.0.0.1")->family() == Family::ipv6);
}

TEST_CASE("printing and reading an address gives it back, whatever its bits") {
    std::uint32_t random = 1;
    for (int round = 0; round < 20000; ++round) {
        Address address;
        for (auto& byte : address.bytes) {
            random = random * 1664525U + 1013904223U;
            // Half of the bytes are zero, so that runs of zero groups of every length and place come up.
            byte = (random >> 31U) != 0 ? 0 : static_cast<std::uint8_t>(random >> 16U);
        }
        const auto text = to_string(address);
        CAPTURE(text);
        REQUIRE(parse_address(text) == address);
    }
}

TEST_CASE("a CIDR loses its host bits, and an IPv4 prefix counts in the mapped form") {
    CHECK(reprinted_cidr("10.1.2.3/8") == "10.0.0.0/104");
    CHECK(reprinted_cidr("010.01.02.03/31") == "10.1.2.2/127");
    CHECK(reprinted_cidr("10.1.2.3/32") == "10.1.2.3/128");
    CHECK(reprinted_cidr("0.0.0.0/0") == "0.0.0.0/96");
    CHECK(reprinted_cidr("fd00:1:2::ffff/64") == "fd00:1:2::/64");
    CHECK(reprinted_cidr("ffff::1/1") == "8000::/1");
    CHECK(reprinted_cidr("::/0") == "::/0");
    for (const auto* text : {"10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "fd00::/129", "10.0.0.0/8/8", "10.0.0.0/-1", "/8",
                             "10.0.0.0/ 8", "10.0.0/8"}) {
        CAPTURE(text);
        CHECK(reprinted_cidr(text) == "nothing");
    }
}

TEST_CASE("an endpoint reads as address:port, IPv6 in brackets") {
    CHECK(endpoint_text(*parse_address("10.0.0.1"), 80) == "10.0.0.1:80");
    CHECK(endpoint_text(*parse_address("fd00::1"), 65535) == "[fd00::1]:65535");
    const std::string longest = "[1111:2222:3333:4444:5555:6666:7777:8888]:65535";
    CHECK(endpoint_text(*parse_address("1111:2222:3333:4444:5555:6666:7777:8888"), 65535) == longest);
}

TEST_CASE("protocols are spelled as the API does") {
    for (const auto protocol : {Protocol::tcp, Protocol::udp, Protocol::sctp})
        CHECK(parse_protocol(to_string(protocol)) == protocol);
    CHECK_FALSE(parse_protocol("tcp"));
    CHECK_FALSE(parse_protocol("ICMP"));
    CHECK(to_string(Family::ipv4) == "IPv4");
    CHECK(to_string(Family::ipv6) == "IPv6");
}

TEST_CASE("a service port reads as namespace/name:port, without a port name as namespace/name") {
    CHECK(to_string(ServicePortId{.service = {"default", "web"}, .port_name = "http"}) == "default/web:http");
    CHECK(to_string(ServicePortId{.service = {"default", "web"}, .port_name = ""}) == "default/web");
}

TEST_CASE("foreign text in a message is one bounded line of printable characters") {
    CHECK(printable("plain text") == "plain text");
    CHECK(printable("a\nb\x1b[2J\xc3\xa9") == R"(a\x0ab\x1b[2J\xc3\xa9)");
    CHECK(printable(std::string(500, 'x')) == std::string(120, 'x') + "...");
}

TEST_CASE("an address with a port is read as it is printed") {
    for (const auto* text : {"10.0.0.1:80", "0.0.0.0:65535", "[fd00::1]:443", "[::]:1"}) {
        CAPTURE(text);
        const auto read = parse_address_port(text);
        REQUIRE(read);
        CHECK(endpoint_text(read->address, read->port) == text);
    }
    for (const auto* text :
         {"", ":80", "10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:8a", "fd00::1:80",
          "[10.0.0.1]:80", "[fd00::1]", "[fd00::1]80", "[]:80", "host:80", "10.0.0.1:+1"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_address_port(text));
    }
}
