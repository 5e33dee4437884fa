// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "config.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <charconv>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "config_file.hpp"

namespace svclb::agent {
namespace {

constexpr int kBadUsage = 2;
constexpr std::size_t kHostNameSize = 256;
constexpr std::size_t kLargestFile = std::size_t{1} << 20U;

// As the API has it: Node names are DNS names, and those are lower case.
std::string host_name() {
    std::array<char, kHostNameSize> text{};
    if (::gethostname(text.data(), text.size() - 1) != 0) return {};
    std::string name = text.data();
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return name;
}

// The kubelet tells every Pod where the API server is.
bool in_pod() {
    return std::getenv("KUBERNETES_SERVICE_HOST") != nullptr;
}

std::string refuse_cidr(const std::string& text) {
    return model::parse_cidr(text) ? std::string{} : "not a CIDR: " + text;
}

std::string refuse_service_cidr(const std::string& text) {
    return is_off(text) ? std::string{} : refuse_cidr(text);
}

std::string refuse_node_address(const std::string& text) {
    const auto address = model::parse_address(text);
    return address && model::is_routable(*address) ? std::string{} : "not an address of a node: " + text;
}

std::string refuse_node_port_address(const std::string& text) {
    return text == "primary" ? std::string{} : refuse_cidr(text);
}

std::string refuse_address_port(const std::string& text) {
    return model::parse_address_port(text) ? std::string{} : "not an ADDRESS:PORT: " + text;
}

std::string refuse_served_address(const std::string& text) {
    return is_off(text) ? std::string{} : refuse_address_port(text);
}

Result<std::string> read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::string text(kLargestFile + 1, '\0');
    if (!file || !file.read(text.data(), static_cast<std::streamsize>(text.size())).eof()) {
        if (file) return fail(Error::invalid(fmt::format("{}: larger than {} bytes", path.string(), kLargestFile)));
        return fail_errno(errno, "read " + path.string());
    }
    text.resize(static_cast<std::size_t>(file.gcount()));
    return text;
}

// The way out of CLI11's parsing.
struct BadFile {
    std::vector<std::string> problems;
};

void apply_file(const std::string& name, Config& config) {
    const auto text = read_file(name);
    if (!text) throw BadFile{{"--config: " + text.error().message()}};
    auto findings = read_config(*text, name, config);
    if (!findings.problems.empty()) throw BadFile{std::move(findings.problems)};
    config.warnings = std::move(findings.warnings);
}

std::string served_text(const std::optional<model::AddressPort>& at) {
    return at ? model::endpoint_text(at->address, at->port) : "off";
}

// Where a flag and the file speak of one thing, the flag wins: CLI11 reads the file as soon as it meets its name, and
// the other options after the last argument.
void add_options(CLI::App& app, Config& config) {
    using Text = std::string;
    using Texts = std::vector<std::string>;
    app.set_version_flag("--version", SVCLB_VERSION);
    app.add_option_function<Text>(
           "--config", [&config](const Text& name) { apply_file(name, config); },
           "our own YAML or kube-proxy's KubeProxyConfiguration; flags win over it")
        ->type_name("FILE")
        ->trigger_on_parse();
    auto* manifests = app.add_option_function<Text>(
                             "--manifests",
                             [&config](const Text& directory) {
                                 config.manifests = directory;
                                 config.kubeconfig.clear();
                             },
                             "directory of YAML or JSON files in the API's format")
                          ->type_name("DIR");
    app.add_option_function<Text>(
           "--kubeconfig",
           [&config](const Text& file) {
               config.kubeconfig = file;
               config.manifests.clear();
           },
           "how to reach the API server (default in a Pod: its own account)")
        ->type_name("FILE")
        ->excludes(manifests);
    app.add_option_function<Texts>(
           "--api-endpoint",
           [&config](const Texts& texts) {
               config.api_endpoints.clear();
               for (const auto& text : texts) config.api_endpoints.push_back(*model::parse_address_port(text));
           },
           "an API server: is connected to, and makes its own Service work before it has been heard")
        ->delimiter(',')
        ->type_name("A:P,..")
        ->check(refuse_address_port);
    app.add_option("--node-name", config.node_name, "name of this Node (default: the host name)")->type_name("NAME");
    app.add_option_function<Texts>(
           "--node-ip",
           [&config](const Texts& texts) {
               config.node_addresses.clear();
               for (const auto& text : texts) config.node_addresses.push_back(*model::parse_address(text));
           },
           "this node's own address, of either family (default: the InternalIPs of its Node object, else the "
           "ExternalIPs)")
        ->delimiter(',')
        ->type_name("IP,..")
        ->check(refuse_node_address)
        ->expected(1, 2);
    app.add_option_function<Texts>(
           "--nodeport-addresses",
           [&config](const Texts& texts) {
               const auto chosen = model::parse_node_port_addresses(texts);
               if (!chosen) throw CLI::ValidationError("--nodeport-addresses", "\"primary\" must be alone");
               config.node_ports = *chosen;
           },
           "where node ports are served: \"primary\", or the node's addresses in these ranges (default: primary)")
        ->delimiter(',')
        ->type_name("CIDR,..")
        ->check(refuse_node_port_address);
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
    app.add_option_function<Text>(
           "--attach", [&config](const Text& word) { config.datapath.mode = *attach_mode(word); },
           "how to attach to devices")
        ->check(CLI::IsMember({"auto", "tcx", "clsact"}))
        ->default_str("auto");
    app.add_option_function<Text>(
           "--xdp", [&config](const Text& word) { config.datapath.xdp = *xdp_mode(word); },
           "XDP on uplinks: in the driver of hardware, of any device, by the kernel, or none")
        ->check(CLI::IsMember({"auto", "native", "generic", "off"}))
        ->default_str("auto");
    app.add_option_function<Texts>(
           "--service-cidr",
           [&config](const Texts& texts) {
               if (texts.size() > 1 && std::ranges::any_of(texts, is_off))
                   throw CLI::ValidationError("--service-cidr", "\"off\" must be alone");
               config.service_cidrs.clear();
               if (is_off(texts.front())) return;
               for (const auto& text : texts) config.service_cidrs.push_back(*model::parse_cidr(text));
           },
           "addresses in it that no Service has are dropped, \"off\" for none but those of ServiceCIDR objects")
        ->delimiter(',')
        ->type_name("CIDR,..")
        ->check(refuse_service_cidr)
        ->expected(1, SVCLB_SERVICE_CIDRS);
    app.add_option_function<Text>(
           "--ping", [&config](const Text& word) { config.datapath.settings.ping_reply = *ping_reply(word); },
           "what a ping to a ClusterIP gets: an echo reply, or port unreachable as by kube-proxy")
        ->check(CLI::IsMember({"reply", "reject"}))
        ->default_str("reject");
    app.add_option_function<Text>(
           "--external-cluster-ip",
           [&config](const Text& word) { config.datapath.settings.external_cluster_ip = *external_cluster_ip(word); },
           "what becomes of a ClusterIP that is dialled from outside the cluster")
        ->check(CLI::IsMember({"allow", "drop"}))
        ->default_str("drop");
    app.add_option_function<Text>(
           "--algorithm", [&config](const Text& word) { config.algorithm = *model::parse_algorithm(word); },
           "how a backend is chosen where the Service does not say")
        ->check(CLI::IsMember({"random", "maglev"}))
        ->default_str("random");
    app.add_flag("--masquerade-all", config.masquerade.all,
                 "show backends the node as their client, also where a pod dials a ClusterIP");
    app.add_option_function<Text>(
           "--cluster-cidr", [&config](const Text& text) { config.masquerade.cluster_cidrs = *cluster_cidrs(text); },
           "the cluster's pods, of either family (default: what comes out of pod links)")
        ->type_name("CIDR[,CIDR]")
        ->check([](const Text& text) {
            return cluster_cidrs(text) ? Text() : "not a CIDR, or one of each family: " + text;
        });
    app.add_option_function<Text>(
           "--detect-local-mode", [&config](const Text& word) { config.masquerade.local = *local_mode(word); },
           "how the cluster's pods are known")
        ->check(CLI::IsMember({"ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"}))
        ->default_str("ClusterCIDR");
    app.add_option_function<Text>(
           "--source-ports",
           [&config](const Text& text) { set_source_ports(config.datapath.settings, *source_ports(text)); },
           "the node's ports towards backends that see it as their client")
        ->type_name("FIRST-LAST")
        ->check([](const Text& text) {
            return source_ports(text) ? Text() : "not a range of ports like 1024-29999: " + text;
        })
        ->default_str("1024-29999");
    app.add_option_function<Text>(
           "--host-sockets", [&config](const Text& word) { config.datapath.sockets.host = *on_or_off(word); },
           "translate what processes on the host network dial, at their sockets")
        ->check(CLI::IsMember({"on", "off"}))
        ->default_str("on");
    app.add_option_function<Text>(
           "--pod-sockets", [&config](const Text& word) { config.datapath.sockets.pods = *on_or_off(word); },
           "translate what the node's pods dial over TCP at their sockets, too")
        ->check(CLI::IsMember({"on", "off"}))
        ->default_str("off");
    app.add_option_function<Text>(
           "--host-packets", [&config](const Text& word) { config.host_packets = *on_or_off(word); },
           "translate or refuse the node's own packets that no socket hook has translated")
        ->check(CLI::IsMember({"on", "off"}))
        ->default_str("on");
    app.add_option("--cgroup-root", config.datapath.sockets.cgroup_root,
                   "root of the host's cgroup v2 hierarchy (default: where it is mounted)")
        ->type_name("DIR");
    app.add_option("--flow-entries", config.datapath.sizes.established,
                   "entries of each table of established flows, two for a flow (default: by the machine's memory)")
        ->type_name("N")
        ->check(CLI::Range(kFewestFlowEntries, kMostFlowEntries));
    app.add_option_function<Text>(
           "--healthz-address",
           [&config](const Text& text) { config.healthz_address = model::parse_address_port(text); },
           "where /healthz and /livez are served, \"off\" for nowhere")
        ->type_name("A:P")
        ->check(refuse_served_address)
        ->default_str(served_text(config.healthz_address));
    app.add_option_function<Text>(
           "--metrics-address",
           [&config](const Text& text) { config.metrics_address = model::parse_address_port(text); },
           "where /metrics is served, \"off\" for nowhere")
        ->type_name("A:P")
        ->check(refuse_served_address)
        ->default_str(served_text(config.metrics_address));
    app.add_option_function<Text>(
           "--log-level", [&config](const Text& word) { config.log_level = *log_level(word); },
           "least severe level that is logged")
        ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
        ->default_str("info");
}

}  // namespace

bool is_off(std::string_view address) {
    return address.empty() || address == "off";
}

std::optional<datapath::AttachMode> attach_mode(std::string_view word) {
    if (word == "auto") return datapath::AttachMode::automatic;
    if (word == "tcx") return datapath::AttachMode::tcx;
    if (word == "clsact") return datapath::AttachMode::clsact;
    return std::nullopt;
}

std::optional<datapath::XdpMode> xdp_mode(std::string_view word) {
    if (word == "auto") return datapath::XdpMode::automatic;
    if (word == "native") return datapath::XdpMode::native;
    if (word == "generic") return datapath::XdpMode::generic;
    if (word == "off") return datapath::XdpMode::off;
    return std::nullopt;
}

std::optional<bool> on_or_off(std::string_view word) {
    if (word == "on") return true;
    if (word == "off") return false;
    return std::nullopt;
}

std::optional<std::uint32_t> ping_reply(std::string_view word) {
    if (word == "reply") return 1;
    if (word == "reject") return 0;
    return std::nullopt;
}

std::optional<std::uint32_t> external_cluster_ip(std::string_view word) {
    if (word == "allow") return 1;
    if (word == "drop") return 0;
    return std::nullopt;
}

std::optional<PortRange> source_ports(std::string_view text) {
    constexpr std::uint16_t kFirstUnprivileged = 1024;
    PortRange range;
    const auto* const end = text.data() + text.size();
    const auto first = std::from_chars(text.data(), end, range.first);
    if (first.ec != std::errc() || first.ptr == end || *first.ptr != '-') return std::nullopt;
    const auto last = std::from_chars(first.ptr + 1, end, range.last);
    if (last.ec != std::errc() || last.ptr != end) return std::nullopt;
    if (range.first < kFirstUnprivileged || range.first >= range.last) return std::nullopt;
    return range;
}

void set_source_ports(svclb_settings& settings, const PortRange& range) {
    settings.source_port_first = range.first;
    settings.source_ports = 1U + range.last - range.first;
}

std::optional<spdlog::level::level_enum> log_level(std::string_view word) {
    if (word == "debug") return spdlog::level::debug;
    if (word == "info") return spdlog::level::info;
    if (word == "warn") return spdlog::level::warn;
    if (word == "error") return spdlog::level::err;
    return std::nullopt;
}

std::variant<Config, int> config_from(int argc, char** argv) {
    Config config;
    set_source_ports(config.datapath.settings, kSourcePorts);
    bool check = false;
    bool clean_up = false;
    CLI::App app{"svclb-agent keeps the BPF maps of this node equal to what Services and EndpointSlices say"};
    add_options(app, config);
    auto* check_flag = app.add_flag("--check", check,
                                    "validate configuration, kernel and input, print what was found, change nothing");
    app.add_flag("--cleanup", clean_up, "remove every trace of svclb from this node")->excludes(check_flag);
    try {
        app.parse(argc, argv);
        if (!clean_up && config.manifests.empty() && config.kubeconfig.empty() && !in_pod())
            throw CLI::RequiredError("--manifests or --kubeconfig (outside of a Pod)");
        if (config.datapath.sockets.pods && !config.datapath.sockets.host)
            throw CLI::ValidationError("--pod-sockets", "on needs --host-sockets on");
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kBadUsage;
    } catch (const BadFile& file) {
        for (const auto& problem : file.problems) std::fprintf(stderr, "%s\n", problem.c_str());
        return kBadUsage;
    }
    if (check) config.action = Action::check;
    if (clean_up) config.action = Action::clean_up;
    if (config.node_name.empty()) config.node_name = host_name();
    auto& settings = config.datapath.settings;
    settings.hash_seed = 0x5bd1e995;
    settings.reject_per_s = 1000;
    settings.half_open_timeout_s = config.flow_timeouts.tcp_half_open_s;
    settings.tcp_established_timeout_s = config.flow_timeouts.tcp_established_s;
    settings.udp_answered_timeout_s = config.flow_timeouts.udp_answered_s;
    return config;
}

}  // namespace svclb::agent
