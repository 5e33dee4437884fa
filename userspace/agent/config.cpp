// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "config.hpp"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <map>
#include <random>

#include "svclb/model/address.hpp"

namespace svclb::agent {
namespace {

constexpr int kBadUsage = 2;
constexpr std::size_t kHostNameSize = 256;

// As the API has it: Node names are DNS names, and those are lower case.
std::string host_name() {
    std::array<char, kHostNameSize> text{};
    if (::gethostname(text.data(), text.size() - 1) != 0) return {};
    std::string name = text.data();
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return name;
}

std::string refuse_cidr(const std::string& text) {
    return model::parse_cidr(text) ? std::string{} : "not a CIDR: " + text;
}

svclb_cidr abi_cidr(const model::Cidr& cidr) {
    svclb_cidr out{};
    std::array<std::uint8_t, 16> mask{};
    for (std::size_t bit = 0; bit < cidr.prefix; ++bit)
        mask[bit / 8] = static_cast<std::uint8_t>(mask[bit / 8] | 0x80U >> bit % 8);
    std::memcpy(out.addr, cidr.address.bytes.data(), sizeof(out.addr));
    std::memcpy(out.mask, mask.data(), sizeof(out.mask));
    return out;
}

}  // namespace

std::variant<Config, int> config_from(int argc, char** argv) {
    Config config;
    std::string log_level = "info";
    std::string attach = "auto";
    std::string ping = "reject";
    std::vector<std::string> service_cidrs;
    bool check = false;
    bool clean_up = false;

    CLI::App app{"svclb-agent keeps the BPF maps of this node equal to what Services and EndpointSlices say"};
    app.set_version_flag("--version", SVCLB_VERSION);
    auto* manifests =
        app.add_option("--manifests", config.manifests, "directory of YAML or JSON files in the API's format")
            ->type_name("DIR");
    app.add_option("--node-name", config.node_name, "name of this Node (default: the host name)")->type_name("NAME");
    app.add_option("--state-dir", config.state_dir, "where the agent's lock is")
        ->type_name("DIR")
        ->capture_default_str();
    app.add_option("--bpf-dir", config.datapath.bpf_dir, "below a bpffs: pinned maps and links")
        ->type_name("DIR")
        ->capture_default_str();
    app.add_option("--pod-links", config.devices.pod_links,
                   "shell patterns of pod links, '!' excludes (default: found)")
        ->delimiter(',')
        ->type_name("PATTERN,..");
    app.add_option("--uplinks", config.devices.uplinks, "shell patterns of uplinks, '!' excludes (default: found)")
        ->delimiter(',')
        ->type_name("PATTERN,..");
    app.add_option("--attach", attach, "how to attach to devices")
        ->check(CLI::IsMember({"auto", "tcx", "clsact"}))
        ->capture_default_str();
    app.add_option("--service-cidr", service_cidrs, "addresses in it that no Service has are dropped")
        ->delimiter(',')
        ->type_name("CIDR,..")
        ->check(refuse_cidr)
        ->expected(1, SVCLB_SERVICE_CIDRS);
    app.add_option("--ping", ping,
                   "what a ping to a ClusterIP gets: an echo reply, or port unreachable as by kube-proxy")
        ->check(CLI::IsMember({"reply", "reject"}))
        ->capture_default_str();
    app.add_option("--flow-entries", config.datapath.sizes.established,
                   "entries of each table of established flows, two for a flow (default: by the machine's memory)")
        ->type_name("N")
        ->check(CLI::Range(1024U, 1U << 24U));
    app.add_option("--log-level", log_level, "least severe level that is logged")
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
        ->capture_default_str();
    auto* check_flag = app.add_flag("--check", check,
                                    "validate configuration, kernel and input, print what was found, change nothing");
    app.add_flag("--cleanup", clean_up, "remove every trace of svclb from this node")->excludes(check_flag);

    try {
        app.parse(argc, argv);
        if (!clean_up && manifests->empty()) throw CLI::RequiredError("--manifests");
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kBadUsage;
    }
    if (check) config.action = Action::check;
    if (clean_up) config.action = Action::clean_up;
    if (config.node_name.empty()) config.node_name = host_name();
    const std::map<std::string, datapath::AttachMode> modes{{"auto", datapath::AttachMode::automatic},
                                                            {"tcx", datapath::AttachMode::tcx},
                                                            {"clsact", datapath::AttachMode::clsact}};
    config.datapath.mode = modes.at(attach);
    config.log_level = spdlog::level::from_str(log_level);
    auto& settings = config.datapath.settings;
    settings.hash_seed = 0x5bd1e995;
    settings.reject_per_s = 1000;
    settings.ping_reply = ping == "reply" ? 1 : 0;
    settings.half_open_timeout_s = datapath::FlowTimeouts{}.tcp_half_open_s;
    for (const auto& text : service_cidrs) {
        if (settings.service_cidrs == SVCLB_SERVICE_CIDRS) {
            std::fprintf(stderr, "--service-cidr: more than %d\n", SVCLB_SERVICE_CIDRS);
            return kBadUsage;
        }
        settings.service_cidr[settings.service_cidrs++] = abi_cidr(*model::parse_cidr(text));
    }
    return config;
}

}  // namespace svclb::agent
