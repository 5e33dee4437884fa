// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What an API server sends and we have no use for, or do not know yet, costs no more than the field, port or endpoint
// that it is in.
#include "api_object.hpp"

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

using namespace svclb;
using namespace svclb::kube;

namespace {

using Lines = std::vector<std::string>;

ApiObject read(ObjectKind kind, const std::string& metadata, const std::string& rest) {
    ApiReader reader(kind);
    const auto sighting = reader.item(R"({"metadata":{"name":"web","namespace":"default","resourceVersion":"7")" +
                                      metadata + "}," + rest + "}");
    REQUIRE(sighting);
    return read_sighting(kind, *sighting);
}
ApiObject service(const std::string& spec, const std::string& metadata = "") {
    return read(ObjectKind::service, metadata, R"("spec":{"clusterIP":"10.96.0.1",)" + spec + "}");
}
ApiObject slice(const std::string& rest) {
    return read(ObjectKind::endpoint_slice, "", rest);
}
const model::Service& as_service(const ApiObject& read) {
    REQUIRE(read.object);
    return std::get<model::Service>(*read.object);
}
const model::EndpointSlice& as_slice(const ApiObject& read) {
    REQUIRE(read.object);
    return std::get<model::EndpointSlice>(*read.object);
}

const std::string kPorts = R"("ports":[{"name":"http","port":80}])";
const std::string kPort = R"({"name":"http","port":80})";

}  // namespace

TEST_CASE("a word that a newer API has for a Service reads as the default, and is told") {
    struct Row {
        std::string spec;
        std::string problem;
    };
    for (const auto& [spec, problem] :
         {Row{R"("type":"Mesh")", "spec.type: not one of ClusterIP, NodePort, LoadBalancer, ExternalName: Mesh"},
          Row{R"("sessionAffinity":"Cookie")", "spec.sessionAffinity: not one of None, ClientIP: Cookie"},
          Row{R"("internalTrafficPolicy":"PreferLocal")",
              "spec.internalTrafficPolicy: not one of Cluster, Local: PreferLocal"},
          Row{R"("externalTrafficPolicy":"PreferLocal")",
              "spec.externalTrafficPolicy: not one of Cluster, Local: PreferLocal"},
          Row{R"("sessionAffinityConfig":{"clientIP":{"timeoutSeconds":86401}})",
              "spec.sessionAffinityConfig.clientIP.timeoutSeconds: not a number of seconds from 1 to 86400: 86401"}}) {
        CAPTURE(spec);
        const auto told = service(spec + "," + kPorts);
        CHECK(told.problems == Lines{"Service default/web: " + problem});
        CHECK(as_service(told) == as_service(service(kPorts)));
    }
}

TEST_CASE("of a Service's ports and families the known ones are used") {
    const auto quic = service("\"ports\":[" + kPort + R"(,{"name":"x","port":80,"protocol":"QUIC"}])");
    CHECK(quic.problems == Lines{"Service default/web: spec.ports[1].protocol: not one of TCP, UDP, SCTP: QUIC"});
    CHECK(as_service(quic) == as_service(service(kPorts)));
    const auto told = service(R"("ipFamilies":["IPv7","IPv6"],"clusterIPs":["x","fd00::1"],)" + kPorts);
    CHECK(told.problems == Lines{"Service default/web: spec.ipFamilies[0]: not one of IPv4, IPv6: IPv7"});
    CHECK(as_service(told).ip_families == std::vector{model::Family::ipv6});
    CHECK(as_service(told).cluster_ips == Lines{"fd00::1"});
    CHECK(as_service(service(R"("ports":[])")).ports.empty());
}

TEST_CASE("what the API server does not check of a slice costs that field only") {
    const std::string before = R"("addressType":"IPv4","ports":[{"name":"a","port":80})";
    const auto plain = slice(before + R"(],"endpoints":[{"addresses":["10.0.0.1"]}])");
    struct Row {
        std::string port;
        std::string problem;
    };
    for (const auto& [port, problem] :
         {Row{R"({"name":"b","port":80,"protocol":"QUIC"})", "ports[1].protocol: not one of TCP, UDP, SCTP: QUIC"},
          Row{R"({"name":"B","port":80})", "ports[1].name: not a DNS label (a-z, 0-9 and '-' inside): B"}}) {
        CAPTURE(port);
        const auto told = slice(before + "," + port + R"(],"endpoints":[{"addresses":["10.0.0.1"]}])");
        CHECK(told.problems == Lines{"EndpointSlice default/web: " + problem});
        CHECK(as_slice(told) == as_slice(plain));
    }
    for (const std::string number : {"65536", "-1"}) {
        const auto told = slice(before + R"(,{"name":"b","port":)" + number + "}]");
        CHECK(told.problems == Lines{"EndpointSlice default/web: ports[1].port: not a port number: " + number});
        REQUIRE(as_slice(told).ports.size() == 2);
        CHECK_FALSE(as_slice(told).ports[1].port);
    }
    const auto other = slice(R"("addressType":"IPv7")");
    CHECK(other.problems == Lines{"EndpointSlice default/web: addressType: not one of IPv4, IPv6, FQDN: IPv7"});
    CHECK_FALSE(as_slice(other).family);
}

TEST_CASE("places and hints of endpoints are any text that the tables can hold") {
    const std::string long_name(254, 'z');
    const auto with = [](const std::string& fields) {
        return slice(R"("addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],)" + fields + "}]");
    };
    const auto told = with(R"("zone":"Zone \u001b 1/a","nodeName":"Node_A","hints":{"forZones":[{"name":""},)"
                           R"({"name":"a b"}],"forNodes":[{"name":"Node_B"}]})");
    CHECK(told.problems.empty());
    const auto& endpoint = as_slice(told).endpoints.at(0);
    CHECK(endpoint.zone == "Zone \x1b 1/a");
    CHECK(endpoint.node_name == "Node_A");
    CHECK(endpoint.zone_hints == Lines{"", "a b"});
    CHECK(endpoint.node_hints == Lines{"Node_B"});
    for (const auto* field : {"zone", "nodeName"}) {
        for (const auto& text : {long_name, std::string("a\\u0000b")}) {
            const auto dropped = with("\"" + std::string(field) + R"(":")" + text + "\"");
            REQUIRE(dropped.problems.size() == 1);
            CHECK(dropped.problems[0].starts_with("EndpointSlice default/web: endpoints[0]." + std::string(field) +
                                                  ": not a name of at most 253 characters: "));
            CHECK(as_slice(dropped).endpoints.at(0).addresses == Lines{"10.0.0.1"});
            CHECK_FALSE(as_slice(dropped).endpoints.at(0).zone);
            CHECK_FALSE(as_slice(dropped).endpoints.at(0).node_name);
        }
    }
}

TEST_CASE("what no API server sends is refused: its last good content is the better guess") {
    CHECK_FALSE(service(R"("ports":[{"port":70000}])").object);
    CHECK_FALSE(service(R"("ports":[{"port":"80"}])").object);
    CHECK_FALSE(service(R"("ports":{})").object);
    CHECK_FALSE(service("\"ports\":[" + kPort + "," + kPort + "]").object);
    CHECK_FALSE(service(R"("internalTrafficPolicy":5,)" + kPorts).object);
    CHECK_FALSE(slice(R"("ports":[])").object);
    // Told with the rest.
    const auto both = service(R"("type":"Mesh","ports":[{"port":70000}])");
    CHECK_FALSE(both.object);
    CHECK(both.problems.size() == 2);
}
