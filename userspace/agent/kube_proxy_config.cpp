// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// kube-proxy's KubeProxyConfiguration, v1alpha1: what of it has a meaning here, and checks as kube-proxy has them for
// all of it, so that the same file is good or bad for both.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <limits>
#include <utility>

#include "config_file.hpp"

namespace svclb::agent {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

constexpr nanoseconds kAny = nanoseconds::min();
constexpr auto kMostInt32 = std::numeric_limits<std::int32_t>::max();
constexpr auto kMostUint32 = std::numeric_limits<std::uint32_t>::max();
constexpr std::uint16_t kHealthzPort = 10256;
constexpr std::uint16_t kMetricsPort = 10249;
constexpr std::int64_t kDebugVerbosity = 4;  // from there on Kubernetes' components log what helps to debug them

Taker cidr() {
    return parsed("a CIDR", [](const std::string& text) { return model::parse_cidr(text).has_value(); });
}

bool is_address(const std::string& text) {
    return text.empty() || model::parse_address(text).has_value();
}

// "", "30000-32767", "30000+100", "30000".
bool is_port_range(const std::string& text) {
    if (text.empty()) return true;
    const auto port = [](const std::string& digits) -> long {
        const bool is_number = !digits.empty() && digits.size() <= 5 &&
                               std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; });
        const long value = is_number ? std::stol(digits) : -1;
        return value <= std::numeric_limits<std::uint16_t>::max() ? value : -1;
    };
    const auto middle = text.find_first_of("-+");
    const auto first = port(text.substr(0, middle));
    if (middle == std::string::npos) return first >= 0;
    const auto second = port(text.substr(middle + 1));
    return first >= 0 && second >= 0 && (text[middle] == '+' || first <= second);
}

std::string trimmed_lower(std::string text) {
    const auto blank = [](unsigned char c) { return std::isspace(c) != 0; };
    text.erase(text.begin(), std::ranges::find_if_not(text, blank));
    while (!text.empty() && blank(static_cast<unsigned char>(text.back()))) text.pop_back();
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

// A port that is missing is added, as kube-proxy does; nothing for what is no address.
std::optional<model::AddressPort> completed(const std::string& text, std::uint16_t port) {
    if (const auto address = model::parse_address(text)) return model::AddressPort{*address, port};
    return model::parse_address_port(text);
}

}  // namespace

std::vector<Field> KubeProxyConfig::fields() {
    const auto not_negative = [](nanoseconds* to = nullptr) { return duration(nanoseconds::zero(), to); };
    const auto flush = [](const kube::Value& value) {
        return number()(value).empty() ? std::string{} : duration(kAny)(value);
    };
    const auto quantity = parsed("a quantity", [](const std::string& text) { return !text.empty(); });
    const auto masquerade_bit = integer(0, 31);

    return {
        // What has a meaning here.
        {"clientConnection.kubeconfig", text(&kubeconfig_)},
        {"hostnameOverride", text(&host_name_)},
        {"bindAddress", parsed("an IP address",
                               [this](const std::string& text) {
                                   if (!text.empty()) bind_address_ = text;
                                   return is_address(text);
                               })},
        {"healthzBindAddress", text(&healthz_address_)},
        {"metricsBindAddress", text(&metrics_address_)},
        {"bindAddressHardFail", boolean(&config_.bind_hard_fail)},
        {"nodePortAddresses",
         [this](const kube::Value& value) {
             node_ports_given_ = !value.children.empty();
             return node_port_addresses(config_.node_ports)(value);
         }},
        {"conntrack.tcpEstablishedTimeout", not_negative(&tcp_established_)},
        {"conntrack.udpTimeout", not_negative(&udp_)},
        {"conntrack.udpStreamTimeout", not_negative(&udp_answered_)},
        {"logging.verbosity", integer(0, kMostUint32, &verbosity_)},
        {"iptables.masqueradeAll", boolean(&masquerade_all_iptables_)},
        {"nftables.masqueradeAll", boolean(&masquerade_all_nftables_)},
        {"mode", one_of({"", "iptables", "ipvs", "nftables"}, &mode_)},
        {"clusterCIDR", cluster_cidr(config_.masquerade.cluster_cidrs)},
        {"detectLocalMode",
         [this](const kube::Value& value) {
             local_mode_ = value.text;
             return detect_local_mode(config_.masquerade.local)(value);
         }},

        // What is only checked.
        {"featureGates", map_of(boolean()), false},
        {"clientConnection.acceptContentTypes", text(), false},
        {"clientConnection.contentType", text(), false},
        {"clientConnection.qps", number(), false},
        {"clientConnection.burst", integer(0, kMostInt32), false},
        {"logging.format", one_of({"", "text", "json"}), false},
        {"logging.flushFrequency", flush, false},
        {"logging.vmodule", list(fields_of({{"filePattern", text()}, {"verbosity", integer(0, kMostUint32)}})), false},
        {"logging.options.text.splitStream", boolean(), false},
        {"logging.options.text.infoBufferSize", quantity, false},
        {"logging.options.json.splitStream", boolean(), false},
        {"logging.options.json.infoBufferSize", quantity, false},
        {"enableProfiling", boolean(), false},
        {"showHiddenMetricsForVersion", text(), false},
        {"iptables.masqueradeBit", masquerade_bit, false},
        {"iptables.localhostNodePorts", boolean(), false},
        {"iptables.snatNodeInternalIP", boolean(), false},
        {"iptables.syncPeriod", not_negative(&iptables_.sync), false},
        {"iptables.minSyncPeriod", not_negative(&iptables_.pause), false},
        {"nftables.masqueradeBit", masquerade_bit, false},
        {"nftables.syncPeriod", not_negative(&nftables_.sync), false},
        {"nftables.minSyncPeriod", not_negative(&nftables_.pause), false},
        {"ipvs.syncPeriod", not_negative(&ipvs_.sync), false},
        {"ipvs.minSyncPeriod", not_negative(&ipvs_.pause), false},
        {"ipvs.scheduler", one_of({"", "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "sed", "nq"}),
         false},
        {"ipvs.excludeCIDRs", list(cidr()), false},
        {"ipvs.strictARP", boolean(), false},
        {"ipvs.tcpTimeout", not_negative(), false},
        {"ipvs.tcpFinTimeout", not_negative(), false},
        {"ipvs.udpTimeout", not_negative(), false},
        {"winkernel.networkName", text(), false},
        {"winkernel.sourceVip", text(), false},
        {"winkernel.enableDSR", boolean(), false},
        {"winkernel.rootHnsEndpointName", text(), false},
        {"winkernel.forwardHealthCheckVip", boolean(), false},
        {"detectLocal.bridgeInterface", text(&bridge_), false},
        {"detectLocal.interfaceNamePrefix", text(&interface_prefix_), false},
        {"oomScoreAdj", integer(-1000, 1000), false},
        {"conntrack.maxPerCore", integer(0, kMostInt32), false},
        {"conntrack.min", integer(0, kMostInt32), false},
        {"conntrack.tcpCloseWaitTimeout", not_negative(), false},
        {"conntrack.tcpBeLiberal", boolean(), false},
        {"configSyncPeriod", not_negative(), false},
        {"portRange", parsed("a port range like 300-2000", is_port_range), false},
        {"windowsRunAsService", boolean(), false},
    };
}

std::vector<FieldProblem> KubeProxyConfig::finish() {
    std::vector<FieldProblem> problems;
    const auto bind = model::parse_address(bind_address_).value_or(model::Address{});
    const auto v6 = bind.family() == model::Family::ipv6;
    // To kube-proxy it is the node's own address, whatever its name says.
    if (model::is_routable(bind)) config_.node_addresses = {bind};
    const auto serve = [&](std::string path, const std::string& text, std::uint16_t port, const char* by_default,
                           std::optional<model::AddressPort>& to) {
        to = completed(text.empty() ? by_default : text, port);
        if (!to) problems.push_back({std::move(path), "must be an IP address, or one with a port"});
    };
    serve("healthzBindAddress", healthz_address_, kHealthzPort, v6 ? "::" : "0.0.0.0", config_.healthz_address);
    serve("metricsBindAddress", metrics_address_, kMetricsPort, v6 ? "::1" : "127.0.0.1", config_.metrics_address);

    const auto pace = [&](std::string path, Periods periods, seconds pause) {
        if (periods.sync == nanoseconds::zero()) periods.sync = seconds{30};
        if (periods.pause == nanoseconds::zero()) periods.pause = pause;
        if (periods.pause > periods.sync) problems.push_back({std::move(path), "must not be longer than syncPeriod"});
    };
    pace("iptables.minSyncPeriod", iptables_, seconds{1});
    pace("nftables.minSyncPeriod", nftables_, seconds{1});
    if (mode_ == "ipvs") pace("ipvs.minSyncPeriod", ipvs_, seconds{0});
    if (local_mode_ == "BridgeInterface" && bridge_.empty())
        problems.push_back({"detectLocalMode", "BridgeInterface needs detectLocal.bridgeInterface"});
    if (local_mode_ == "InterfaceNamePrefix" && interface_prefix_.empty())
        problems.push_back({"detectLocalMode", "InterfaceNamePrefix needs detectLocal.interfaceNamePrefix"});

    // What the proxier that would run does.
    const bool nftables = mode_ == "nftables";
    config_.masquerade.all = nftables ? masquerade_all_nftables_ : masquerade_all_iptables_;
    if (!nftables && !node_ports_given_) config_.node_ports = model::all_addresses();

    const auto name = trimmed_lower(host_name_);
    if (!name.empty())
        config_.node_name = name;
    else if (!host_name_.empty())
        problems.push_back({"hostnameOverride", "must not be blank"});
    config_.kubeconfig = kubeconfig_;
    if (verbosity_ >= kDebugVerbosity) config_.log_level = spdlog::level::debug;
    // Zero leaves the timeout as it is, a fraction of a second counts as one.
    const auto put_timeout = [](nanoseconds from, std::uint32_t& to) {
        const auto whole = std::min(std::chrono::ceil<seconds>(from), kLongestTimeout);
        if (whole > seconds::zero()) to = static_cast<std::uint32_t>(whole.count());
    };
    put_timeout(tcp_established_, config_.flow_timeouts.tcp_established_s);
    put_timeout(udp_, config_.flow_timeouts.udp_s);
    put_timeout(udp_answered_, config_.flow_timeouts.udp_answered_s);
    return problems;
}

}  // namespace svclb::agent
