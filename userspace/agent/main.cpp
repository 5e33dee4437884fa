// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// svclb-agent: the node agent. Exit codes: 0 done, 1 failed, 2 bad usage or bad input.
#include <cstdio>
#include <exception>

#include "agent.hpp"
#include "config.hpp"
#include "svclb/base/log.hpp"

namespace {

constexpr int kFailed = 1;
constexpr int kBadInput = 2;

int act(const svclb::agent::Config& config) {
    using svclb::agent::Action;
    svclb::Status status;
    if (config.action == Action::check) {
        const auto usable = svclb::agent::check(config);
        if (usable) return *usable ? 0 : kBadInput;
        status = svclb::fail(usable.error());
    } else {
        status = config.action == Action::clean_up ? svclb::agent::clean_up(config) : svclb::agent::run(config);
    }
    if (status) return 0;
    std::fprintf(stderr, "svclb-agent: %s\n", status.error().message().c_str());
    return kFailed;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const auto parsed = svclb::agent::config_from(argc, argv);
        if (const auto* exit_code = std::get_if<int>(&parsed)) return *exit_code;
        const auto& config = std::get<svclb::agent::Config>(parsed);
        svclb::set_up_log(config.log_level);
        for (const auto& warning : config.warnings) spdlog::warn("{}", warning);
        return act(config);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "svclb-agent: %s\n", error.what());
        return kFailed;
    }
}
