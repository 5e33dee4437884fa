// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Bad input, and the one line that each gives.
#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "svclb/kube/decode.hpp"

using namespace svclb;
using namespace svclb::kube;

namespace {

using Lines = std::vector<std::string>;

Lines lines_of(const Decoded& decoded) {
    Lines out;
    for (const auto& problem : decoded.problems) out.push_back(to_string("f", problem));
    return out;
}
Lines problems(const std::string& text) {
    return lines_of(decode_manifest(text));
}

// Services that are valid but for the line that a test puts in.
std::string service_with(const std::string& spec_line, const std::string& port_line = "") {
    return "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  " + spec_line +
           "\n  ports:\n  - port: 80\n    " + port_line + "\n";
}
std::string slice_with(const std::string& endpoint_line, const std::string& top_line = "addressType: IPv4") {
    return "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: web-1\n" + top_line +
           "\nendpoints:\n- addresses: [10.0.0.1]\n  " + endpoint_line + "\n";
}
std::string node_named(const std::string& name) {
    return "apiVersion: v1\nkind: Node\nmetadata: {name: " + name + "}\n";
}

}  // namespace

TEST_CASE("a problem reads FILE:LINE: object: field: what, on one printable line") {
    CHECK(to_string("a.yaml", {.line = 7,
                               .object = "Service default/web",
                               .field = "spec.ports[0].port",
                               .what = "not a port number: 70000"}) ==
          "a.yaml:7: Service default/web: spec.ports[0].port: not a port number: 70000");
    CHECK(to_string("a.yaml", {.line = 0, .object = "", .field = "", .what = "bad"}) == "a.yaml: bad");
    CHECK(to_string("a\n.yaml", {.line = 1, .object = "", .field = "", .what = "\x1b[2J"}) ==
          R"(a\x0a.yaml:1: \x1b[2J)");
}

TEST_CASE("each bad field of a Service is told with its line, path and content") {
    struct Row {
        std::string spec;
        std::string port;
        std::string expected;
    };
    const std::vector<Row> rows{
        {"type: Magic", "",
         "f:6: Service default/web: spec.type: not one of ClusterIP, NodePort, LoadBalancer, ExternalName: Magic"},
        {"type: [ClusterIP]", "", "f:6: Service default/web: spec.type: not a string: a list"},
        {"clusterIP: 10", "", "f:6: Service default/web: spec.clusterIP: not a string: 10"},
        {"clusterIP: 10.5", "", "f:6: Service default/web: spec.clusterIP: not a string: 10.5"},
        {"clusterIP: true", "", "f:6: Service default/web: spec.clusterIP: not a string: true"},
        {"clusterIPs: 10.96.0.1", "", "f:6: Service default/web: spec.clusterIPs: not a list: 10.96.0.1"},
        {"clusterIPs: [10.96.0.1, ~]", "", "f:6: Service default/web: spec.clusterIPs[1]: not a string: null"},
        {"ipFamilies: [ipv4]", "", "f:6: Service default/web: spec.ipFamilies[0]: not one of IPv4, IPv6: ipv4"},
        {"externalIPs: [{}]", "", "f:6: Service default/web: spec.externalIPs[0]: not a string: a map"},
        {"sessionAffinity: Client", "",
         "f:6: Service default/web: spec.sessionAffinity: not one of None, ClientIP: Client"},
        {"sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}", "",
         "f:6: Service default/web: spec.sessionAffinityConfig.clientIP.timeoutSeconds: not a number of seconds from 1 "
         "to 86400: 86401"},
        {"internalTrafficPolicy: local", "",
         "f:6: Service default/web: spec.internalTrafficPolicy: not one of Cluster, Local: local"},
        {"externalTrafficPolicy: 'Node'", "",
         "f:6: Service default/web: spec.externalTrafficPolicy: not one of Cluster, Local: Node"},
        {"healthCheckNodePort: -1", "", "f:6: Service default/web: spec.healthCheckNodePort: not a port number: -1"},
        {"", "name: Http",
         "f:9: Service default/web: spec.ports[0].name: not a DNS label (a-z, 0-9 and '-' inside): Http"},
        {"", "name: " + std::string(64, 'a'),
         "f:9: Service default/web: spec.ports[0].name: longer than 63 characters: " + std::string(64, 'a')},
        {"", "name: 80", "f:9: Service default/web: spec.ports[0].name: not a string: 80"},
        {"", "protocol: ICMP", "f:9: Service default/web: spec.ports[0].protocol: not one of TCP, UDP, SCTP: ICMP"},
        {"", "protocol: tcp", "f:9: Service default/web: spec.ports[0].protocol: not one of TCP, UDP, SCTP: tcp"},
        {"", "nodePort: 65536", "f:9: Service default/web: spec.ports[0].nodePort: not a port number: 65536"},
        {"", "port: 81", "f:9: Service default/web: spec.ports[0].port: given twice, first in line 8"},
        {"<<: {type: ClusterIP}", "", "f:6: Service default/web: spec: merge key << is not supported"},
    };
    for (const auto& row : rows) {
        const auto spec = row.spec.empty() ? "clusterIP: 10.96.0.1" : row.spec;
        const auto decoded = decode_manifest(service_with(spec, row.port));
        CHECK(lines_of(decoded) == Lines{row.expected});
        CHECK(decoded.objects.empty());
        CHECK(decoded.invalid_services == std::vector<model::ObjectKey>{{"default", "web"}});
        CHECK(decoded.refused == 1);
        CHECK(decoded.complete);
    }
}

TEST_CASE("a port is an unquoted decimal number in range") {
    struct Row {
        std::string port;
        std::string what;
    };
    for (const auto& [port, what] :
         {Row{"70000", "not a port number: 70000"}, Row{"0", "not a port number: 0"},
          Row{"-80", "not a port number: -80"}, Row{"080", "not a port number: 080"},
          Row{"0x50", "not a port number: 0x50"}, Row{"80.0", "not a port number: 80.0"},
          Row{"8e1", "not a port number: 8e1"}, Row{"http", "not a port number: http"},
          Row{"99999999999999999999", "not a port number: 99999999999999999999"},
          Row{"\"80\"", "not a port number: \"80\" is a string"}, Row{"'80'", "not a port number: \"80\" is a string"},
          Row{"!!str 80", "not a port number: \"80\" is a string"}, Row{"[80]", "not a port number: a list"},
          Row{"", "missing"}, Row{"~", "missing"}}) {
        CAPTURE(port);
        CHECK(problems("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports:\n  - port: " + port) ==
              Lines{"f:6: Service default/web: spec.ports[0].port: " + what});
    }
    CHECK(problems(
              R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"ports":[{"port":"80"}]}})") ==
          Lines{"f:1: Service default/web: spec.ports[0].port: not a port number: \"80\" is a string"});
}

TEST_CASE("ports of a Service must differ, and be there") {
    const std::string head = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  clusterIP: 10.96.0.1\n";
    CHECK(problems(head + "  ports: [{port: 80, name: a}, {port: 81, name: a}]") ==
          Lines{"f:6: Service default/web: spec.ports[1].name: the same name as spec.ports[0]: a"});
    CHECK(problems(head + "  ports: [{port: 80, name: a}, {port: 80, name: b}]") ==
          Lines{"f:6: Service default/web: spec.ports[1].port: the same port and protocol as spec.ports[0]: 80/TCP"});
    CHECK(problems(head + "  ports: [{port: 80, name: a}, {port: 81}]") ==
          Lines{"f:6: Service default/web: spec.ports[1].name: missing: there are several ports"});
    CHECK(problems(head + "  ports: []") == Lines{"f:6: Service default/web: spec.ports: missing"});
    CHECK(problems(head) == Lines{"f:5: Service default/web: spec.ports: missing"});
    CHECK(problems(head + "  ports: [~, 80]") == Lines{"f:6: Service default/web: spec.ports[0]: not a map: null",
                                                       "f:6: Service default/web: spec.ports[1]: not a map: 80"});
    CHECK(problems("apiVersion: v1\nkind: Service\nmetadata: {name: web}\n") ==
          Lines{"f:1: Service default/web: spec: missing"});
    CHECK(problems("apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: ExternalName}\n").empty());
}

TEST_CASE("each bad field of an EndpointSlice is told") {
    struct Row {
        std::string text;
        std::string expected;
    };
    const std::string object = "EndpointSlice default/web-1: ";
    const std::vector<Row> rows{
        {slice_with("conditions: {ready: yes}"),
         "f:8: " + object + "endpoints[0].conditions.ready: not true or false: yes"},
        {slice_with("conditions: {ready: \"true\"}"),
         "f:8: " + object + "endpoints[0].conditions.ready: not true or false: \"true\""},
        {slice_with("conditions: {serving: 1}"),
         "f:8: " + object + "endpoints[0].conditions.serving: not true or false: 1"},
        {slice_with("conditions: {terminating: False}"),
         "f:8: " + object + "endpoints[0].conditions.terminating: not true or false: False"},
        {slice_with("conditions: []"), "f:8: " + object + "endpoints[0].conditions: not a map: a list"},
        {slice_with("nodeName: Node_A"),
         "f:8: " + object +
             "endpoints[0].nodeName: not a DNS name (labels of a-z, 0-9 and '-' inside, with dots between): Node_A"},
        {slice_with("nodeName: \"\""), "f:8: " + object + "endpoints[0].nodeName: empty"},
        {slice_with("zone: a b"),
         "f:8: " + object + "endpoints[0].zone: not a label value (letters, digits and '-', '_', '.' inside): a b"},
        {slice_with("hints: {forZones: [{}]}"), "f:8: " + object + "endpoints[0].hints.forZones[0].name: missing"},
        {slice_with("hints: {forNodes: [{name: -}]}"),
         "f:8: " + object +
             "endpoints[0].hints.forNodes[0].name: not a DNS name (labels of a-z, 0-9 and '-' inside, with dots "
             "between): -"},
        {slice_with("addresses: []"), "f:8: " + object + "endpoints[0].addresses: given twice, first in line 7"},
        {slice_with("", "addressType: IPv5"), "f:5: " + object + "addressType: not one of IPv4, IPv6, FQDN: IPv5"},
        {slice_with("", "kinds: none"), "f:1: " + object + "addressType: missing"},
        {slice_with("", "addressType: IPv4\nports: [{name: http, port: 65536}]"),
         "f:6: " + object + "ports[0].port: not a port number: 65536"},
        {slice_with("", "addressType: IPv4\nports: [{name: HTTP}]"),
         "f:6: " + object + "ports[0].name: not a DNS label (a-z, 0-9 and '-' inside): HTTP"},
        {slice_with("", "addressType: IPv4\nports: [{protocol: IP}]"),
         "f:6: " + object + "ports[0].protocol: not one of TCP, UDP, SCTP: IP"},
        {slice_with("", "  labels: {kubernetes.io/service-name: 5}\naddressType: IPv4"),
         "f:5: " + object + "metadata.labels[kubernetes.io/service-name]: not a string: 5"},
        {slice_with("", "  labels: {kubernetes.io/service-name: a/b}\naddressType: IPv4"),
         "f:5: " + object +
             "metadata.labels[kubernetes.io/service-name]: not a label value (letters, digits and '-', '_', '.' "
             "inside): a/b"},
        {slice_with("", "  annotations: {svclb.io/weight: 5}\naddressType: IPv4"),
         "f:5: " + object + "metadata.annotations[svclb.io/weight]: not a string: 5"},
    };
    for (const auto& row : rows) {
        const auto decoded = decode_manifest(row.text);
        CHECK(lines_of(decoded) == Lines{row.expected});
        CHECK(decoded.invalid_slices == std::vector<model::ObjectKey>{{"default", "web-1"}});
    }
    // Costs that endpoint, not its slice (behaviour row 1.10).
    CHECK(problems("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\n"
                   "endpoints: [{}, {addresses: }, {addresses: []}]")
              .empty());
}

TEST_CASE("names are those the API allows") {
    const auto service = [](const std::string& metadata) {
        return problems("apiVersion: v1\nkind: Service\nmetadata: " + metadata + "\nspec: {ports: [{port: 80}]}\n");
    };
    CHECK(service("{name: a.b}") ==
          Lines{"f:3: Service default/a.b: metadata.name: not a DNS label (a-z, 0-9 and '-' inside): a.b"});
    CHECK(service("{name: -a}") ==
          Lines{"f:3: Service default/-a: metadata.name: not a DNS label (a-z, 0-9 and '-' inside): -a"});
    CHECK(service("{name: a, namespace: B}") ==
          Lines{"f:3: Service B/a: metadata.namespace: not a DNS label (a-z, 0-9 and '-' inside): B"});
    CHECK(service("{name: a, namespace: ''}") == Lines{"f:3: Service default/a: metadata.namespace: empty"});
    CHECK(service("{name: 5}") == Lines{"f:3: Service default/5: metadata.name: not a string: 5"});
    CHECK(service("{}") == Lines{"f:3: Service: metadata.name: missing"});
    CHECK(service("none") == Lines{"f:3: Service: metadata: not a map: none"});
    CHECK(service("") == Lines{"f:3: Service: metadata: missing"});
    CHECK(service("{name: " + std::string(63, 'a') + "}").empty());
    CHECK(service("{name: " + std::string(64, 'a') + "}").size() == 1);
    CHECK(service("{name: a, uid: " + std::string(65, 'a') + "}") ==
          Lines{"f:3: Service default/a: metadata.uid: longer than 64 characters: " + std::string(65, 'a')});

    const std::string long_name =
        std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." + std::string(61, 'd');
    CHECK(problems(node_named(long_name)).empty());
    CHECK(problems(node_named(long_name + "d")).size() == 1);
    CHECK(problems(node_named("a..b")).size() == 1);
    const auto invalid = decode_manifest(node_named("a") + "spec: []\n");
    CHECK(invalid.invalid_nodes == std::vector<std::string>{"a"});
    CHECK(lines_of(invalid) == Lines{"f:4: Node a: spec: not a map: a list"});
}

TEST_CASE("all faults of an object are told at once, and an invalid object stops no other") {
    const auto decoded = decode_manifest(service_with("type: X", "protocol: Y") + "---\n" + node_named("a"));
    CHECK(lines_of(decoded) ==
          Lines{"f:6: Service default/web: spec.type: not one of ClusterIP, NodePort, LoadBalancer, ExternalName: X",
                "f:9: Service default/web: spec.ports[0].protocol: not one of TCP, UDP, SCTP: Y"});
    CHECK(decoded.objects.size() == 1);
    CHECK(decoded.refused == 1);
}

TEST_CASE("an object that is given twice counts once, the first one") {
    const auto decoded = decode_manifest(node_named("a") + "---\n" + node_named("a") + "---\n" + node_named("b"));
    CHECK(decoded.objects.size() == 2);
    CHECK(decoded.refused == 1);
    CHECK(lines_of(decoded) == Lines{"f:5: Node a: given twice, the first one is used: line 1"});
}

TEST_CASE("what is no object of the API is told") {
    CHECK(problems("just text") == Lines{"f:1: not an object"});
    CHECK(problems("- a\n- b\n") == Lines{"f:1: not an object"});
    CHECK(problems("a: b\n") == Lines{"f:1: kind: missing"});
    CHECK(problems("kind: Service\n") == Lines{"f:1: apiVersion: missing, kind Service"});
    CHECK(problems("kind: EndpointSlice\napiVersion: discovery.k8s.io/v1beta1\n") ==
          Lines{"f:1: apiVersion: only discovery.k8s.io/v1 is supported: discovery.k8s.io/v1beta1"});
    CHECK(problems("kind: List\napiVersion: v1\nitems:\n- 5\n- {}\n") ==
          Lines{"f:4: not an object", "f:5: kind: missing"});
}

TEST_CASE("a syntax error costs its own document only, and is told with its line") {
    const auto decoded = decode_manifest(node_named("a") + "---\n" + "kind: [Node\n---\n" + node_named("b"));
    CHECK(decoded.objects.size() == 2);
    CHECK_FALSE(decoded.complete);
    REQUIRE(decoded.problems.size() == 1);
    CHECK(to_string("f", decoded.problems[0]) == "f:6: YAML: end of sequence flow not found");
}

TEST_CASE("a stray comma ends the text instead of giving documents without an end") {
    const auto decoded = decode_manifest(node_named("a") + "...\n,\n");
    CHECK(decoded.objects.size() == 1);
    CHECK_FALSE(decoded.complete);
    CHECK(lines_of(decoded) == Lines{"f:5: YAML: unexpected text after the end of a value"});
}

TEST_CASE("no object counts of a document that breaks off") {
    const auto decoded = decode_manifest(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Node\n"
        "  metadata: {name: a}\n- apiVersion: v1\n  kind: [Node\n");
    CHECK(decoded.objects.empty());
    CHECK_FALSE(decoded.complete);
    CHECK(decoded.problems.size() == 1);
}

TEST_CASE("broken JSON is told as JSON") {
    struct Row {
        std::string text;
        std::string expected;
    };
    for (const auto& [text, expected] : {
             Row{"{", "f:1: JSON: expected a key in double quotes"},
             Row{"{\n\"a\" 5}", "f:2: JSON: expected ':' after a key"},
             Row{"{\"a\":\n5", "f:2: JSON: expected ',' or '}' in an object"},
             Row{"{\"a\":[5\n", "f:2: JSON: expected ',' or ']' in an array"},
             Row{"{\"a\":", "f:1: JSON: expected a value"},
             Row{"{\"a\":\"b", "f:1: JSON: string does not end"},
             Row{"{\"a\":\"\\u12\"", "f:1: JSON: expected four hexadecimal digits after \\u"},
             Row{"{\"a\":\"\\q\"", "f:1: JSON: unknown escape in a string"},
             Row{"{\"a\":1.}]", "f:1: JSON: expected digits after '.'"},
             Row{"{\"a\":1e}]", "f:1: JSON: expected digits in an exponent"},
         }) {
        CAPTURE(text);
        const auto decoded = decode_manifest(text);
        CHECK(lines_of(decoded) == Lines{expected});
        CHECK_FALSE(decoded.complete);
    }
}

TEST_CASE("text that would take all memory or stack is refused") {
    const auto refused = [](const std::string& text, const std::string& expected) {
        const auto decoded = decode_manifest(text);
        CHECK(lines_of(decoded) == Lines{expected});
        CHECK_FALSE(decoded.complete);
    };
    const std::string deep(100000, '[');
    refused(deep, "f:1: nested deeper than 64 levels");
    refused("{\"a\":" + deep, "f:1: nested deeper than 64 levels");
    std::string indented;
    for (int i = 0; i < 100; ++i) indented += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
    refused(indented, "f:65: nested deeper than 64 levels");

    std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
    for (int i = 1; i < 10; ++i) {
        const auto last = "*a" + std::to_string(i - 1);
        bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last;
        for (int k = 0; k < 9; ++k) bomb += ", " + last;
        bomb += "]\n";
    }
    refused(bomb, "f:6: anchors and aliases stand for more than 16 MiB");
    std::string chain = "a0: &a0 []\n";
    for (int i = 1; i < 100; ++i)
        chain += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) + "]\n";
    refused(chain, "f:64: nested deeper than 64 levels");
    refused("a: &a [*a]\n", "f:1: alias to a value that contains it");

    refused("a: [" + std::string(2000000, ' '),
            "f:1: YAML: a value or flow collection longer than 1.5 MiB (JSON may be longer)");
    // What comes before must not pass for the whole document.
    CHECK(decode_manifest(node_named("a") + "b: '" + std::string(2000000, 'x') + "'\n").objects.empty());
    refused(std::string((std::size_t{64} << 20U) + 1, ' '), "f: longer than 64 MiB");
}

TEST_CASE("problems are bounded") {
    std::string items = "apiVersion: v1\nkind: List\nitems:\n";
    for (int i = 0; i < 1000; ++i) items += "- 5\n";
    const auto lines = problems(items);
    REQUIRE(lines.size() == 101);
    CHECK(lines.back() == "f: 900 more problems");
}
