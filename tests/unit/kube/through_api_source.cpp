// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The model's tests with every object listed from an API server.
#include "../model/fixtures.hpp"
#include "fake_transport.hpp"
#include "svclb/kube/api_source.hpp"
#include "through_source.hpp"

namespace svclb::model::test {

Objects through_source(const Service& service, const std::vector<EndpointSlice>& slices) {
    using namespace kube::test;
    if (!is_completed(service)) return {.service = service, .slices = slices};
    FakeTransport transport;
    auto source = kube::ApiSource::open(transport, {.node_name = "node-a", .surroundings = FakeClock().surroundings()});
    REQUIRE(source);
    REQUIRE(source->changes());
    const auto list = [&](std::string_view resource, const std::string& kind, const std::string& events) {
        const auto id = transport.at(resource).id;
        transport.head(id, 200);
        transport.body(id, events + list_end(kind, "10"));
    };
    std::string slice_events;
    for (const auto& slice : slices) slice_events += event("ADDED", to_json(slice).dump());
    list("/api/v1/services", "Service", event("ADDED", to_json(service).dump()));
    list("/apis/discovery.k8s.io/v1/endpointslices", "EndpointSlice", slice_events);
    list("/api/v1/nodes", "Node", "");
    list("/apis/networking.k8s.io/v1/servicecidrs", "ServiceCIDR", "");
    auto change = source->changes();
    REQUIRE(change);
    CHECK(change->complete);
    return came_out(service, slices, std::move(change->changed), change->problems);
}

}  // namespace svclb::model::test
