// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The harness itself: what composes and compares packets must be right before it may judge the programs.
#include <catch2/matchers/catch_matchers_string.hpp>

#include "world.hpp"

using namespace svclb::test;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("composed packet: the bytes of a known IPv4 UDP datagram", "[harness]") {
    Packet packet = udp({ip("192.168.0.31"), 0x3039}, {ip("192.168.0.30"), 53}, {'a', 'b', 'c'});
    packet.to_mac = {0x02, 0, 0, 0, 0, 0x01};
    packet.id = 1;
    packet.ttl = 64;
    const Bytes expected{0x02, 0,    0,    0,    0,    0x01, 0x02, 0,    0,    0,    0,    0x02,
                         0x08, 0x00,                                                              // Ethernet
                         0x45, 0x00, 0x00, 0x1f, 0x00, 0x01, 0x40, 0x00, 0x40, 0x11, 0xb9, 0x3f,  // IPv4
                         192,  168,  0,    31,   192,  168,  0,    30,                            //
                         0x30, 0x39, 0x00, 0x35, 0x00, 0x0b, 0x89, 0x79, 'a',  'b',  'c'};        // UDP
    CHECK(difference(expected, packet.frame()).empty());
}

TEST_CASE("composed packet: checksums are right in every kind", "[harness]") {
    const World world = any_world();
    CAPTURE(world);
    Packet packet = world.data(world.client(), world.frontend());
    CHECK(wrong_checksums(packet.frame()).empty());
    packet.ip_options = {0x94, 0x04, 0, 0};
    packet.extensions = {{IPPROTO_HOPOPTS, Bytes(6)}, {IPPROTO_DSTOPTS, Bytes(14)}};
    packet.vlans = {7, 8};
    packet.trailer = 5;
    CHECK(wrong_checksums(packet.frame()).empty());
    CHECK(source_of(packet.frame()) == world.client());
    CHECK(destination_of(packet.frame()) == world.frontend());
    Bytes broken = packet.frame();
    broken[broken.size() - 9] ^= 0x10;
    CHECK_FALSE(wrong_checksums(broken).empty());
}

TEST_CASE("compared packets: a difference names the field and both values", "[harness]") {
    const World world = any_world();
    CAPTURE(world);
    const Packet packet = world.data(world.client(), world.frontend());
    CHECK(difference(packet.frame(), packet.frame()).empty());
    const auto text = difference(packet.frame(), with_destination(packet, {world.frontend().addr, 81}).frame());
    CHECK_THAT(text, ContainsSubstring("destination port") && ContainsSubstring("expected 00 50, got 00 51"));
    CHECK_THAT(text, ContainsSubstring("checksum"));
    Bytes longer = packet.frame();
    longer.push_back(0xee);
    CHECK_THAT(difference(packet.frame(), longer), ContainsSubstring("more than expected: ee"));
    longer.resize(20);
    CHECK_THAT(difference(packet.frame(), longer), ContainsSubstring("got (nothing)"));
}
