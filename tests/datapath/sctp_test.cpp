// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// SCTP associations: CRC32c after translation, set-up and tear-down, and nothing that cuts one.
#include "conversation.hpp"
#include "frame_layout.hpp"
#include "refusal.hpp"

using namespace svclb::test;

namespace {

void check_all_established(const Datapath& datapath, std::size_t entries) {
    CHECK(datapath.flows().size() == entries);
    for (const FlowEntry& found : datapath.flows()) CHECK(found.established);
}

}  // namespace

TEST_CASE("composed packet: CRC32c of known bytes", "[harness]") {
    // RFC 3720 appendix B.4: 32 bytes of zero.
    CHECK(crc32c(Bytes(32), 0, 32) == 0x8a9136aa);
}

TEST_CASE("sctp: packets of every length, out and back", "[sctp]") {
    const World world = sctp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    for (const std::size_t size : {0u, 1u, 2u, 3u, 4u, 5u, 100u, 239u, 240u, 241u, 1400u, 3000u}) {
        CAPTURE(size);
        Packet out = sctp(flow.client, flow.dialled, sctp_data, payload_of(size));
        out.trailer = size < 6 ? 6 : 0;
        if (size < 6) out.vlans = {1, 2};
        check_out(datapath, flow, out);
        check_back(datapath, flow, sctp(flow.backend, flow.presented, sctp_data, payload_of(size)));
    }
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("sctp: the checksum of all ports", "[sctp]") {
    const World world = sctp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    for (unsigned port = 1; port < 65536; port += 997) {
        const Packet packet = world.first(world.client(static_cast<std::uint16_t>(port)), world.frontend());
        CHECK_RUN(datapath.from_pod(packet), next, with_destination(packet, world.backend()));
    }
}

TEST_CASE("sctp: a checksum that a device is to compute stays absent", "[sctp]") {
    const World world = sctp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    Packet packet = world.first(world.client(), world.frontend());
    std::get<Sctp>(packet.transport).without_checksum = true;
    CHECK_RUN(datapath.from_pod(packet), next, with_destination(packet, world.backend()));
}

TEST_CASE("sctp: a wrong checksum stays wrong", "[sctp]") {
    const World world = sctp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    Bytes frame = world.first(world.client(), world.frontend()).frame();
    frame[frame.size() - 1] ^= 1;
    const Run run = datapath.from_pod(frame);
    CHECK(destination_of(run.frame) == world.backend());
    CHECK(wrong_checksums(run.frame) == "transport checksum\n");
}

TEST_CASE("sctp: an association is followed from INIT to SHUTDOWN-COMPLETE", "[sctp]") {
    const World world = sctp_world();
    const bool client_closes = GENERATE(false, true);
    CAPTURE(world, client_closes);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    check_answer(datapath, world, flow);
    check_out(datapath, flow, sctp(flow.client, flow.dialled, sctp_cookie_echo, payload_of(32)));
    check_all_established(datapath, 2);

    // Established: no change of the tables moves it.
    service.publish({world.backend(1)});
    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);
    service.remove();
    check_data_out(datapath, world, flow);
    check_data_back(datapath, world, flow);

    const auto out = [&](SctpChunk chunk) { check_out(datapath, flow, sctp(flow.client, flow.dialled, chunk, {})); };
    const auto back = [&](SctpChunk chunk) {
        check_back(datapath, flow, sctp(flow.backend, flow.presented, chunk, {}));
    };
    if (client_closes) {
        out(sctp_shutdown);
        back(sctp_shutdown_ack);
        out(sctp_shutdown_complete);
    } else {
        back(sctp_shutdown);
        out(sctp_shutdown_ack);
        back(sctp_shutdown_complete);
    }
    for (const FlowEntry& found : datapath.flows()) CHECK((found.flow.client_fin && found.flow.backend_fin));
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("sctp: a new INIT after the end chooses anew, one in an association does not", "[sctp]") {
    const World world = sctp_world();
    const bool aborted = GENERATE(false, true);
    CAPTURE(world, aborted);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    service.publish({world.backend(1)});
    // The client has lost its association and begins it again (RFC 9260 section 5.2.2).
    check_out(datapath, flow, world.first(flow.client, flow.dialled));

    if (aborted) {
        check_back(datapath, flow, sctp(flow.backend, flow.presented, sctp_abort, {}));
    } else {
        check_out(datapath, flow, sctp(flow.client, flow.dialled, sctp_shutdown, {}));
        check_back(datapath, flow, sctp(flow.backend, flow.presented, sctp_shutdown_ack, {}));
    }
    CHECK(establish(datapath, world, world.client(), world.frontend()).backend == world.backend(1));
}

TEST_CASE("sctp: what belongs into an association that we do not know goes on untouched", "[sctp]") {
    const World world = sctp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    std::uint64_t passed = 0;
    for (const SctpChunk chunk : {sctp_data, sctp_init_ack, sctp_abort, sctp_cookie_echo, sctp_shutdown}) {
        CAPTURE(+chunk);
        const Packet packet = sctp(world.client(), world.frontend(), chunk, payload_of(8));
        CHECK_RUN(datapath.from_pod(packet), next, packet);
        CHECK(datapath.reason(SVCLB_REASON_NO_FLOW).packets == ++passed);
    }
    CHECK(datapath.flows().empty());
}

TEST_CASE("sctp: hairpin, and a tuple that is taken", "[sctp]") {
    const World world = sctp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const Endpoint client = world.client();
    const Endpoint server{client.addr, 8080};
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {server});
    Packet there = with_source(with_destination(world.first(client, world.frontend()), server),
                               {world.frontend().addr, client.port});
    std::swap(there.to_mac, there.from_mac);
    CHECK_RUN(datapath.from_pod(world.first(client, world.frontend())), redirected, there);

    const ServiceFixture other(datapath, 2, world.frontend(1), world.proto, {world.backend()});
    establish(datapath, world, client, world.backend());
    const Conversation flow = establish(datapath, world, client, world.frontend(1));
    CHECK(flow.presented.port != client.port);
    check_data_back(datapath, world, flow);
}

TEST_CASE("sctp: no backend and an unknown port are refused with an ICMP error", "[sctp]") {
    const World world = sctp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {});
    mark_cluster_ip(datapath, world.frontend().addr);
    for (const Endpoint& to : {world.frontend(), Endpoint{world.frontend().addr, 81}}) {
        const Packet packet = world.first(world.client(), to);
        CHECK_RUN(datapath.from_pod(packet), redirected, unreachable_for(packet));
    }
}

TEST_CASE("sctp: ICMP errors of either direction, with the checksum if that is in the quote", "[sctp]") {
    const World world = sctp_world();
    const bool other_port = GENERATE(false, true);
    CAPTURE(world, other_port);
    Datapath& datapath = fresh_datapath();
    const ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend()});
    if (other_port) datapath.from_pod(world.first(world.client(), world.backend()));
    const Conversation flow = establish(datapath, world, world.client(), world.frontend());
    REQUIRE((flow.presented != flow.client) == other_port);
    const auto error = [&](const Ip& from, const Packet& quoted, std::size_t size) {
        const Bytes frame = quoted.frame();
        const Icmp message = world.family == 4 ? Icmp{3, 4, 1400} : Icmp{2, 0, 1400};
        const auto end = frame.begin() + 14 + (world.family == 4 ? 20 : 40) + static_cast<std::ptrdiff_t>(size);
        return icmp(from, quoted.source, message, Bytes(frame.begin() + 14, end));
    };
    for (const std::size_t size : {8u, 12u, 16u, 60u}) {
        CAPTURE(size);
        CHECK_RUN(datapath.to_pod(error(flow.backend.addr, world.data(flow.presented, flow.backend), size)), next,
                  error(flow.dialled.addr, world.data(flow.client, flow.dialled), size));
        CHECK_RUN(datapath.from_pod(error(flow.client.addr, world.data(flow.dialled, flow.client), size)), next,
                  error(flow.client.addr, world.data(flow.backend, flow.presented), size));
    }
}

TEST_CASE("sctp: an INIT that is sent again goes to the same backend, one that is aborted begins nothing", "[sctp]") {
    const World world = sctp_world();
    CAPTURE(world);
    Datapath& datapath = fresh_datapath();
    ServiceFixture service(datapath, 1, world.frontend(), world.proto, {world.backend(0)});
    const Conversation flow = begin(datapath, world, world.client(), world.frontend());
    service.publish({world.backend(1)});
    check_out(datapath, flow, world.first(flow.client, flow.dialled));
    check_back(datapath, flow, sctp(flow.backend, flow.presented, sctp_abort, {}));
    for (const FlowEntry& found : datapath.flows()) CHECK_FALSE(found.established);
    CHECK(begin(datapath, world, world.client(), world.frontend()).backend == world.backend(1));
}
