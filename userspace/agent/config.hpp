// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The command line of svclb-agent.
#pragma once

#include <spdlog/common.h>

#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "svclb/datapath/datapath.hpp"
#include "svclb/datapath/devices.hpp"
#include "svclb/model/address.hpp"

namespace svclb::agent {

enum class Action : std::uint8_t { run, check, clean_up };

struct Config {
    Action action = Action::run;
    std::filesystem::path manifests;
    std::filesystem::path state_dir = "/run/svclb";
    std::string node_name;  // of the host where not given
    datapath::Options datapath{
        .bpf_dir = "/sys/fs/bpf/svclb", .sizes = {}, .settings = {}, .mode = datapath::AttachMode::automatic};
    datapath::DevicePatterns devices;
    std::vector<model::Cidr> service_cidrs;  // united with those of the ServiceCIDR objects
    spdlog::level::level_enum log_level = spdlog::level::info;
};

// The configuration, or the exit code where the command line asked for help or was not usable (what was wrong has been
// printed).
std::variant<Config, int> config_from(int argc, char** argv);

}  // namespace svclb::agent
