// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Nanoseconds per packet by the kernel's test-run, with the floor beside them: what the run costs that lays down the
// same packet and calls nothing. Rows are measured in turn, several times over, on one CPU.
#include <sched.h>
#include <sys/utsname.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bench_object.hpp"

namespace svclb::bench {
namespace {

using test::ack;
using test::psh;
using test::syn;

constexpr std::uint32_t kOneFlow = 0;
constexpr std::uint32_t kManyFlows = 65535;
constexpr std::uint32_t kEverNew = 0xffffffff;
constexpr std::uint32_t kFirstNew = 1u << 24;  // numbers that no row before has used
constexpr std::uint32_t kNewFlows = 100000;    // a trial; the established table holds 262,144
constexpr std::int32_t kNext = -1;
constexpr std::int32_t kTransmit = 3;

struct Row {
    std::string name;
    std::string program;  // without the family
    std::vector<bench_step> steps;
    std::uint32_t flow_mask = kOneFlow;
    bool translates = false;
    bool begins_flows = false;  // measured with empty flow tables
    std::int32_t verdict = kNext;
    int family = 4;
    Packet packet{};  // as large as those of the steps
    std::vector<double> trials{};

    // Of one flow begun, or one packet.
    [[nodiscard]] double best() const { return *std::min_element(trials.begin(), trials.end()); }
    [[nodiscard]] double median() const {
        auto sorted = trials;
        std::sort(sorted.begin(), sorted.end());
        return sorted[sorted.size() / 2];
    }
};

struct Packets {
    Packet syn_out, syn_back, out, back, udp_out, udp_back;
};

Packets between(const Endpoint& client, const Endpoint& dialled, const Endpoint& backend) {
    const auto payload = test::payload_of(32);
    return {.syn_out = test::tcp(client, dialled, syn, payload),
            .syn_back = test::tcp(backend, client, syn | ack, payload),
            .out = test::tcp(client, dialled, psh | ack, payload),
            .back = test::tcp(backend, client, psh | ack, payload),
            .udp_out = test::udp(client, dialled, payload),
            .udp_back = test::udp(backend, client, payload)};
}

std::vector<Row> rows_of(int family) {
    const Packets ours = between(client(family), frontend(family), backend(family));
    const Packets other = between(client(family), stranger(family), stranger(family));
    // Ports and addresses of its own: nothing that a frontend's client uses.
    const Packets direct = between(client(family), backend(family), backend(family));
    const auto out = [](const Packet& packet) { return step_of(packet, false); };
    const auto back = [](const Packet& packet) { return step_of(packet, true); };

    std::vector<Row> rows{
        {.name = "floor: restore the packet", .program = "floor", .steps = {out(ours.out)}},
        {.name = "from pod, not for a frontend, TCP", .program = "from_pod", .steps = {out(other.out)}},
        {.name = "from pod, not for a frontend, UDP", .program = "from_pod", .steps = {out(other.udp_out)}},
        {.name = "from pod, to a backend itself, TCP", .program = "from_pod", .steps = {out(direct.out)}},
        {.name = "to pod, not from a backend, TCP", .program = "to_pod", .steps = {back(other.back)}},
        {.name = "to pod, not from a backend, UDP", .program = "to_pod", .steps = {back(other.udp_back)}},
    };
    for (const std::uint32_t flows : {kOneFlow, kManyFlows}) {
        const std::string suffix = flows == kOneFlow ? ", 1 flow" : ", 65,536 flows";
        for (const bool udp : {false, true}) {
            const std::string proto = udp ? "UDP" : "TCP";
            const bench_step there = out(udp ? ours.udp_out : ours.out);
            rows.push_back({proto + " established, out" + suffix, "from_pod", {there}, flows, true});
            rows.push_back({proto + " established, back" + suffix,
                            "to_pod",
                            {back(udp ? ours.udp_back : ours.back)},
                            flows,
                            true});
            rows.push_back({"for comparison: parsed and found, " + proto + suffix, "lookup", {there}, flows});
            rows.push_back({.name = "for comparison: encapsulated, " + proto + suffix,
                            .program = "balance",
                            .steps = {there},
                            .flow_mask = flows,
                            .verdict = kTransmit});
        }
    }
    rows.push_back({"new TCP flow: SYN alone", "from_pod", {out(ours.syn_out)}, kEverNew, true, true});
    rows.push_back({"new TCP flow: SYN, SYN-ACK, ACK",
                    "both",
                    {out(ours.syn_out), back(ours.syn_back), out(ours.out)},
                    kEverNew,
                    true,
                    true});
    for (Row& row : rows) {
        row.family = family;
        row.packet = ours.out;
    }
    return rows;
}

std::string program_of(const Row& row) {
    return row.program + (row.family == 4 ? "_v4" : "_v6");
}

// The tables hold the flows of the row, both entries of each, and nothing else: every entry more is one that lookups
// may walk past.
void establish(BenchObject& object, const Row& row) {
    static std::tuple<int, bool, std::uint32_t> held;
    const bool udp = row.steps.front().udp != 0;
    const std::tuple wanted{row.family, udp, row.flow_mask};
    if (std::exchange(held, wanted) == wanted) return;
    const Packets ours = between(client(row.family), frontend(row.family), backend(row.family));
    object.forget_flows();
    // Answered, and the client goes on: that is what makes a flow established.
    object.plan({step_of(udp ? ours.udp_out : ours.syn_out, false), step_of(udp ? ours.udp_back : ours.syn_back, true),
                 step_of(udp ? ours.udp_out : ours.out, false)},
                row.flow_mask);
    object.run(row.family == 4 ? "both_v4" : "both_v6", ours.out, 3 * (row.flow_mask + 1), kNext);
}

// The number of the next flow that nobody has seen.
std::uint32_t& next_new() {
    static std::uint32_t number = kFirstNew;
    return number;
}

void measure(BenchObject& object, Row& row, std::uint32_t times) {
    const auto steps = static_cast<std::uint32_t>(row.steps.size());
    if (row.begins_flows) {
        object.forget_flows();
        times = kNewFlows * steps;
    } else {
        establish(object, row);
    }
    object.plan(row.steps, row.flow_mask, row.begins_flows ? next_new() : 0);
    if (row.begins_flows) {
        next_new() += kNewFlows;
    } else {
        // A flow's time is written once a tick of seconds; a trial is shorter, and would charge many flows for each.
        object.run(program_of(row), row.packet, row.flow_mask + 1, row.verdict);
    }
    const std::uint64_t before = object.translated();
    const double each = object.run(program_of(row), row.packet, times, row.verdict);
    const std::uint64_t translated = object.translated() - before;
    if (translated != (row.translates ? times : 0)) {
        throw std::runtime_error(row.name + ": translated " + std::to_string(translated) + " of " +
                                 std::to_string(times) + " packets");
    }
    row.trials.push_back(each * steps);
}

double empty_floor(BenchObject& object, std::uint32_t times) {
    return object.run("floor_empty", rows_of(4).front().packet, times, kNext);
}

void pin_to_cpu(std::size_t cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) throw std::runtime_error("cannot pin to the CPU");
}

// The run without what the floor's does, on top of the bare test-run: what a program costs in a device's place.
double net_of(const Row& row, const Row& floor, double bare) {
    const auto steps = static_cast<double>(row.steps.size());
    return row.best() - steps * (floor.best() - bare);
}

void print(const std::vector<Row>& rows, double bare) {
    std::printf("%-46s %10s %10s %10s %16s\n", "ns", "best", "median", "floor", "best, bare floor");
    const Row* floor = nullptr;
    for (const Row& row : rows) {
        if (row.program == "floor") floor = &row;
        const double times = static_cast<double>(row.steps.size());
        std::printf("IPv%d %-41s %10.0f %10.0f %10.0f %16.0f\n", row.family, row.name.c_str(), row.best(), row.median(),
                    times * floor->best(), net_of(row, *floor, bare));
    }
    std::printf(
        "\nfloor: the same packets laid down and nothing called, of all packets of the row.\n"
        "best, bare floor: best without the laying down, on top of a program that returns at once (%.0f ns).\n",
        bare);
}

void write_json(const std::string& path, const std::vector<Row>& rows, double bare) {
    std::FILE* file = std::fopen(path.c_str(), "w");
    if (file == nullptr) throw std::runtime_error("cannot write " + path);
    utsname kernel{};
    uname(&kernel);
    std::fprintf(file, "{\"kernel\": \"%s\", \"bareFloorNs\": %.1f, \"rows\": [", kernel.release, bare);
    const Row* floor = nullptr;
    const char* separator = "";
    for (const Row& row : rows) {
        if (row.program == "floor") floor = &row;
        std::fprintf(file,
                     "%s\n  {\"name\": \"%s\", \"family\": %d, \"packets\": %zu, \"bestNs\": %.1f, \"medianNs\": %.1f, "
                     "\"floorNs\": %.1f, \"onBareFloorNs\": %.1f}",
                     separator, row.name.c_str(), row.family, row.steps.size(), row.best(), row.median(),
                     static_cast<double>(row.steps.size()) * floor->best(), net_of(row, *floor, bare));
        separator = ",";
    }
    std::fputs("\n]}\n", file);
    if (std::fclose(file) != 0) throw std::runtime_error("cannot write " + path);
}

void bench(int trials, std::uint32_t times, const std::string& only, const std::string& json) {
    BenchObject object;
    std::vector<Row> rows;
    for (const int family : {4, 6}) {
        for (Row& row : rows_of(family)) {
            if (row.program == "floor" || row.name.find(only) != std::string::npos) rows.push_back(std::move(row));
        }
    }
    double bare = empty_floor(object, times);
    for (int trial = 0; trial < trials; trial++) {
        std::fprintf(stderr, "trial %d of %d\n", trial + 1, trials);
        bare = std::min(bare, empty_floor(object, times));
        // Those that begin flows empty the tables, so they come last.
        for (const bool begins_flows : {false, true}) {
            for (Row& row : rows) {
                if (row.begins_flows == begins_flows) measure(object, row, times);
            }
        }
    }
    print(rows, bare);
    if (!json.empty()) write_json(json, rows, bare);
}

}  // namespace
}  // namespace svclb::bench

int main(int argc, char** argv) {
    CLI::App app("nanoseconds per packet of svclb's programs");
    int trials = 7;
    std::string only;
    std::size_t cpu = 0;
    std::uint32_t times = 200000;
    std::string json;
    app.add_option("--trials", trials, "how often each row is measured")->check(CLI::Range(1, 1000));
    app.add_option("--runs", times, "runs of a program in one trial")->check(CLI::Range(1000u, 10000000u));
    app.add_option("--cpu", cpu, "the CPU to run on")->check(CLI::NonNegativeNumber);
    app.add_option("--only", only, "rows with this in their name, and the floors");
    app.add_option("--json", json, "write the figures to this file too");
    CLI11_PARSE(app, argc, argv);
    try {
        svclb::bench::pin_to_cpu(cpu);
        svclb::bench::bench(trials, times, only, json);
        return EXIT_SUCCESS;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "bench_datapath: %s\n", error.what());
        return EXIT_FAILURE;
    }
}
