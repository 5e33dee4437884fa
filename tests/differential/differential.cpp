// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// One random life of a few pods and Services through the real programs and through the model, packet by packet; they
// must agree. Or, with --wire, of clients outside through XDP and through tc. A life is a list of numbers, so a failure
// is replayed by its seed and cut down to the steps it needs.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <optional>
#include <random>
#include <sstream>
#include <type_traits>

#include "life.hpp"
#include "wire_life.hpp"

namespace svclb::test {
namespace {

constexpr int kSkipped = 4;  // as Catch2's
constexpr std::size_t kStepsOfALife = 2000;

std::vector<Step> random_steps(std::uint64_t seed, std::size_t count) {
    std::mt19937_64 random(seed);
    std::vector<Step> steps(count);
    for (Step& step : steps) {
        for (std::uint32_t& number : step) number = static_cast<std::uint32_t>(random());
    }
    return steps;
}

// Few steps that still fail, found by leaving out ever smaller pieces, and single ones until none can be spared.
template <class AnyLife>
std::vector<Step> minimal(Datapath& datapath, std::uint64_t seed, std::vector<Step> steps) {
    constexpr std::chrono::seconds kPatience{20};
    const auto until = std::chrono::steady_clock::now() + kPatience;
    std::size_t before = 0;
    for (std::size_t piece = steps.size() / 2; piece > 0 && steps.size() != before; piece = (piece + 1) / 2) {
        if (piece == 1) before = steps.size();
        if (std::chrono::steady_clock::now() > until) break;
        for (std::size_t at = 0; at < steps.size();) {
            std::vector<Step> fewer(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(at));
            if (at + piece < steps.size())
                fewer.insert(fewer.end(), steps.begin() + static_cast<std::ptrdiff_t>(at + piece), steps.end());
            if (AnyLife(datapath, seed).live(fewer).empty()) {
                at += piece;
            } else {
                steps = std::move(fewer);
            }
        }
    }
    return steps;
}

template <class AnyLife>
const char* option_of() {
    return std::is_same_v<AnyLife, WireLife> ? "--wire " : "";
}

// Of the last packet's sender, and of Services.
void print_what_matters(const std::vector<std::string>& log) {
    constexpr std::size_t kMost = 40;
    std::istringstream last(log.back());
    std::string from;
    while (last >> from && from.find(':') == std::string::npos) {
    }
    from.erase(from.rfind(':'));  // affinity is by address
    std::vector<std::string> lines;
    for (const std::string& line : log) {
        const bool packet = line.find(" -> ") != std::string::npos;
        if (!packet || line.find(from) != std::string::npos) lines.push_back(line);
    }
    for (std::size_t i = lines.size() > kMost ? lines.size() - kMost : 0; i < lines.size(); i++)
        std::puts(lines[i].c_str());
}

template <class AnyLife>
void report(Datapath& datapath, std::uint64_t seed, std::size_t count) {
    std::vector<Step> steps = random_steps(seed, count);
    AnyLife again(datapath, seed);
    if (again.live(steps).empty()) {
        std::puts("the same life succeeded when it was lived again: something depends on time");
        return;
    }
    steps.resize(again.steps_lived());
    steps = minimal<AnyLife>(datapath, seed, std::move(steps));
    AnyLife shown(datapath, seed);
    shown.keep_log();
    const std::string wrong = shown.live(steps);
    print_what_matters(shown.log());
    std::printf("%s\nreplay with: differential %s--seed %llu --steps %zu\n", wrong.c_str(), option_of<AnyLife>(),
                static_cast<unsigned long long>(seed), count);
}

// Nothing: a life has gone wrong, and that is told.
template <class AnyLife>
std::optional<typename AnyLife::Totals> live(Datapath& datapath, std::uint64_t seed, std::uint64_t steps) {
    typename AnyLife::Totals totals;
    for (std::uint64_t left = steps; left > 0; seed++) {
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left, kStepsOfALife));
        AnyLife life(datapath, seed);
        const std::string wrong = life.live(random_steps(seed, count));
        if (!wrong.empty()) {
            report<AnyLife>(datapath, seed, count);
            return std::nullopt;
        }
        totals += life.totals();
        left -= count;
    }
    return totals;
}

// What has happened, in words. False where a life in which nothing happens would agree as well.
bool tell(const Totals& totals, std::uint64_t steps) {
    std::printf(
        "%zu packets, %zu new flows, %zu with another source port, %zu ICMP errors, %zu datagrams in fragments\n",
        totals.packets, totals.begun, totals.ports_changed, totals.errors, totals.datagrams);
    return totals.begun > steps / 50 && totals.ports_changed > steps / 2000 && totals.datagrams > steps / 200;
}
bool tell(const WireTotals& totals, std::uint64_t steps) {
    std::printf("%zu packets, %zu forwarded by XDP, %zu dropped\n", totals.packets, totals.forwarded, totals.dropped);
    return totals.forwarded > steps / 50 && totals.dropped > steps / 50;
}

template <class AnyLife>
int compare(Datapath& datapath, std::uint64_t seed, std::uint64_t steps) {
    const auto began = std::chrono::steady_clock::now();
    const auto totals = live<AnyLife>(datapath, seed, steps);
    if (!totals) return 1;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    std::printf("%llu steps agree, %.0f a second: ", static_cast<unsigned long long>(steps),
                static_cast<double>(steps) / seconds);
    if (tell(*totals, steps) || steps < 20000) return 0;
    std::puts("too little happened");
    return 1;
}

int run(int argc, char** argv) {
    std::uint64_t seed = 1;
    std::uint64_t steps = 20000;
    CLI::App app{"svclb's programs against a model of NAT"};
    app.add_option("--seed", seed, "of the first life; each further one adds 1")->capture_default_str();
    app.add_option("--steps", steps, "in all")->capture_default_str();
    bool wire = false;
    app.add_flag("--wire", wire, "XDP against tc, at an uplink");
    CLI11_PARSE(app, argc, argv);

    std::optional<Datapath> datapath;
    std::optional<WayOut> way_out;
    try {
        if (wire) way_out.emplace();
        datapath.emplace(Life::options());
    } catch (const NotPermitted& reason) {
        std::printf("skipped: %s\n", reason.what());
        return kSkipped;
    }
    return wire ? compare<WireLife>(*datapath, seed, steps) : compare<Life>(*datapath, seed, steps);
}

}  // namespace
}  // namespace svclb::test

int main(int argc, char** argv) {
    try {
        return svclb::test::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "differential: %s\n", error.what());
        return 1;
    }
}
