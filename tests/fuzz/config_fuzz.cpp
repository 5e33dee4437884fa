// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Any bytes into read_config; what it says is one printable line for each, and what it took is in its bounds.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "config_file.hpp"

namespace {

using namespace svclb;

void require(bool holds) {
    if (!holds) std::abort();
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer calls it by this name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    agent::Config config;
    const auto findings = agent::read_config({reinterpret_cast<const char*>(data), size}, "file", config);
    for (const auto* lines : {&findings.problems, &findings.warnings}) {
        for (const auto& line : *lines) {
            require(line.starts_with("file:"));
            for (const char c : line) require(c >= 0x20 && c < 0x7f);
        }
    }
    if (!findings.problems.empty()) return 0;
    require(config.manifests.empty() || config.kubeconfig.empty());
    require(config.api_endpoints.size() <= agent::kMostApiEndpoints);
    require(config.service_cidrs.size() <= SVCLB_SERVICE_CIDRS);
    const auto& timeouts = config.flow_timeouts;
    for (const auto seconds : {timeouts.tcp_established_s, timeouts.tcp_half_open_s, timeouts.tcp_closing_s,
                               timeouts.udp_s, timeouts.udp_answered_s})
        require(seconds >= 1 && seconds <= 0x7fffffff);
    const auto entries = config.datapath.sizes.established;
    require(entries == 0 || (entries >= agent::kFewestFlowEntries && entries <= agent::kMostFlowEntries));
    return 0;
}
