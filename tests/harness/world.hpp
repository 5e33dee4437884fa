// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The addresses and protocols that the packet tests run with: each case in IPv4 and IPv6, and mostly TCP and UDP.
#pragma once

#include <netinet/in.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/catch_tostring.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <map>
#include <string>

#include "packet.hpp"
#include "prog_run.hpp"
#include "service_fixture.hpp"

namespace svclb::test {

struct World {
    int family = 4;
    std::uint8_t proto = IPPROTO_TCP;
    // Uplinks have no Ethernet header. The kernel's test-run reads one anyway, to learn the protocol: it finds that in
    // the first two octets of the sender's IPv4 address, or the third group of its IPv6 address.
    bool bare = false;

    [[nodiscard]] bool tcp_flow() const { return proto == IPPROTO_TCP; }
    [[nodiscard]] Ip net(const char* v4, const char* v6) const { return ip(family == 4 ? v4 : v6); }

    // Clients and backends are pods; clients have the ports that the kernel would have chosen.
    [[nodiscard]] Endpoint client(std::uint16_t port = 40000) const {
        return {net("10.244.1.10", "fd00:244:1::10"), port};
    }
    [[nodiscard]] Endpoint other_client(std::uint16_t port = 40000) const {
        return {net("10.244.1.11", "fd00:244:1::11"), port};
    }
    [[nodiscard]] Endpoint backend(std::uint32_t i = 0) const {
        return {(bare ? net("8.0.2.20", "fd00:244:86dd::20") : net("10.244.2.20", "fd00:244:2::20")) + i, 8080};
    }
    [[nodiscard]] Endpoint frontend(std::uint32_t i = 0) const { return {net("10.96.0.10", "fd00:96::10") + i, 80}; }
    [[nodiscard]] Endpoint stranger() const {
        return {bare ? net("8.0.0.7", "2001:db8:86dd::7") : net("192.0.2.7", "2001:db8::7"), 443};
    }

    // The packet that begins a conversation, its answer, and one in the middle.
    [[nodiscard]] Packet first(const Endpoint& from, const Endpoint& to) const {
        if (proto == IPPROTO_SCTP) return sctp(from, to, sctp_init, payload_of(16));
        if (!tcp_flow()) return udp(from, to, payload_of(33));
        Packet packet = tcp(from, to, syn);
        packet.tcp().options = {2, 4, 5, 0xb4, 4, 2, 1, 1};
        return packet;
    }
    [[nodiscard]] Packet answer(const Endpoint& from, const Endpoint& to) const {
        if (proto == IPPROTO_SCTP) return sctp(from, to, sctp_init_ack, payload_of(40));
        return tcp_flow() ? tcp(from, to, syn | ack) : udp(from, to, payload_of(12));
    }
    [[nodiscard]] Packet data(const Endpoint& from, const Endpoint& to) const {
        if (proto == IPPROTO_SCTP) return sctp(from, to, sctp_data, payload_of(101));
        return tcp_flow() ? tcp(from, to, psh | ack, payload_of(101)) : udp(from, to, payload_of(101));
    }
};

inline std::string to_string(const World& world) {
    const char* proto = world.tcp_flow() ? "TCP" : world.proto == IPPROTO_SCTP ? "SCTP" : "UDP";
    return std::string(world.family == 4 ? "IPv4 " : "IPv6 ") + proto + (world.bare ? " bare" : "");
}

// In each test case once: these run it for every value.
inline World any_world() {
    return GENERATE(World{4, IPPROTO_TCP}, World{4, IPPROTO_UDP}, World{6, IPPROTO_TCP}, World{6, IPPROTO_UDP});
}
inline World every_world() {
    return GENERATE(World{4, IPPROTO_TCP}, World{4, IPPROTO_UDP}, World{4, IPPROTO_SCTP}, World{6, IPPROTO_TCP},
                    World{6, IPPROTO_UDP}, World{6, IPPROTO_SCTP});
}
inline World tcp_world() {
    return GENERATE(World{4, IPPROTO_TCP}, World{6, IPPROTO_TCP});
}
inline World sctp_world() {
    return GENERATE(World{4, IPPROTO_SCTP}, World{6, IPPROTO_SCTP});
}
inline World udp_world() {
    return GENERATE(World{4, IPPROTO_UDP}, World{6, IPPROTO_UDP});
}

inline svclb_frontend_kind any_external_kind() {
    return GENERATE(SVCLB_FRONTEND_NODE_PORT, SVCLB_FRONTEND_EXTERNAL_IP, SVCLB_FRONTEND_LOAD_BALANCER);
}

// The programs with these settings and sizes, and empty maps. A process loads each once, and only what it runs: the
// verifier takes seconds where the machine is emulated.
inline Datapath& datapath_with(const DatapathOptions& options) {
    static std::map<std::string, Datapath> loaded;
    Datapath* datapath = nullptr;
    try {
        datapath = &loaded.try_emplace(options.key(), options).first->second;
    } catch (const NotPermitted& reason) {
        SKIP(reason.what());
    }
    datapath->clear();
    return *datapath;
}

inline Datapath& fresh_datapath() {
    return datapath_with({});
}

}  // namespace svclb::test

namespace Catch {
template <>
struct StringMaker<svclb::test::Endpoint> {
    static std::string convert(const svclb::test::Endpoint& endpoint) { return svclb::test::to_string(endpoint); }
};
template <>
struct StringMaker<svclb::test::World> {
    static std::string convert(const svclb::test::World& world) { return svclb::test::to_string(world); }
};
}  // namespace Catch

// The whole of a run: the verdict, and every byte of the packet. `expected` is a Packet.
#define CHECK_RUN(ran, expected_verdict, expected)                                                \
    do {                                                                                          \
        const ::svclb::test::Run& checked_run = (ran);                                            \
        CHECK(checked_run.verdict == (expected_verdict));                                         \
        CHECK(::svclb::test::difference((expected).frame(), checked_run.frame) == std::string()); \
    } while (false)
