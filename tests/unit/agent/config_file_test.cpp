// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "config_file.hpp"

#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace svclb::agent {
namespace {

using Lines = std::vector<std::string>;

std::string data(const std::string& name) {
    std::ifstream file(std::string(SVCLB_SOURCE_DIR) + "/" + name);
    REQUIRE(file);
    return {std::istreambuf_iterator<char>(file), {}};
}

struct Read {
    Config config;
    ConfigFindings findings;
};

Read read(const std::string& text) {
    Read result;
    result.findings = read_config(text, "f", result.config);
    return result;
}

Read own(const std::string& fields) {
    return read("apiVersion: svclb.io/v1alpha1\nkind: AgentConfiguration\n" + fields);
}

Read kube_proxy(const std::string& fields) {
    return read("apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n" + fields);
}

std::string served(const std::optional<model::AddressPort>& at) {
    return at ? model::endpoint_text(at->address, at->port) : "off";
}

TEST_CASE("every field of our own format arrives") {
    const auto [config, findings] = own(R"(
kubeconfig: /etc/svclb/kubeconfig
apiEndpoints: [192.0.2.1:6443, "[2001:db8::1]:6443"]
watchSilence: 90s
nodeName: node-a
stateDir: /run/other
bpfDir: /sys/fs/bpf/other
podLinks: [veth*, "!vethx"]
uplinks: [eth0]
attach: clsact
xdp: native
ping: reply
externalClusterIP: allow
sourcePorts: 62000-62999
algorithm: maglev
masqueradeAll: true
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
detectLocalMode: NodeCIDR
serviceCIDRs: [10.96.0.0/16, fd00:10:96::/112]
hostSockets: off
podSockets: on
cgroupRoot: /host/cgroup
flowEntries: 4096
affinityEntries: 2048
flowTimeouts:
  tcpEstablished: 2h
  tcpHalfOpen: 1m30s
  tcpClosing: 60s
  udp: 1500ms
  udpAnswered: 2m
healthzAddress: "[::]:10256"
metricsAddress: "off"
bindAddressHardFail: true
logLevel: debug
)");
    CHECK(findings.problems == Lines{});
    CHECK(findings.warnings == Lines{});
    CHECK(config.kubeconfig == "/etc/svclb/kubeconfig");
    CHECK(config.api_endpoints ==
          std::vector{*model::parse_address_port("192.0.2.1:6443"), *model::parse_address_port("[2001:db8::1]:6443")});
    CHECK(config.node_name == "node-a");
    CHECK(config.state_dir == "/run/other");
    CHECK(config.datapath.bpf_dir == "/sys/fs/bpf/other");
    CHECK(config.devices.pod_links == Lines{"veth*", "!vethx"});
    CHECK(config.devices.uplinks == Lines{"eth0"});
    CHECK(config.datapath.mode == datapath::AttachMode::clsact);
    CHECK(config.datapath.xdp == datapath::XdpMode::native);
    CHECK(config.datapath.settings.ping_reply == 1);
    CHECK(config.datapath.settings.external_cluster_ip == 1);
    CHECK(config.datapath.settings.source_port_first == 62000);
    CHECK(config.datapath.settings.source_ports == 1000);
    CHECK(config.algorithm == model::Algorithm::maglev);
    CHECK(config.masquerade.all);
    CHECK(config.masquerade.local == LocalMode::node_cidr);
    CHECK(config.masquerade.cluster_cidrs ==
          std::vector{*model::parse_cidr("10.244.0.0/16"), *model::parse_cidr("fd00:10:244::/56")});
    CHECK(config.service_cidrs ==
          std::vector{*model::parse_cidr("10.96.0.0/16"), *model::parse_cidr("fd00:10:96::/112")});
    CHECK(!config.datapath.sockets.host);
    CHECK(config.datapath.sockets.pods);
    CHECK(config.datapath.sockets.cgroup_root == "/host/cgroup");
    CHECK(config.datapath.sizes.established == 4096);
    CHECK(config.datapath.sizes.affinity == 2048);
    CHECK(config.flow_timeouts.tcp_established_s == 7200);
    CHECK(config.flow_timeouts.tcp_half_open_s == 90);
    CHECK(config.flow_timeouts.tcp_closing_s == 60);
    CHECK(config.flow_timeouts.udp_s == 2);
    CHECK(config.flow_timeouts.udp_answered_s == 120);
    CHECK(served(config.healthz_address) == "[::]:10256");
    CHECK(served(config.metrics_address) == "off");
    CHECK(config.watch_silence_s == 90);
    CHECK(config.bind_hard_fail);
    CHECK(config.log_level == spdlog::level::debug);
}

TEST_CASE("a file that says nothing, or null, leaves the defaults") {
    const auto [config, findings] = own("nodeName: null\nflowTimeouts:\nlogLevel: ~\n");
    CHECK(findings.problems == Lines{});
    CHECK(config.datapath.sockets.host);
    CHECK(!config.datapath.sockets.pods);
    CHECK(config.log_level == spdlog::level::info);
    CHECK(served(config.healthz_address) == "0.0.0.0:10256");
    CHECK(served(config.metrics_address) == "127.0.0.1:10249");
    CHECK(config.flow_timeouts.udp_s == datapath::FlowTimeouts{}.udp_s);
}

TEST_CASE("a bad field is told with file, line and field, all of them at once") {
    struct Row {
        std::string fields;
        Lines problems;
    };
    for (const auto& [fields, problems] : {
             Row{"noSuch: 1\n", {"f:3: noSuch: unknown field"}},
             Row{"flowTimeouts: {udp: 1s, sctp: 1s}\n", {"f:3: flowTimeouts.sctp: unknown field"}},
             Row{"nodeName: a\n\nnodeName: b\n", {"f:5: nodeName: given twice"}},
             Row{"nodeName: [a]\n", {"f:3: nodeName: must be a string"}},
             Row{"flowTimeouts: 5s\n", {"f:3: flowTimeouts: must be a map"}},
             Row{"flowTimeouts:\n  udp: 5\n", {"f:4: flowTimeouts.udp: must be a duration like 90s or 1h30m"}},
             Row{"flowTimeouts:\n  udp: 10ms\n", {"f:4: flowTimeouts.udp: must be at least 1 s"}},
             Row{"flowTimeouts:\n  udp: 1000000h\n", {"f:4: flowTimeouts.udp: must be at most 2147483647 s"}},
             Row{"flowEntries: 10\n", {"f:3: flowEntries: must be an integer from 1024 to 16777216"}},
             Row{"affinityEntries: 1\n", {"f:3: affinityEntries: must be an integer from 1024 to 16777216"}},
             Row{"flowEntries: \"4096\"\n", {"f:3: flowEntries: must be an integer from 1024 to 16777216"}},
             Row{"attach: xdp\nlogLevel: loud\n",
                 {"f:3: attach: \"xdp\" is not auto, tcx or clsact",
                  "f:4: logLevel: \"loud\" is not debug, info, warn or error"}},
             Row{"serviceCIDRs: [10.0.0.0/8, 10.0.0.0]\n", {"f:3: serviceCIDRs: [1]: \"10.0.0.0\" is not a CIDR"}},
             Row{"healthzAddress: 10256\n", {"f:3: healthzAddress: \"10256\" is not an ADDRESS:PORT, or off"}},
             Row{"metricsAddress: 127.0.0.1:0\n",
                 {"f:3: metricsAddress: \"127.0.0.1:0\" is not an ADDRESS:PORT, or off"}},
             Row{"bindAddressHardFail: yes\n", {"f:3: bindAddressHardFail: must be true or false"}},
             Row{"manifests: /a\nkubeconfig: /b\n", {"f:4: kubeconfig: not together with manifests"}},
             Row{"? [a]\n: b\n", {"f:3: : a key that is no text"}},
             Row{"\"a\\nb\": 1\n", {"f:3: a\\x0ab: unknown field"}},
         }) {
        CAPTURE(fields);
        CHECK(own(fields).findings.problems == problems);
    }
}

TEST_CASE("a file that is no configuration is refused as a whole") {
    const Lines neither{
        "f:1: apiVersion, kind: must be svclb.io/v1alpha1 AgentConfiguration or kubeproxy.config.k8s.io/v1alpha1 "
        "KubeProxyConfiguration"};
    CHECK(read("").findings.problems == neither);
    CHECK(read("- a\n").findings.problems == neither);
    CHECK(read("apiVersion: svclb.io/v2\nkind: AgentConfiguration\n").findings.problems == neither);
    CHECK(read("apiVersion: [a\n").findings.problems.size() == 1);
    CHECK(own("--- \nnodeName: b\n").findings.problems == Lines{"f:4: more than one document"});
}

TEST_CASE("kubeadm's ConfigMap for kube-proxy starts the agent") {
    const auto [config, findings] = read(data("tests/data/kubeadm-kube-proxy.yaml"));
    CHECK(findings.problems == Lines{});
    CHECK(findings.warnings == Lines{});
    CHECK(config.node_ports == model::NodePortAddresses{});
    CHECK(config.masquerade.cluster_cidrs ==
          std::vector{*model::parse_cidr("10.244.0.0/16"), *model::parse_cidr("fd00:10:244::/56")});
    CHECK(config.kubeconfig == "/var/lib/kube-proxy/kubeconfig.conf");
    CHECK(config.node_name.empty());
    CHECK(served(config.healthz_address) == "0.0.0.0:10256");
    CHECK(served(config.metrics_address) == "127.0.0.1:10249");
    CHECK(config.flow_timeouts.tcp_established_s == 86400);
    CHECK(config.log_level == spdlog::level::info);
}

TEST_CASE("what kube-proxy's configuration says is honoured where it has a meaning") {
    const auto [config, findings] = kube_proxy(R"(
hostnameOverride: " Node-A "
bindAddress: "::"
metricsBindAddress: "::1"
bindAddressHardFail: true
conntrack: {tcpEstablishedTimeout: 2h0m0s, udpTimeout: 45s, udpStreamTimeout: 500ms}
logging: {verbosity: 4}
)");
    CHECK(findings.problems == Lines{});
    CHECK(findings.warnings == Lines{});
    CHECK(config.node_name == "node-a");
    CHECK(served(config.healthz_address) == "[::]:10256");
    CHECK(served(config.metrics_address) == "[::1]:10249");
    CHECK(config.bind_hard_fail);
    CHECK(config.flow_timeouts.tcp_established_s == 7200);
    CHECK(config.flow_timeouts.udp_s == 45);
    CHECK(config.flow_timeouts.udp_answered_s == 1);
    CHECK(config.log_level == spdlog::level::debug);
}

TEST_CASE("kube-proxy's node port addresses, and the node's own address, are ours") {
    const auto [config, findings] = kube_proxy("nodePortAddresses: [10.0.0.0/8, 'fd00::/8']\nbindAddress: 192.0.2.1\n");
    CHECK(findings.problems == Lines{});
    CHECK(findings.warnings == Lines{});
    CHECK(config.node_ports ==
          model::NodePortAddresses{{*model::parse_cidr("10.0.0.0/8"), *model::parse_cidr("fd00::/8")}});
    CHECK(config.node_addresses == std::vector{*model::parse_address("192.0.2.1")});
    const auto defaults = kube_proxy("nodePortAddresses: [primary]\nbindAddress: 0.0.0.0\n").config;
    CHECK(defaults.node_ports == model::NodePortAddresses{});
    CHECK(defaults.node_addresses.empty());
}

TEST_CASE("where kube-proxy's node ports are by default, by the proxier that would run") {
    for (const auto* mode : {"", "mode: \"\"\n", "mode: iptables\n", "mode: ipvs\n"}) {
        CAPTURE(mode);
        for (const auto* none : {"", "nodePortAddresses: null\n", "nodePortAddresses: []\n"}) {
            const auto [config, findings] = kube_proxy(std::string(mode) + none);
            CHECK(config.node_ports == model::all_addresses());
            CHECK(findings.warnings == Lines{});
        }
        CHECK(kube_proxy(std::string(mode) + "nodePortAddresses: [primary]\n").config.node_ports ==
              model::NodePortAddresses{});
    }
    CHECK(kube_proxy("mode: nftables\n").config.node_ports == model::NodePortAddresses{});
}

TEST_CASE("kube-proxy's masquerading is ours, by the proxier that would run") {
    CHECK(kube_proxy("iptables: {masqueradeAll: true}\n").config.masquerade.all);
    CHECK(kube_proxy("mode: ipvs\niptables: {masqueradeAll: true}\n").config.masquerade.all);
    CHECK(!kube_proxy("mode: nftables\niptables: {masqueradeAll: true}\n").config.masquerade.all);
    CHECK(kube_proxy("mode: nftables\nnftables: {masqueradeAll: true}\n").config.masquerade.all);
    const auto [config, findings] = kube_proxy(
        "clusterCIDR: 'fd00::/8'\ndetectLocalMode: BridgeInterface\n"
        "detectLocal: {bridgeInterface: br0}\n");
    CHECK(findings.problems == Lines{});
    CHECK(findings.warnings == Lines{"f: fields without a meaning here: detectLocal.bridgeInterface"});
    CHECK(config.masquerade.local == LocalMode::links);
    CHECK(config.masquerade.cluster_cidrs == std::vector{*model::parse_cidr("fd00::/8")});
    CHECK(kube_proxy("detectLocalMode: \"\"\n").config.masquerade.local == LocalMode::cluster_cidr);
}

TEST_CASE("what has no meaning here is named once, in one line, unless it says nothing") {
    const auto findings = kube_proxy(R"(
featureGates: {SomeGate: true}
enableProfiling: true
iptables: {masqueradeAll: true, syncPeriod: 30s, minSyncPeriod: 0s}
ipvs: {excludeCIDRs: [], scheduler: rr}
logging: {vmodule: [{filePattern: a, verbosity: 3}], flushFrequency: 5s}
)")
                              .findings;
    CHECK(findings.problems == Lines{});
    CHECK(findings.warnings == Lines{"f: fields without a meaning here: featureGates, enableProfiling, "
                                     "iptables.syncPeriod, ipvs.scheduler, "
                                     "logging.vmodule, logging.flushFrequency"});
}

TEST_CASE("kube-proxy's configuration is checked as kube-proxy does it") {
    struct Row {
        std::string field;
        std::string problem;  // behind "f:3: "; "" = none
    };
    for (const auto& [field, problem] : {
             Row{"bindAddress: host", "bindAddress: \"host\" is not an IP address"},
             Row{"bindAddress: \"\"", ""},
             Row{"healthzBindAddress: host:1", "healthzBindAddress: must be an IP address, or one with a port"},
             Row{"healthzBindAddress: 10.0.0.1:0", "healthzBindAddress: must be an IP address, or one with a port"},
             Row{"metricsBindAddress: \":10249\"", "metricsBindAddress: must be an IP address, or one with a port"},
             Row{"metricsBindAddress: 0.0.0.0", ""},
             Row{"hostnameOverride: \" \"", "hostnameOverride: must not be blank"},
             Row{"mode: kernelspace", "mode: must be one of iptables, ipvs, nftables, not \"kernelspace\""},
             Row{"oomScoreAdj: -1001", "oomScoreAdj: must be an integer from -1000 to 1000"},
             Row{"iptables: {masqueradeBit: 32}", "iptables.masqueradeBit: must be an integer from 0 to 31"},
             Row{"iptables: {syncPeriod: -1s}", "iptables.syncPeriod: must not be negative"},
             Row{"iptables: {syncPeriod: 1s, minSyncPeriod: 2s}",
                 "iptables.minSyncPeriod: must not be longer than syncPeriod"},
             Row{"iptables: {syncPeriod: 500ms, minSyncPeriod: 0s}",
                 "iptables.minSyncPeriod: must not be longer than syncPeriod"},
             Row{"nftables: {minSyncPeriod: 31s}", "nftables.minSyncPeriod: must not be longer than syncPeriod"},
             Row{"ipvs: {minSyncPeriod: 31s}", ""},
             Row{"{mode: ipvs, ipvs: {minSyncPeriod: 31s}}", "ipvs.minSyncPeriod: must not be longer than syncPeriod"},
             Row{"ipvs: {scheduler: best}",
                 "ipvs.scheduler: must be one of rr, wrr, lc, wlc, lblc, lblcr, sh, mh, dh, "
                 "sed, nq, not \"best\""},
             Row{"ipvs: {excludeCIDRs: [10.0.0.1]}", "ipvs.excludeCIDRs: [0]: \"10.0.0.1\" is not a CIDR"},
             Row{"conntrack: {maxPerCore: -1}", "conntrack.maxPerCore: must be an integer from 0 to 2147483647"},
             Row{"conntrack: {tcpCloseWaitTimeout: -1s}", "conntrack.tcpCloseWaitTimeout: must not be negative"},
             Row{"conntrack: {udpTimeout: soon}", "conntrack.udpTimeout: must be a duration like 90s or 1h30m"},
             Row{"clientConnection: {burst: -1}", "clientConnection.burst: must be an integer from 0 to 2147483647"},
             Row{"clientConnection: {qps: 7.5}", ""},
             Row{"clusterCIDR: 10.0.0.0/8,fd00::/8", ""},
             Row{"clusterCIDR: 10.0.0.0/8,11.0.0.0/8",
                 "clusterCIDR: \"10.0.0.0/8,11.0.0.0/8\" is not a CIDR, or one of each family with a comma between "
                 "them"},
             Row{"detectLocalMode: BridgeInterface",
                 "detectLocalMode: BridgeInterface needs "
                 "detectLocal.bridgeInterface"},
             Row{"{detectLocalMode: InterfaceNamePrefix, detectLocal: {interfaceNamePrefix: veth}}", ""},
             Row{"detectLocalMode: Magic",
                 "detectLocalMode: must be one of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix, not "
                 "\"Magic\""},
             Row{"nodePortAddresses: [primary]", ""},
             Row{"nodePortAddresses: [primary, 10.0.0.0/8]", "nodePortAddresses: primary must be alone"},
             Row{"nodePortAddresses: [eth0]", "nodePortAddresses: [0]: \"eth0\" is not a CIDR or the word primary"},
             Row{"portRange: 2000-300", "portRange: \"2000-300\" is not a port range like 300-2000"},
             Row{"portRange: 300+70", ""},
             Row{"featureGates: {A: maybe}", "featureGates: A: must be true or false"},
             Row{"logging: {format: xml}", "logging.format: must be one of text, json, not \"xml\""},
             Row{"logging: {vmodule: [{file: a}]}", "logging.vmodule: [0]: line 3: file: unknown field"},
             Row{"resourceContainer: /x", "resourceContainer: unknown field"},
         }) {
        CAPTURE(field);
        // A row with more than one field is a map in flow style; what else the file needs goes into it.
        const bool flow = field.front() == '{';
        const auto head = std::string("apiVersion: kubeproxy.config.k8s.io/v1alpha1") + (flow ? ",\n" : "\n") +
                          "kind: KubeProxyConfiguration" + (flow ? ",\n" : "\n");
        const auto findings = read(flow ? "{" + head + field.substr(1) : head + field + "\n").findings;
        CHECK(findings.problems == (problem.empty() ? Lines{} : Lines{"f:3: " + problem}));
    }
}

TEST_CASE("durations read as Go writes them") {
    using std::chrono::nanoseconds;
    const auto ns = [](std::string_view text) {
        const auto read = parse_duration(text);
        return read ? read->count() : -1;
    };
    CHECK(ns("0") == 0);
    CHECK(ns("0s") == 0);
    CHECK(ns("24h0m0s") == 86'400'000'000'000);
    CHECK(ns("1.5s") == 1'500'000'000);
    CHECK(ns("2m3ms4us5ns") == 120'003'004'005);
    CHECK(ns("+1s") == 1'000'000'000);
    CHECK(parse_duration("-1m") == nanoseconds{-60'000'000'000});
    for (const auto* bad : {"", "-", "5", "s", "1x", "1s5", ".s", "1..5s", " 1s", "1 s", "3000000h"}) {
        CAPTURE(bad);
        CHECK_FALSE(parse_duration(bad));
    }
}

// The properties of a schema that are no objects themselves, by path, "." between the names.
void collect(const nlohmann::json& schema, const std::string& above, std::map<std::string, nlohmann::json>& found) {
    CHECK(schema.at("additionalProperties") == false);
    for (const auto& [name, property] : schema.at("properties").items()) {
        if (property.contains("properties"))
            collect(property, above + name + ".", found);
        else
            found.emplace(above + name, property);
    }
}

TEST_CASE("the JSON schema has the fields that the parser has, and its examples and words are good") {
    std::map<std::string, nlohmann::json> documented;
    collect(nlohmann::json::parse(data("docs/config.schema.json")), "", documented);
    CHECK(documented.erase("apiVersion") == 1);
    CHECK(documented.erase("kind") == 1);
    Config config;
    for (const auto& field : own_fields(config)) {
        CAPTURE(field.path);
        const auto property = documented.extract(std::string(field.path));
        REQUIRE_FALSE(property.empty());
        auto examples = property.mapped().value("examples", nlohmann::json::array());
        for (const auto& word : property.mapped().value("enum", nlohmann::json::array())) examples.push_back(word);
        CHECK_FALSE(examples.empty());
        for (auto example : examples) {
            // "a.b" -> {"a": {"b": example}}; JSON is YAML.
            std::string path(field.path);
            for (auto dot = path.rfind('.'); dot != std::string::npos; dot = path.rfind('.')) {
                example = {{path.substr(dot + 1), example}};
                path.resize(dot);
            }
            CAPTURE(example.dump());
            CHECK(own(fmt::format("{}: {}\n", path, example.dump())).findings.problems == Lines{});
        }
    }
    CHECK(documented.empty());
}

}  // namespace
}  // namespace svclb::agent
