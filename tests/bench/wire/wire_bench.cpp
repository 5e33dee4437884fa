// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Nanoseconds of the XDP program for one packet of an established flow that it turns round, by test-run, with the floor
// of laying the packet down; each trial is within one tick, or it does not count. And of the program at an uplink's
// ingress for what is none of our business, and of both of its programs for the first packet of a flow. Prints; a
// measurement, not a test.
#include <bpf/bpf.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <vector>

#include "turned_flow.hpp"

using namespace svclb::test;

namespace {

constexpr std::int32_t kRuns = 100000;
constexpr int kTrials = 15;

// Nanoseconds each; 0 where one of the trial's packets met another verdict.
double run(Datapath& datapath, const char* name, const Bytes& frame, std::int32_t verdict = xdp_redirect,
           std::int32_t repeat = kRuns) {
    Bytes out(frame.size() + 256);
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.data_out = out.data();
    options.data_size_out = static_cast<__u32>(out.size());
    options.repeat = repeat;
    REQUIRE(bpf_prog_test_run_opts(datapath.program(name), &options) == 0);
    return static_cast<std::int32_t>(options.retval) == verdict ? options.duration : 0;
}

// So many ranges of Services, of both families in turn, and none has an address of World in it.
void set_service_cidrs(Datapath& datapath, std::uint32_t ranges) {
    svclb_service_cidrs& row = datapath.service_cidrs();
    for (std::uint32_t i = 0; i < ranges; i++) {
        svclb_cidr& range = row.cidr[i];
        const Ip base = ip(i % 2 == 0 ? "172.20.0.0" : "fd00:172::");
        std::memcpy(range.addr, base.bytes.data(), sizeof(range.addr));
        range.mask[0] = range.mask[1] = range.mask[2] = ~0U;
        range.mask[3] = htonl(0xfffff000);
    }
    row.used = ranges << 16;
}

}  // namespace

TEST_CASE("nanoseconds of a packet from outside that is not for us") {
    const World world = any_world();
    Datapath& datapath = fresh_datapath();
    const NodePort at(datapath, world, Seen::client_here, {world.backend()});
    // A SYN or a datagram, as a node forwards them to its pods or takes them itself.
    const Bytes frame = world.first(outside_client(world), world.other_client()).frame();
    constexpr std::array<std::uint32_t, 4> kRanges{0, 1, 2, SVCLB_SERVICE_CIDRS};
    std::array<double, kRanges.size()> best{};
    best.fill(1e9);
    double later = 1e9;
    double up = 1e9;
    for (int trial = 0; trial < 3 * kTrials; trial++) {
        set_service_cidrs(datapath, 0);
        up = std::min(up, run(datapath, "from_wire", frame, xdp_pass));
        for (std::size_t i = 0; i < kRanges.size(); i++) {
            set_service_cidrs(datapath, kRanges[i]);
            best[i] = std::min(best[i], run(datapath, "from_uplink", frame, next));
        }
        later = std::min(
            later, run(datapath, "from_uplink", world.data(outside_client(world), world.other_client()).frame(), next));
    }
    std::printf("%s, not ours:", to_string(world).c_str());
    for (std::size_t i = 0; i < kRanges.size(); i++) std::printf(" %u ranges %.0f ns,", kRanges[i], best[i]);
    std::printf(" before it XDP %.0f ns", up);
    if (world.tcp_flow()) std::printf(", in mid-connection %.0f ns", later);
    std::printf("\n");
    CHECK(datapath.reasons() == 0);
}

TEST_CASE("nanoseconds of a packet that is turned round") {
    const World world = any_world();
    const RoutedNetns netns;
    TurnedFlow turned(world);
    for (const bool back : {false, true}) {
        Packet packet = back ? turned.back() : turned.out();
        packet.payload = payload_of(32);
        const Bytes frame = packet.frame();
        const std::uint32_t zero = 0;
        REQUIRE(bpf_map_update_elem(turned.datapath.map("laid_down"), &zero, frame.data(), BPF_ANY) == 0);
        double best = 1e9;
        double floor = 1e9;
        for (int trial = 0; trial < kTrials; trial++) {
            floor = std::min(floor, run(turned.datapath, "wire_floor", frame));
            const auto before = turned.datapath.xdp_counter().packets;
            double each = 0;
            turned.within_a_tick([&] {
                each = run(turned.datapath, "wire_again", frame);
                return Run{};
            });
            if (each > 0 && turned.datapath.xdp_counter().packets - before >= kRuns) best = std::min(best, each);
        }
        std::printf("%s %s: %.0f ns, floor %.0f ns\n", to_string(world).c_str(), back ? "back" : "out", best, floor);
    }
}

TEST_CASE("nanoseconds of a flow to another node that begins") {
    const World world = any_world();
    constexpr std::uint16_t kFlows = 8000;  // of which the transient tables hold all entries
    const RoutedNetns netns;
    Datapath& datapath = fresh_datapath();
    const NodePort at(datapath, world, Seen::node_elsewhere, {world.backend()});
    std::vector<double> in;
    std::vector<double> out;
    for (std::uint16_t port = 20000; port < 20000 + kFlows; port++) {
        const Packet first = world.first(outside_client(world, port), node_port(world));
        in.push_back(run(datapath, "from_uplink", first.frame(), next, 1));
        out.push_back(run(datapath, "to_uplink", with_destination(first, world.backend()).frame(), next, 1));
    }
    const auto median = [](std::vector<double>& of) {
        std::ranges::nth_element(of, of.begin() + kFlows / 2);
        return of[kFlows / 2];
    };
    std::printf("%s, begins: %.0f ns at the ingress, %.0f ns at the egress\n", to_string(world).c_str(), median(in),
                median(out));
}
