// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// run_clock: looks at the maps of a --bpf-dir without a pause, and prints a line each time the run of one frontend's
// service port changes: microseconds since 1970, and how many slots it has now. Without an address: when the agent
// started, when its last pass ended, passes, and rows written.
#include <sys/prctl.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <thread>

#include "svclb/datapath/pinned.hpp"
#include "svclb/model/address.hpp"

namespace {

using svclb::datapath::Pinned;
using Clock = std::chrono::system_clock;

std::optional<std::uint32_t> service_of(const Pinned& pinned, const svclb::model::Address& address) {
    std::optional<std::uint32_t> found;
    (void)pinned.each_frontend([&](const svclb_frontend_key& key, const svclb_frontend& frontend) {
        if (std::memcmp(key.addr, address.bytes.data(), sizeof(key.addr)) == 0 && frontend.service != SVCLB_NONE)
            found = frontend.service;
    });
    return found;
}

int print_status(const std::string& bpf_dir) {
    const auto pinned = Pinned::open(bpf_dir);
    if (!pinned) return 1;
    const auto status = pinned->agent();
    std::printf("%llu %llu %llu %llu\n", status.started_ns / 1000, status.synced_ns / 1000, status.passes,
                status.writes);
    return 0;
}

}  // namespace

int main(int argc, char** argv) try {
    std::string bpf_dir;
    std::string address_text;
    double seconds = 0;
    CLI::App app{"Prints when the run of a frontend's service port changes"};
    app.add_option("--bpf-dir", bpf_dir)->required();
    app.add_option("address", address_text, "of a Service");
    app.add_option("--seconds", seconds);
    CLI11_PARSE(app, argc, argv);

    if (address_text.empty()) return print_status(bpf_dir);
    const auto address = svclb::model::parse_address(address_text);
    const auto pinned = Pinned::open(bpf_dir);
    const auto service = address && pinned ? service_of(*pinned, *address) : std::nullopt;
    if (!service) {
        std::fprintf(stderr, "run_clock: %s is no frontend in %s\n", address_text.c_str(), bpf_dir.c_str());
        return 1;
    }
    ::prctl(PR_SET_TIMERSLACK, 1);  // or each look is 50 us late
    const volatile svclb_service& row = pinned->services()[*service];
    auto last = row.runs[SVCLB_SET_CLUSTER];
    std::puts("ready");
    std::fflush(stdout);
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    for (auto now = Clock::now(); now < end; now = Clock::now()) {
        const auto run = row.runs[SVCLB_SET_CLUSTER];
        if (run != last)
            std::printf("%lld %u\n",
                        static_cast<long long>(
                            std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count()),
                        svclb_run_count(run));
        last = run;
        std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "run_clock: %s\n", error.what());
    return 1;
}
