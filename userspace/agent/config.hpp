// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The command line of svclb-agent.
#pragma once

#include <spdlog/common.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "masquerade.hpp"
#include "svclb/datapath/datapath.hpp"
#include "svclb/datapath/devices.hpp"
#include "svclb/kube/api_source.hpp"
#include "svclb/model/address.hpp"
#include "svclb/model/build.hpp"
#include "svclb/model/node_addresses.hpp"

namespace svclb::agent {

enum class Action : std::uint8_t { run, check, clean_up };

struct Config {
    Action action = Action::run;
    // Where objects come from: manifests where given, else the API server of the kubeconfig, else the one of the Pod
    // that the agent runs in.
    std::filesystem::path manifests;
    std::filesystem::path kubeconfig;
    std::vector<model::AddressPort> api_endpoints;  // of the API server, for its own Service before it has been heard
    std::uint32_t watch_silence_s = kube::kWatchSilence.count();
    std::filesystem::path state_dir = "/run/svclb";
    std::string node_name;  // of the host where not given
    datapath::Options datapath{.bpf_dir = "/sys/fs/bpf/svclb",
                               .sizes = {},
                               .settings = {},
                               .mode = datapath::AttachMode::automatic,
                               .sockets = {.host = true, .cgroup_root = {}}};
    datapath::FlowTimeouts flow_timeouts;
    datapath::DevicePatterns devices;
    std::vector<model::Address> node_addresses;  // its own, before those of its Node object
    model::NodePortAddresses node_ports;
    Masquerade masquerade;
    model::Algorithm algorithm = model::Algorithm::random;  // of Services that ask for none
    bool host_packets = true;                               // the catch-all for what the socket hooks do not see
    std::vector<model::Cidr> service_cidrs;                 // united with those of the ServiceCIDR objects
    // Nothing = not served.
    std::optional<model::AddressPort> healthz_address = model::parse_address_port("0.0.0.0:10256");
    std::optional<model::AddressPort> metrics_address = model::parse_address_port("127.0.0.1:10249");
    bool bind_hard_fail = false;  // an address that cannot be listened on ends the agent; else it is tried again
    spdlog::level::level_enum log_level = spdlog::level::info;
    std::vector<std::string> warnings;  // about the configuration file, to be logged
};

constexpr std::uint32_t kFewestFlowEntries = 1024;
constexpr std::uint32_t kMostFlowEntries = 1U << 24U;
constexpr std::size_t kMostApiEndpoints = 64;
constexpr std::chrono::seconds kLongestTimeout{0x7fffffff};

// The words of the flags and of the configuration file. Nothing for any other text.
[[nodiscard]] bool is_off(std::string_view address);
[[nodiscard]] std::optional<datapath::AttachMode> attach_mode(std::string_view word);
[[nodiscard]] std::optional<datapath::XdpMode> xdp_mode(std::string_view word);
[[nodiscard]] std::optional<bool> on_or_off(std::string_view word);
[[nodiscard]] std::optional<std::uint32_t> ping_reply(std::string_view word);
[[nodiscard]] std::optional<std::uint32_t> external_cluster_ip(std::string_view word);
// "1024-29999", above the ports that need privilege.
struct PortRange {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
};
// Outside of what kernel and API server give to others by default.
constexpr PortRange kSourcePorts{1024, 29999};
[[nodiscard]] std::optional<PortRange> source_ports(std::string_view text);
void set_source_ports(svclb_settings& settings, const PortRange& range);
[[nodiscard]] std::optional<spdlog::level::level_enum> log_level(std::string_view word);

// The configuration, or the exit code where the command line asked for help or was not usable (what was wrong has been
// printed).
std::variant<Config, int> config_from(int argc, char** argv);

}  // namespace svclb::agent
