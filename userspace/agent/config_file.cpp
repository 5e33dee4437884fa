// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "config_file.hpp"

#include <fmt/format.h>

#include "svclb/model/text.hpp"

namespace svclb::agent {
namespace {

using kube::Value;
using std::chrono::seconds;

constexpr std::string_view kOwnVersion = "svclb.io/v1alpha1";
constexpr std::string_view kOwnKind = "AgentConfiguration";
constexpr std::string_view kKubeProxyVersion = "kubeproxy.config.k8s.io/v1alpha1";
constexpr std::string_view kKubeProxyKind = "KubeProxyConfiguration";

std::string text_of(const Value& root, std::string_view key) {
    const auto* value = find(root, key);
    return value && value->kind == Value::Kind::text ? value->text : "";
}

// Of a field that is there.
std::uint32_t line_of(const Value& root, std::string_view path) {
    const auto dot = path.find('.');
    const auto* value = find(root, path.substr(0, dot));
    if (!value) return root.line;
    return dot == std::string_view::npos ? value->line : line_of(*value, path.substr(dot + 1));
}

Taker timeout(std::uint32_t& to) {
    return [&to](const Value& value) {
        std::chrono::nanoseconds read{};
        auto wrong = duration(seconds{1}, &read)(value);
        if (!wrong.empty()) return wrong;
        const auto whole = std::chrono::ceil<seconds>(read).count();
        if (whole > kLongestTimeout.count()) return fmt::format("must be at most {} s", kLongestTimeout.count());
        to = static_cast<std::uint32_t>(whole);
        return wrong;
    };
}

// Where something is served; nothing for "off".
Taker served_address(std::optional<model::AddressPort>& to) {
    return parsed("an ADDRESS:PORT, or off", [&to](const std::string& text) {
        const auto address = model::parse_address_port(text);
        if (!address && !is_off(text)) return false;
        to = address;
        return true;
    });
}

Taker count(std::uint32_t least, std::uint32_t most, std::uint32_t& to) {
    return [=, &to](const Value& value) {
        std::int64_t read = 0;
        auto wrong = integer(least, most, &read)(value);
        if (wrong.empty()) to = static_cast<std::uint32_t>(read);
        return wrong;
    };
}

Taker texts(std::vector<std::string>& to) {
    const auto element = parsed("a string", [&to](const std::string& text) {
        to.push_back(text);
        return true;
    });
    return [element, &to](const Value& value) {
        to.clear();
        return list(element)(value);
    };
}

template <class T>
Taker list_of(std::string_view what, std::optional<T> (*parse)(std::string_view), std::vector<T>& to,
              std::size_t most) {
    const auto element = parsed(what, [parse, &to](const std::string& text) {
        const auto read = parse(text);
        if (read) to.push_back(*read);
        return read.has_value();
    });
    return [element, most, &to](const Value& value) {
        to.clear();
        auto wrong = list(element)(value);
        if (wrong.empty() && to.size() > most) wrong = fmt::format("more than {}", most);
        return wrong;
    };
}

std::optional<model::Address> node_address(std::string_view text) {
    const auto address = model::parse_address(text);
    return address && model::is_routable(*address) ? address : std::nullopt;
}

}  // namespace

Taker node_port_addresses(model::NodePortAddresses& to) {
    return [&to](const Value& value) -> std::string {
        std::vector<std::string> words;
        auto wrong = list(parsed("a CIDR or the word primary", [&words](const std::string& text) {
            words.push_back(text);
            return text == "primary" || model::parse_cidr(text);
        }))(value);
        if (!wrong.empty()) return wrong;
        const auto chosen = model::parse_node_port_addresses(words);
        if (!chosen) return "primary must be alone";
        to = *chosen;
        return {};
    };
}

Taker cluster_cidr(std::vector<model::Cidr>& to) {
    return parsed("a CIDR, or one of each family with a comma between them", [&to](const std::string& text) {
        const auto ranges = cluster_cidrs(text);
        if (ranges) to = *ranges;
        return ranges.has_value();
    });
}

Taker detect_local_mode(LocalMode& to) {
    return [&to](const Value& value) {
        std::string word;
        auto wrong = one_of({"", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"}, &word)(value);
        if (wrong.empty()) to = *local_mode(word);
        return wrong;
    };
}

std::vector<Field> own_fields(Config& config) {
    auto& timeouts = config.flow_timeouts;
    return {
        {"manifests", path(&config.manifests)},
        {"kubeconfig", path(&config.kubeconfig)},
        {"apiEndpoints",
         list_of("an ADDRESS:PORT", model::parse_address_port, config.api_endpoints, kMostApiEndpoints)},
        {"watchSilence", timeout(config.watch_silence_s)},
        {"nodeName", text(&config.node_name)},
        {"nodeIPs", list_of("an address of a node", node_address, config.node_addresses, 2)},
        {"nodePortAddresses", node_port_addresses(config.node_ports)},
        {"stateDir", path(&config.state_dir)},
        {"bpfDir", path(&config.datapath.bpf_dir)},
        {"podLinks", texts(config.devices.pod_links)},
        {"uplinks", texts(config.devices.uplinks)},
        {"attach", parsed("auto, tcx or clsact",
                          [&config](const std::string& word) {
                              const auto mode = attach_mode(word);
                              if (mode) config.datapath.mode = *mode;
                              return mode.has_value();
                          })},
        {"xdp", parsed("auto, native, generic or off",
                       [&config](const std::string& word) {
                           const auto mode = xdp_mode(word);
                           if (mode) config.datapath.xdp = *mode;
                           return mode.has_value();
                       })},
        {"serviceCIDRs", list_of("a CIDR", model::parse_cidr, config.service_cidrs, SVCLB_SERVICE_CIDRS)},
        {"ping", parsed("reply or reject",
                        [&config](const std::string& word) {
                            const auto reply = ping_reply(word);
                            if (reply) config.datapath.settings.ping_reply = *reply;
                            return reply.has_value();
                        })},
        {"externalClusterIP", parsed("allow or drop",
                                     [&config](const std::string& word) {
                                         const auto allow = external_cluster_ip(word);
                                         if (allow) config.datapath.settings.external_cluster_ip = *allow;
                                         return allow.has_value();
                                     })},
        {"algorithm", parsed("random or maglev",
                             [&config](const std::string& word) {
                                 const auto algorithm = model::parse_algorithm(word);
                                 if (algorithm) config.algorithm = *algorithm;
                                 return algorithm.has_value();
                             })},
        {"masqueradeAll", boolean(&config.masquerade.all)},
        {"clusterCIDR", cluster_cidr(config.masquerade.cluster_cidrs)},
        {"detectLocalMode", detect_local_mode(config.masquerade.local)},
        {"sourcePorts", parsed("a range of ports like 1024-29999",
                               [&config](const std::string& text) {
                                   const auto range = source_ports(text);
                                   if (range) set_source_ports(config.datapath.settings, *range);
                                   return range.has_value();
                               })},
        {"hostSockets", parsed("on or off",
                               [&config](const std::string& word) {
                                   const auto on = on_or_off(word);
                                   if (on) config.datapath.sockets.host = *on;
                                   return on.has_value();
                               })},
        {"podSockets", parsed("on or off",
                              [&config](const std::string& word) {
                                  const auto on = on_or_off(word);
                                  if (on) config.datapath.sockets.pods = *on;
                                  return on.has_value();
                              })},
        {"hostPackets", parsed("on or off",
                               [&config](const std::string& word) {
                                   const auto on = on_or_off(word);
                                   if (on) config.host_packets = *on;
                                   return on.has_value();
                               })},
        {"cgroupRoot", path(&config.datapath.sockets.cgroup_root)},
        {"flowEntries", count(kFewestFlowEntries, kMostFlowEntries, config.datapath.sizes.established)},
        {"affinityEntries", count(kFewestFlowEntries, kMostFlowEntries, config.datapath.sizes.affinity)},
        {"flowTimeouts.tcpEstablished", timeout(timeouts.tcp_established_s)},
        {"flowTimeouts.tcpHalfOpen", timeout(timeouts.tcp_half_open_s)},
        {"flowTimeouts.tcpClosing", timeout(timeouts.tcp_closing_s)},
        {"flowTimeouts.udp", timeout(timeouts.udp_s)},
        {"flowTimeouts.udpAnswered", timeout(timeouts.udp_answered_s)},
        {"healthzAddress", served_address(config.healthz_address)},
        {"metricsAddress", served_address(config.metrics_address)},
        {"bindAddressHardFail", boolean(&config.bind_hard_fail)},
        {"logLevel", parsed("debug, info, warn or error",
                            [&config](const std::string& word) {
                                const auto level = log_level(word);
                                if (level) config.log_level = *level;
                                return level.has_value();
                            })},
    };
}

ConfigFindings read_config(std::string_view text, const std::string& name, Config& config) {
    ConfigFindings findings;
    const auto file = model::printable(name);
    const auto problem = [&](const std::string& what) {
        findings.problems.push_back(fmt::format("{}:{}", file, what));
    };

    const auto root = kube::read_document(text);
    if (!root) {
        problem(fmt::format("{}: {}", root.error().line, model::printable(root.error().what)));
        return findings;
    }
    const auto version = text_of(*root, "apiVersion");
    const auto kind = text_of(*root, "kind");
    const bool own = version == kOwnVersion && kind == kOwnKind;
    if (!own && (version != kKubeProxyVersion || kind != kKubeProxyKind)) {
        problem(fmt::format("1: apiVersion, kind: must be {} {} or {} {}", kOwnVersion, kOwnKind, kKubeProxyVersion,
                            kKubeProxyKind));
        return findings;
    }
    KubeProxyConfig kube_proxy{config};
    auto fields = own ? own_fields(config) : kube_proxy.fields();
    fields.push_back({"apiVersion", agent::text()});
    fields.push_back({"kind", agent::text()});
    const auto taken = take_fields(*root, fields);
    for (const auto& what : taken.problems) problem(what);
    if (own && !config.manifests.empty() && !config.kubeconfig.empty())
        problem(fmt::format("{}: kubeconfig: not together with manifests", line_of(*root, "kubeconfig")));
    if (!own)
        for (const auto& [path, what] : kube_proxy.finish())
            problem(fmt::format("{}: {}: {}", line_of(*root, path), path, what));
    if (!taken.unused.empty())
        findings.warnings.push_back(
            fmt::format("{}: fields without a meaning here: {}", file, fmt::join(taken.unused, ", ")));
    return findings;
}

}  // namespace svclb::agent
