// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What the programs cost the verifier, and how large they are, against the recorded limits. A step over a limit is a
// decision: raise it in budget.txt in the commit that needs it.
#include <sys/utsname.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <regex>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "bpf_object.hpp"
#include "svclb/abi.h"

extern "C" {
// Laid down by embedded_object.S.
extern const std::byte svclb_object_begin[];  // NOLINT(modernize-avoid-c-arrays): a symbol, its size is in the next one
extern const std::byte svclb_object_end[];    // NOLINT(modernize-avoid-c-arrays)
extern const std::byte svclb_sockets_begin[];  // NOLINT(modernize-avoid-c-arrays)
extern const std::byte svclb_sockets_end[];    // NOLINT(modernize-avoid-c-arrays)
}

namespace {

using namespace svclb::test;

constexpr const char* kRecordedOn = "6.18.";
constexpr int kSkipped = 4;
constexpr unsigned kVerifierStatistics = 4;
// On kernels without a record: half of what the verifier allows.
constexpr std::uint64_t kProcessedAnywhere = 500'000;

struct Effort {
    std::uint64_t processed = 0;     // by the verifier, all paths together
    std::uint64_t instructions = 0;  // of the program and its functions
    std::uint64_t stack = 0;         // of its deepest function
};

class Budget {
public:
    explicit Budget(const char* path) {
        std::ifstream file(path);
        if (!file) throw std::runtime_error(std::string("cannot read ") + path);
        std::string line;
        while (std::getline(file, line)) {
            if (line.empty() || line.front() == '#') continue;
            std::istringstream words(line);
            std::string name;
            Effort limit;
            if (!(words >> name >> limit.processed >> limit.instructions >> limit.stack)) {
                throw std::runtime_error(std::string(path) + ": not a budget: " + line);
            }
            limits_[name] = limit;
        }
    }
    [[nodiscard]] const Effort& of(const std::string& program) const {
        const auto found = limits_.find(program);
        if (found == limits_.end()) throw std::runtime_error("no budget for program " + program);
        return found->second;
    }
    [[nodiscard]] std::size_t programs() const { return limits_.size(); }

private:
    std::map<std::string, Effort> limits_;
};

// "processed 123 insns (limit ...", "stack depth 96+0+208".
Effort read_effort(const std::string& log) {
    Effort effort;
    std::smatch match;
    if (!std::regex_search(log, match, std::regex("processed ([0-9]+) insns"))) {
        throw std::runtime_error("the verifier's log has no statistics: " + log);
    }
    effort.processed = std::stoull(match[1]);
    if (std::regex_search(log, match, std::regex("stack depth ([0-9+]+)"))) {
        std::istringstream depths(match[1]);
        for (std::string depth; std::getline(depths, depth, '+');) {
            effort.stack = std::max<std::uint64_t>(effort.stack, std::stoull(depth));
        }
    }
    return effort;
}

void measure(std::span<const std::byte> bytes, std::map<std::string, Effort>& efforts) {
    std::map<std::string, std::vector<char>> logs;
    // What the agent fills in: this kernel's features, or else half of the code would be dead to the verifier.
    svclb_settings settings{};
    settings.source_port_first = 61000;
    settings.source_ports = 4536;
    settings.hooks_set_errno =
        libbpf_probe_bpf_helper(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_set_retval, nullptr) == 1 ? 1 : 0;
    ObjectOptions options;
    options.constants["settings"] = std::as_bytes(std::span(&settings, 1));
    options.each_program = [&logs](bpf_program* program) {
        std::vector<char>& log = logs[bpf_program__name(program)];
        log.resize(std::size_t{1} << 16);
        bpf_program__set_log_level(program, kVerifierStatistics);
        bpf_program__set_log_buf(program, log.data(), log.size());
    };
    const Object object = load(bytes, options);
    for (const auto& [name, log] : logs) {
        efforts[name] = read_effort(log.data());
        efforts[name].instructions =
            bpf_program__insn_cnt(bpf_object__find_program_by_name(object.get(), name.c_str()));
    }
}

bool within(const char* what, const std::string& program, std::uint64_t value, std::uint64_t limit) {
    std::printf("%-10s %-24s %8llu of %8llu%s\n", program.c_str(), what, static_cast<unsigned long long>(value),
                static_cast<unsigned long long>(limit), value > limit ? "  OVER BUDGET" : "");
    return value <= limit;
}

bool check(const Budget& budget) {
    utsname kernel{};
    uname(&kernel);
    const bool recorded = std::string(kernel.release).starts_with(kRecordedOn);
    std::printf("kernel %s: %s\n", kernel.release,
                recorded ? "recorded limits hold" : "no record of this kernel, general limits hold");
    bool good = true;
    std::map<std::string, Effort> efforts;
    measure({svclb_object_begin, svclb_object_end}, efforts);
    measure({svclb_sockets_begin, svclb_sockets_end}, efforts);
    for (const auto& [name, effort] : efforts) {
        const Effort& limit = budget.of(name);
        good &=
            within("instructions processed", name, effort.processed, recorded ? limit.processed : kProcessedAnywhere);
        good &= within("instructions", name, effort.instructions, limit.instructions);
        good &= within("bytes of stack", name, effort.stack, recorded ? limit.stack : 512);
    }
    if (efforts.size() != budget.programs()) {
        std::puts("the budget names programs that are no longer there");
        return false;
    }
    return good;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::fputs("usage: verifier_budget BUDGET-FILE\n", stderr);
        return 2;
    }
    try {
        return check(Budget(argv[1])) ? EXIT_SUCCESS : EXIT_FAILURE;
    } catch (const NotPermitted& reason) {
        std::printf("SKIPPED: %s\n", reason.what());
        return kSkipped;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "verifier_budget: %s\n", error.what());
        return EXIT_FAILURE;
    }
}
