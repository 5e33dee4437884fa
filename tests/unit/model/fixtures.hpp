// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Services and slices for the model's tests, three lines each.
#pragma once

#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <utility>
#include <vector>

#include "svclb/model/build.hpp"
#include "svclb/model/keys.hpp"

namespace svclb::model::test {

inline const NodeView node_a{.name = "node-a", .zone = "zone-a"};

inline Address address(std::string_view text) {
    const auto parsed = parse_address(text);
    REQUIRE(parsed);
    return *parsed;
}

// default/web, 10.96.0.10:80/TCP, port name "http".
inline Service web() {
    Service service;
    service.key = {"default", "web"};
    service.created = "2024-01-02T03:04:05Z";
    service.cluster_ip = "10.96.0.10";
    service.cluster_ips = {"10.96.0.10"};
    service.ip_families = {Family::ipv4};
    service.ports = {{.name = "http", .protocol = Protocol::tcp, .port = 80}};
    return service;
}

inline Service with_policies(Service service, TrafficPolicy internal, TrafficPolicy external) {
    service.internal_policy = internal;
    service.external_policy = external;
    return service;
}

inline Service node_port_service() {
    auto service = web();
    service.type = ServiceType::node_port;
    service.ports[0].node_port = 30080;
    return service;
}

inline Endpoint endpoint(std::string ip, std::string node = "node-b") {
    Endpoint made;
    made.addresses = {std::move(ip)};
    made.node_name = std::move(node);
    return made;
}
inline Endpoint not_ready(Endpoint made) {
    made.ready = false;
    made.serving = false;
    return made;
}
// As the controller writes a Pod that ends while its probes succeed.
inline Endpoint terminating(Endpoint made) {
    made.ready = false;
    made.serving = true;
    made.terminating = true;
    return made;
}
inline Endpoint zone_hint(Endpoint made, std::string zone) {
    made.zone_hints.push_back(std::move(zone));
    return made;
}
inline Endpoint node_hint(Endpoint made, std::string node) {
    made.node_hints.push_back(std::move(node));
    return made;
}

// Slice of default/web, port "http" 8080/TCP.
inline EndpointSlice slice(std::string name, std::vector<Endpoint> endpoints) {
    EndpointSlice made;
    made.key = {"default", std::move(name)};
    made.service = "web";
    made.family = Family::ipv4;
    made.ports = {{.name = "http", .protocol = Protocol::tcp, .port = 8080}};
    made.endpoints = std::move(endpoints);
    return made;
}

struct Built {
    ServiceState state;
    std::vector<Problem> problems;
};

struct Objects {
    Service service;
    std::vector<EndpointSlice> slices;
};
#ifdef SVCLB_THROUGH_SOURCE
// What comes out of a source that these objects went into, in tests/unit/kube: the same tests once more.
Objects through_source(const Service& service, const std::vector<EndpointSlice>& slices);
#else
inline Objects through_source(const Service& service, const std::vector<EndpointSlice>& slices) {
    return {.service = service, .slices = slices};
}
#endif

inline Built build(const Service& service, const std::vector<EndpointSlice>& slices, const NodeView& node = node_a) {
    const auto objects = through_source(service, slices);
    std::vector<const EndpointSlice*> pointers;
    pointers.reserve(objects.slices.size());
    for (const auto& each : objects.slices) pointers.push_back(&each);
    Built built;
    built.state = build_service(objects.service, pointers, node, built.problems);
    return built;
}

// The one service port that a test is about.
inline ServicePortState only(const Built& built) {
    CHECK(built.problems.empty());
    REQUIRE(built.state.size() == 1);
    return built.state[0];
}

// "10.0.0.1:8080" of every backend for which `chosen` holds, in order.
template <class Predicate>
std::vector<std::string> texts(const ServicePortState& state, Predicate chosen) {
    std::vector<std::string> out;
    for (const auto& backend : state.backends) {
        if (chosen(backend)) out.push_back(endpoint_text(backend.address, backend.port));
    }
    return out;
}
inline std::vector<std::string> all(const ServicePortState& state) {
    return texts(state, [](const Backend&) { return true; });
}
inline std::vector<std::string> cluster_set(const ServicePortState& state) {
    return texts(state, [](const Backend& backend) { return backend.in_cluster; });
}
inline std::vector<std::string> local_set(const ServicePortState& state) {
    return texts(state, [](const Backend& backend) { return backend.in_local; });
}

using Texts = std::vector<std::string>;

}  // namespace svclb::model::test
