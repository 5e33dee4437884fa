// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The Kubernetes source as the agent sees it. What it does about lists and watches that fail: reflector_test.cpp.
#include "svclb/kube/api_source.hpp"

#include <poll.h>

#include <set>

#include "fake_transport.hpp"

using namespace svclb;
using namespace svclb::kube;
using namespace svclb::kube::test;
using namespace std::chrono_literals;

namespace {

constexpr std::string_view kServices = "/api/v1/services?";
constexpr std::string_view kSlices = "/apis/discovery.k8s.io/v1/endpointslices?";
constexpr std::string_view kNodes = "/api/v1/nodes?";
constexpr std::string_view kCidrs = "/apis/networking.k8s.io/v1/servicecidrs?";

struct World {
    FakeTransport transport;
    FakeClock clock;
    ApiSource source = made();

    ApiSource made() {
        auto opened = ApiSource::open(transport, {.node_name = "node-a", .surroundings = clock.surroundings()});
        REQUIRE(opened);
        return *std::move(opened);
    }
    Change now() {
        auto change = source.changes();
        REQUIRE(change);
        return *std::move(change);
    }
    void send(std::string_view resource, const std::string& text) {
        const auto id = transport.at(resource).id;
        if (started.insert(id).second) transport.head(id, 200);
        transport.body(id, text);
    }
    void refuse(std::string_view resource, int code) {
        const auto id = transport.at(resource).id;
        transport.head(id, code);
        transport.body(id, status(code, ""));
        transport.end(id);
    }
    // Everything listed: Service web with one slice, Node node-a; no ServiceCIDRs.
    Change begin() {
        now();
        send(kServices, event("ADDED", service("web", "5")) + list_end("Service", "10"));
        send(kSlices, event("ADDED", slice("web-1", "6")) + list_end("EndpointSlice", "10"));
        send(kNodes, event("ADDED", node("node-a", "7", "zone-a")) + list_end("Node", "10"));
        refuse(kCidrs, 404);
        return now();
    }
    std::set<RequestId> started;
};

bool readable(int fd, std::chrono::milliseconds wait) {
    pollfd poll_fd{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&poll_fd, 1, static_cast<int>(wait.count())) == 1;
}

}  // namespace

TEST_CASE("the first call asks for four resources with kube-proxy's selectors, as streams") {
    World world;
    CHECK(readable(world.source.fd(), 5s));
    CHECK(world.now().empty());
    const std::string stream =
        "watch=true&allowWatchBookmarks=true&timeoutSeconds=450&sendInitialEvents=true&"
        "resourceVersionMatch=NotOlderThan";
    CHECK(world.transport.targets ==
          std::vector<std::string>{
              "/api/v1/services?labelSelector=%21service.kubernetes.io%2Fservice-proxy-name&"
              "fieldSelector=spec.clusterIP%21%3DNone&" +
                  stream,
              "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=%21service.kubernetes.io%2Fheadless&" + stream,
              "/api/v1/nodes?fieldSelector=metadata.name%3Dnode-a&" + stream,
              "/apis/networking.k8s.io/v1/servicecidrs?" + stream,
          });
}

TEST_CASE("nothing comes out before Services and EndpointSlices are complete, then everything at once") {
    World world;
    world.now();
    world.send(kServices, event("ADDED", service("web", "5")) + list_end("Service", "10"));
    world.send(kNodes, list_end("Node", "10"));
    world.refuse(kCidrs, 404);
    world.send(kSlices, event("ADDED", slice("web-1", "6")));
    auto change = world.now();
    CHECK(change.empty());
    CHECK_FALSE(change.complete);
    CHECK_FALSE(world.source.state().synced);

    world.send(kSlices, event("ADDED", slice("web-2", "7")) + list_end("EndpointSlice", "10"));
    change = world.now();
    CHECK(change.complete);
    REQUIRE(change.changed.size() == 3);
    CHECK(std::get<model::Service>(change.changed[0]).key.name == "web");
    CHECK(std::get<model::EndpointSlice>(change.changed[2]).key.name == "web-2");
    CHECK(world.source.state().synced);
    CHECK(world.source.state().connected);
}

TEST_CASE("a Node or ServiceCIDRs that don't come are waited for five seconds, and used when they come") {
    World world;
    world.now();
    world.send(kServices, list_end("Service", "10"));
    world.send(kSlices, list_end("EndpointSlice", "10"));
    CHECK_FALSE(world.now().complete);
    world.clock.pass(4999ms);
    CHECK_FALSE(world.now().complete);
    world.clock.pass(1ms);
    CHECK(world.now().complete);
    world.send(kNodes, event("ADDED", node("node-a", "7", "zone-a")) + list_end("Node", "10"));
    CHECK(world.now().changed.size() == 1);
}

TEST_CASE("several events of one object between two calls are its latest content") {
    World world;
    CHECK(world.begin().changed.size() == 3);
    world.send(kServices, event("MODIFIED", service("web", "11", 81)) + event("MODIFIED", service("web", "12", 82)) +
                              event("ADDED", service("dns", "13")) + event("DELETED", service("dns", "14")));
    auto change = world.now();
    REQUIRE(change.changed.size() == 1);
    CHECK(std::get<model::Service>(change.changed[0]).ports[0].port == 82);

    world.send(kServices, event("DELETED", service("web", "15")) + event("ADDED", service("web", "16", 83)));
    change = world.now();
    CHECK(change.gone_services.empty());
    REQUIRE(change.changed.size() == 1);
    world.send(kServices, event("DELETED", service("web", "17")));
    CHECK(world.now().gone_services == std::vector<model::ObjectKey>{{"default", "web"}});
    CHECK(world.now().empty());
}

TEST_CASE("an invalid object is told once, keeps its last good content and stops no other") {
    World world;
    world.begin();
    world.send(kServices, event("MODIFIED", service("web", "11", 70000)) + event("ADDED", service("dns", "12")));
    auto change = world.now();
    CHECK(change.problems ==
          std::vector<std::string>{"Service default/web: spec.ports[0].port: not a port number: 70000"});
    CHECK(change.changed.size() == 1);
    CHECK(change.gone_services.empty());
    CHECK(change.invalid_objects == 1);
    CHECK(change.kept_services.empty());  // its last good content is in force
    CHECK(world.source.refusals() == std::vector<Refusal>{{.object = "Service default/web",
                                                           .what = "spec.ports[0].port: not a port number: 70000",
                                                           .service = {"default", "web"},
                                                           .uid = "u"}});

    world.send(kServices, event("MODIFIED", service("web", "13", 70000)));
    change = world.now();
    CHECK(change.empty());
    CHECK(change.invalid_objects == 1);
    world.send(kServices, event("MODIFIED", service("web", "14", 80)));
    change = world.now();
    CHECK(change.changed.size() == 1);
    CHECK(change.invalid_objects == 0);
    CHECK(world.source.refusals().empty());
}

TEST_CASE("what a valid object is used without is told once, and for as long as it is so") {
    World world;
    world.begin();
    const auto with = [](const char* version, const char* zone) {
        return event("MODIFIED", R"({"kind":"EndpointSlice","metadata":{"name":"x","namespace":"default",)"
                                 R"("uid":"8e1d","resourceVersion":")" +
                                     std::string(version) +
                                     R"(","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4",)"
                                     R"("ports":[{"name":"","port":)" +
                                     zone + "}]}");
    };
    world.send(kSlices, with("11", "70000"));
    auto change = world.now();
    CHECK(change.changed.size() == 1);
    CHECK(change.problems ==
          std::vector<std::string>{"EndpointSlice default/x: ports[0].port: not a port number: 70000"});
    CHECK(change.refusals_changed);
    CHECK(change.invalid_objects == 0);
    CHECK(change.kept_endpoints.empty());
    CHECK(world.source.refusals() == std::vector<Refusal>{{.object = "EndpointSlice default/x",
                                                           .what = "ports[0].port: not a port number: 70000",
                                                           .service = {"default", "web"},
                                                           .uid = "8e1d",
                                                           .used = true}});
    world.send(kSlices, with("12", "70000"));
    change = world.now();
    CHECK(change.problems.empty());
    CHECK(change.changed.size() == 1);
    world.send(kSlices, with("13", "80"));
    change = world.now();
    CHECK(change.refusals_changed);
    CHECK(world.source.refusals().empty());
    CHECK_FALSE(world.now().refusals_changed);
}

TEST_CASE("a Service that was never valid, or one of whose slices never was, is kept") {
    World world;
    world.begin();
    world.send(kServices, event("ADDED", service("bad", "11", 70000)));
    world.send(kSlices, event("ADDED", R"({"kind":"EndpointSlice","metadata":{"name":"x","namespace":"default",)"
                                       R"("resourceVersion":"12","labels":{"kubernetes.io/service-name":"dns"}}})"));
    auto change = world.now();
    CHECK(change.kept_services == std::vector<model::ObjectKey>{{"default", "bad"}});
    CHECK(change.kept_endpoints == std::vector<model::ObjectKey>{{"default", "dns"}});
    CHECK(change.complete);
    world.send(kServices, event("DELETED", service("bad", "15")));
    change = world.now();
    CHECK(change.gone_services.empty());  // it was never told
    CHECK(change.kept_services.empty());
    CHECK(change.kept_endpoints == std::vector<model::ObjectKey>{{"default", "dns"}});
}

TEST_CASE("the server away: what is known stays, state says so, and on return only differences come") {
    World world;
    world.begin();
    CHECK(world.source.state().connected);
    for (const auto resource : {kServices, kSlices, kNodes}) world.transport.reset(world.transport.at(resource).id);
    auto change = world.now();
    CHECK(change.changed.empty());
    CHECK(change.gone_services.empty());
    CHECK(change.problems.size() == 3);
    CHECK_FALSE(world.source.state().connected);
    CHECK(world.source.state().error == "watch services: read: Connection reset by peer");

    world.clock.pass(1h);
    world.now();
    for (const auto resource : {kServices, kSlices, kNodes}) world.transport.reset(world.transport.at(resource).id);
    CHECK(world.now().empty());  // the same problem again

    world.clock.pass(1h);
    world.now();
    CHECK(world.transport.targets.back().find("resourceVersion=10") != std::string::npos);
    world.send(kServices, event("ADDED", service("new", "20")));
    world.send(kSlices, bookmark("EndpointSlice", "20"));
    change = world.now();
    CHECK(change.changed.size() == 1);
    CHECK(world.source.state().connected);
    CHECK(world.source.state().resources[0].age == 0ms);
    CHECK(world.source.state().resources[0].objects == 2);
}

TEST_CASE("ServiceCIDRs that the server doesn't have are asked for again after ten minutes at the earliest") {
    World world;
    world.begin();
    CHECK(world.source.state().resources[3].error.empty());
    world.clock.pass(9min);
    world.now();
    CHECK_FALSE(world.transport.find(kCidrs));
    world.clock.pass(6min);
    world.now();
    world.send(kCidrs, event("ADDED", R"({"kind":"ServiceCIDR","metadata":{"name":"kubernetes","resourceVersion":"3"},)"
                                      R"("spec":{"cidrs":["10.96.0.0/12"]}})") +
                           list_end("ServiceCIDR", "30"));
    const auto change = world.now();
    REQUIRE(change.changed.size() == 1);
    CHECK(std::get<model::ServiceCidr>(change.changed[0]).cidrs == std::vector<std::string>{"10.96.0.0/12"});
}

TEST_CASE("requests end with the source") {
    FakeTransport transport;
    {
        auto source = ApiSource::open(transport, {.node_name = "node-a", .surroundings = FakeClock().surroundings()});
        REQUIRE(source);
        REQUIRE(source->changes());
        CHECK(transport.open_count() == 4);
    }
    CHECK(transport.open_count() == 0);
}

TEST_CASE("a node's name that is none does not get into a selector") {
    FakeTransport transport;
    const auto opened = [&](const std::string& name) {
        return ApiSource::open(transport, {.node_name = name, .surroundings = FakeClock().surroundings()});
    };
    for (const auto* name : {"", "a,metadata.name!=b", "a&limit=1", "A", "a_b", "a b"}) {
        CAPTURE(name);
        const auto source = opened(name);
        REQUIRE_FALSE(source);
        CHECK(source.error().message().starts_with("node name: "));
    }
    CHECK(opened("node-1.example.org"));
}
