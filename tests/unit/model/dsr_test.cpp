// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The annotation for direct server return: which frontends get it, and what is told where none can.
#include <algorithm>

#include "fixtures.hpp"
#include "svclb/model/keys.hpp"

using namespace svclb::model;
using namespace svclb::model::test;

namespace {

constexpr const char* kField = "metadata.annotations[svclb.io/forwarding-mode]: ";

// One of every kind of frontend.
Service exposed(const char* mode) {
    auto service = node_port_service();
    service.type = ServiceType::load_balancer;
    service.external_ips = {"192.0.2.1"};
    service.ingress = {{.ip = "198.51.100.1", .ip_mode = "VIP"}};
    if (mode != nullptr) service.annotations.emplace(kForwardingModeAnnotation, mode);
    return service;
}

NodeView serving_node() {
    auto node = node_a;
    node.node_port_addresses = {address("192.168.0.1")};
    return node;
}

struct Outcome {
    std::vector<FrontendKind> dsr;
    Texts told;
    bool operator==(const Outcome&) const = default;
};

Outcome outcome(const Service& service, const std::vector<EndpointSlice>& slices, const NodeView& node) {
    const auto built = build(service, slices, node);
    Outcome found;
    for (const auto& frontend : built.state.at(0).frontends)
        if (frontend.dsr) found.dsr.push_back(frontend.kind);
    std::ranges::sort(found.dsr);
    for (const auto& problem : built.problems) found.told.push_back(problem.what);
    return found;
}

const Outcome kOn{{FrontendKind::external_ip, FrontendKind::load_balancer}, {}};
const Outcome kOff{};

Outcome not_for(const std::string& port, const std::string& why) {
    return {{}, {kField + ("the node stays the source for " + port) + ": " + why}};
}

}  // namespace

TEST_CASE("dsr: the annotation marks external and load-balancer addresses, and nothing else") {
    const std::vector slices{slice("web-1", {endpoint("10.0.0.1"), endpoint("10.0.0.2")})};
    CHECK(outcome(exposed("dsr"), slices, serving_node()) == kOn);
    CHECK(outcome(exposed("dsr"), {}, serving_node()) == kOn);
    CHECK(outcome(exposed("snat"), slices, serving_node()) == kOff);
    CHECK(outcome(exposed(nullptr), slices, serving_node()) == kOff);
}

TEST_CASE("dsr: UDP and SCTP have it as TCP does") {
    auto service = exposed("dsr");
    for (const auto protocol : {Protocol::udp, Protocol::sctp}) {
        service.ports[0].protocol = protocol;
        CHECK(outcome(service, {}, serving_node()) == kOn);
    }
}

TEST_CASE("dsr: a word that is none is told, and the node stays the source") {
    CHECK(outcome(exposed("DSR\n"), {}, serving_node()) ==
          Outcome{{}, {kField + std::string("not dsr or snat: DSR\\x0a")}});
}

TEST_CASE("dsr: under policy Local, and without an external address, there is nothing to do") {
    auto local = exposed("dsr");
    local.external_policy = TrafficPolicy::local;
    CHECK(outcome(local, {}, serving_node()) == kOff);
    auto node_ports = exposed("dsr");
    node_ports.external_ips.clear();
    node_ports.ingress.clear();
    CHECK(outcome(node_ports, {}, serving_node()) == kOff);
}

TEST_CASE("dsr: it is told where the node has to stay the source") {
    auto node = serving_node();
    node.masquerade_all = true;
    CHECK(outcome(exposed("dsr"), {}, node) == not_for("default/web:http (TCP, IPv4)", "masqueradeAll is set"));

    auto other = slice("web-2", {endpoint("10.0.0.2")});
    other.ports[0].port = 8081;
    const std::vector slices{slice("web-1", {endpoint("10.0.0.1")}), other};
    CHECK(outcome(exposed("dsr"), slices, serving_node()) ==
          not_for("default/web:http (TCP, IPv4)", "the endpoints do not all have the same port"));
    // One that is not used does not matter.
    other.endpoints[0] = not_ready(other.endpoints[0]);
    CHECK(outcome(exposed("dsr"), {slices[0], other}, serving_node()) == kOn);
}
