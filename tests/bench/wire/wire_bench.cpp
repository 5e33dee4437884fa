// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Nanoseconds of the XDP program for one packet of an established flow that it turns round, by test-run, with the floor
// of laying the packet down. Each trial is within one tick, or it does not count. Prints; a measurement, not a test.
#include <bpf/bpf.h>

#include <algorithm>
#include <cstdio>

#include "turned_flow.hpp"

using namespace svclb::test;

namespace {

constexpr std::uint32_t kRuns = 100000;
constexpr int kTrials = 15;

// Nanoseconds each; 0 where a packet of the trial was passed up.
double run(Datapath& datapath, const char* name, const Bytes& frame) {
    Bytes out(frame.size() + 256);
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.data_out = out.data();
    options.data_size_out = static_cast<__u32>(out.size());
    options.repeat = kRuns;
    REQUIRE(bpf_prog_test_run_opts(datapath.program(name), &options) == 0);
    return options.retval == xdp_redirect ? options.duration : 0;
}

}  // namespace

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
