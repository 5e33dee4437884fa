// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What is read from valid text. What is refused, and in which words: decode_errors_test.cpp.
#include "svclb/kube/decode.hpp"

#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <sstream>

#include "svclb/model/build.hpp"
#include "svclb/model/keys.hpp"

using namespace svclb;
using namespace svclb::kube;

namespace {

std::string data(const std::string& name) {
    std::ifstream file(std::string(SVCLB_TEST_DATA) + "/" + name, std::ios::binary);
    REQUIRE(file);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

Decoded decoded(std::string_view text) {
    auto result = decode_manifest(text);
    for (const auto& problem : result.problems) UNSCOPED_INFO(to_string("text", problem));
    REQUIRE(result.problems.empty());
    REQUIRE(result.complete);
    REQUIRE(result.refused == 0);
    REQUIRE(result.lines.size() == result.objects.size());
    return result;
}

template <class T>
T only(std::string_view text) {
    const auto result = decoded(text);
    REQUIRE(result.objects.size() == 1);
    REQUIRE(std::holds_alternative<T>(result.objects[0]));
    return std::get<T>(result.objects[0]);
}

}  // namespace

TEST_CASE("what kubectl prints is read: every field that we honour") {
    const auto result = decoded(data("kubectl-list.yaml"));
    REQUIRE(result.objects.size() == 3);

    model::Service service;
    service.key = {"default", "web"};
    service.uid = "0f9c2b1e-3c55-4a43-9d2f-5b6a7c8d9e0f";
    service.created = "2024-05-06T07:08:09Z";
    service.type = model::ServiceType::load_balancer;
    service.cluster_ip = "10.96.0.10";
    service.cluster_ips = {"10.96.0.10", "fd00:96::10"};
    service.ip_families = {model::Family::ipv4, model::Family::ipv6};
    service.external_ips = {"192.0.2.7"};
    service.ingress = {{.ip = "203.0.113.9", .ip_mode = "VIP"}, {.ip = "", .ip_mode = ""}};
    service.source_ranges = {"198.51.100.0/24"};
    service.ports = {{"http", model::Protocol::tcp, 80, 30080}, {"dns", model::Protocol::udp, 53, 30053}};
    service.client_ip_affinity = true;
    service.affinity_s = 600;
    service.external_policy = model::TrafficPolicy::local;
    service.health_check_node_port = 32100;
    CHECK(std::get<model::Service>(result.objects[0]) == service);

    model::Endpoint ready;
    ready.addresses = {"10.244.1.5"};
    ready.ready = true;
    ready.serving = true;
    ready.terminating = false;
    ready.node_name = "node-a";
    ready.zone = "zone-a";
    ready.zone_hints = {"zone-a"};
    ready.node_hints = {"node-a"};
    model::Endpoint ending;
    ending.addresses = {"10.244.2.6"};
    ending.ready = false;
    ending.serving = true;
    ending.terminating = true;
    ending.node_name = "node-b";
    model::EndpointSlice slice;
    slice.key = {"default", "web-abcde"};
    slice.service = "web";
    slice.labels.emplace(model::kServiceNameLabel, "web");
    slice.annotations.emplace(model::kTriggerTimeAnnotation, "2024-05-06T07:09:00Z");
    slice.family = model::Family::ipv4;
    slice.ports = {{"http", model::Protocol::tcp, 8080}, {"dns", model::Protocol::udp, 5353}};
    slice.endpoints = {ready, ending};
    CHECK(std::get<model::EndpointSlice>(result.objects[1]) == slice);

    model::Node node;
    node.name = "node-a";
    node.labels.emplace(model::kZoneLabel, "zone-a");
    node.ips = {"192.168.1.11"};
    node.pod_cidrs = {"10.244.1.0/24", "fd00:244:1::/64"};
    CHECK(std::get<model::Node>(result.objects[2]) == node);
    CHECK(result.lines == std::vector<std::size_t>{3, 57, 103});
}

TEST_CASE("JSON and YAML of one list read the same") {
    const auto yaml = decoded(data("kubectl-list.yaml"));
    const auto json = decoded(data("kubectl-list.json"));
    CHECK(json.objects == yaml.objects);
}

TEST_CASE("several documents: flow style, JSON between YAML, anchors, foreign kinds, empty documents") {
    const auto result = decoded(data("multi-document.yaml"));
    REQUIRE(result.objects.size() == 3);
    const auto& dns = std::get<model::Service>(result.objects[0]);
    CHECK(dns.key == model::ObjectKey{"kube-system", "dns"});
    CHECK(dns.cluster_ips == std::vector<std::string>{"10.96.0.53"});
    CHECK(dns.ip_families == std::vector{model::Family::ipv4});
    CHECK(dns.ports[1] == model::ServicePort{"dns-tcp", model::Protocol::tcp, 53, 0});
    CHECK(std::get<model::EndpointSlice>(result.objects[1]).endpoints.size() == 1);
    CHECK(std::get<model::Service>(result.objects[2]).key == model::ObjectKey{"default", "headless"});
    CHECK(result.lines == std::vector<std::size_t>{3, 12, 25});
}

TEST_CASE("text without objects gives none") {
    for (const auto* text : {"", "\n", "# only a comment", "---", "---\n---\n", "null", "--- # nothing\n...\n",
                             "apiVersion: v1\nkind: List\nitems: []\n", "{\"kind\": \"PodList\", \"items\": [{}]}",
                             "apiVersion: example.com/v1\nkind: Thing\nitems: [{kind: Service, apiVersion: v1}]"}) {
        CAPTURE(text);
        CHECK(decoded(text).objects.empty());
    }
}

TEST_CASE("a typed list gives its items their kind, wherever its own kind stands") {
    const std::string item = R"({"metadata":{"name":"web"},"spec":{"clusterIP":"10.96.0.1","ports":[{"port":80}]}})";
    CHECK(only<model::Service>(R"({"kind":"ServiceList","apiVersion":"v1","items":[)" + item + "]}").key.name == "web");
    CHECK(only<model::Service>(R"({"items":[)" + item + R"(],"kind":"ServiceList","apiVersion":"v1"})").key.name ==
          "web");
    CHECK(only<model::Service>(R"({"kind":"List","apiVersion":"v1","items":[{"kind":"ServiceList","apiVersion":"v1",)"
                               R"("items":[)" +
                               item + "]}]}")
              .key.name == "web");
}

TEST_CASE("JSON objects may follow each other without a separator") {
    const std::string one = R"({"kind":"Node","apiVersion":"v1","metadata":{"name":"a"}})";
    const std::string two = R"({"kind":"Node","apiVersion":"v1","metadata":{"name":"b"}})";
    const auto result = decoded(one + "\n" + two + "\n");
    REQUIRE(result.objects.size() == 2);
    CHECK(result.lines == std::vector<std::size_t>{1, 2});
}

TEST_CASE("a Node's InternalIPs go before its ExternalIPs, whatever their order, and no other addresses count") {
    const auto node = only<model::Node>(
        "{kind: Node, apiVersion: v1, metadata: {name: a}, status: {addresses: [{type: ExternalIP, address: "
        "192.0.2.1}, "
        "{type: Hostname, address: a}, {type: InternalIP, address: 10.0.0.1}, {type: InternalDNS, address: a.example}, "
        "{type: ExternalIP, address: '2001:db8::1'}]}}");
    CHECK(node.ips == std::vector<std::string>{"10.0.0.1", "192.0.2.1", "2001:db8::1"});
}

TEST_CASE("JSON escapes are read, and a flow mapping that is no JSON is YAML") {
    CHECK(only<model::Node>(R"({"kind":"Node","apiVersion":"v1","metadata":{"name":"a\u002Db"}})").name == "a-b");
    const auto node = only<model::Node>(
        R"({"kind":"Node","apiVersion":"v1","metadata":{"name":"a"},
            "status":{"addresses":[{"type":"InternalIP","address":"\"\\\/\b\f\n\r\t\u00e9\u20ac\ud83d\ude00\ud83d"}]}})");
    CHECK(node.ips == std::vector<std::string>{"\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd"});
    CHECK(only<model::Node>("{kind: Node, apiVersion: v1, metadata: {name: flow}}").name == "flow");
    CHECK(only<model::Node>(R"({"kind": Node, 'apiVersion': "v1", metadata: {name: flow}})").name == "flow");
}

TEST_CASE("a Node that is deleted, or about to be, says so") {
    const auto leaving = [](const std::string& metadata, const std::string& spec) {
        return only<model::Node>("{kind: Node, apiVersion: v1, metadata: {name: a" + metadata + "}, spec: {" + spec +
                                 "}}")
            .leaving;
    };
    CHECK_FALSE(leaving("", ""));
    CHECK_FALSE(leaving("", "taints: [{key: node.kubernetes.io/unschedulable, effect: NoSchedule}]"));
    CHECK(leaving(", deletionTimestamp: '2026-01-02T03:04:05Z'", ""));
    CHECK(leaving("", "taints: [{key: x}, {key: ToBeDeletedByClusterAutoscaler, value: '1', effect: NoSchedule}]"));
}

TEST_CASE("absent and null fields read as their defaults") {
    const auto service = only<model::Service>(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: , labels: null}\n"
        "spec: {clusterIP: fd00::1, ports: [{port: 80, name: ~, protocol: null}], externalIPs: null, type:}\n");
    model::Service expected;
    expected.key = {"default", "web"};
    expected.cluster_ip = "fd00::1";
    expected.cluster_ips = {"fd00::1"};
    expected.ip_families = {model::Family::ipv6};
    expected.ports = {{"", model::Protocol::tcp, 80, 0}};
    CHECK(service == expected);

    const auto slice = only<model::EndpointSlice>(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: FQDN\n"
        "ports: [{}]\nendpoints: [{addresses: [a.example.com], conditions: {ready: }}]\n");
    CHECK_FALSE(slice.family);
    CHECK(slice.ports == std::vector<model::EndpointPort>{{std::nullopt, model::Protocol::tcp, std::nullopt}});
    REQUIRE(slice.endpoints.size() == 1);
    CHECK_FALSE(slice.endpoints[0].ready);

    // As the API server writes the slice of a Service without Pods.
    const auto empty = only<model::EndpointSlice>(
        R"({"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"a"},)"
        R"("addressType":"IPv4","ports":null,"endpoints":null})");
    CHECK(empty.family == model::Family::ipv4);
    CHECK(empty.ports.empty());
    CHECK(empty.endpoints.empty());
}

TEST_CASE("ClusterIP fields are completed as the API server does") {
    const auto service = [](const std::string& spec) {
        return only<model::Service>(
            "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports: [{port: 80}]\n" + spec);
    };
    CHECK(service("  clusterIPs: [fd00::1, 10.0.0.1]").cluster_ip == "fd00::1");
    CHECK(service("  clusterIPs: [fd00::1, 10.0.0.1]").ip_families ==
          std::vector{model::Family::ipv6, model::Family::ipv4});
    CHECK(service("  clusterIP: 10.0.0").ip_families.empty());
    CHECK(service("  type: ClusterIP").cluster_ips.empty());
}

TEST_CASE("quoted and unquoted names are strings alike, addresses stay as written") {
    const auto service = only<model::Service>(
        "apiVersion: v1\nkind: \"Service\"\nmetadata: {name: '80', namespace: \"true\"}\n"
        "spec: {clusterIP: 010.096.0.1, ports: [{port: 80}], loadBalancerSourceRanges: [' 10.0.0.0/8 ']}\n");
    CHECK(service.key == model::ObjectKey{"true", "80"});
    CHECK(service.cluster_ip == "010.096.0.1");
    CHECK(service.source_ranges == std::vector<std::string>{" 10.0.0.0/8 "});
    CHECK(only<model::Node>("apiVersion: v1\nkind: Node\nmetadata: {name: !!str 12}\n").name == "12");
}

TEST_CASE("Windows line ends and a byte order mark do not matter") {
    const auto text =
        "\xef\xbb\xbf"
        "apiVersion: v1\r\nkind: Node\r\nmetadata:\r\n  name: a\r\n---\r\n"
        "apiVersion: v1\r\nkind: Node\r\nmetadata:\r\n  name: b\r\n";
    CHECK(decoded(text).objects.size() == 2);
}

TEST_CASE("a decoded Service and its slice build into service ports") {
    const auto result = decoded(data("kubectl-list.yaml"));
    const auto& service = std::get<model::Service>(result.objects[0]);
    const auto& slice = std::get<model::EndpointSlice>(result.objects[1]);
    const auto node = model::node_view(std::get<model::Node>(result.objects[2]));
    std::vector<model::Problem> problems;
    const std::vector<const model::EndpointSlice*> slices{&slice};
    const auto state = model::build_service(service, slices, node, problems);
    CHECK(problems.empty());
    REQUIRE(state.size() == 4);
    CHECK(state[1].cluster == model::Verdict::reject);  // IPv6 has no slice
    CHECK(state[2].local == model::Verdict::forward);
    CHECK(to_string(state[2].id) == "default/web:http");
}
