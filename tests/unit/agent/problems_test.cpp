// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "problems.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace svclb::agent;

TEST_CASE("an object that is refused is told, and a slice of its Service as well") {
    const auto warnings = refusal_warnings({
        {.object = "Service default/web", .what = "spec.ports[0].port: 0", .service = {"default", "web"}},
        {.object = "EndpointSlice default/web-1", .what = "addressType: X", .service = {"default", "web"}},
        {.object = "EndpointSlice default/lost", .what = "addressType: X", .service = {"default", ""}},
        {.object = "EndpointSlice default/used",
         .what = "ports[0].port: X",
         .service = {"default", "web"},
         .used = true},
        {.object = "Node n", .what = "metadata.labels: not a map", .service = {}},
        {.object = "Node n", .what = "metadata.labels: not a map", .service = {}},
    });
    CHECK(warnings ==
          std::vector<Warning>{
              {"EndpointSlice default/lost", "InvalidObject", "addressType: X"},
              {"EndpointSlice default/used", "InvalidField", "ports[0].port: X"},
              {"EndpointSlice default/web-1", "InvalidObject", "addressType: X"},
              {"Node n", "InvalidObject", "metadata.labels: not a map"},
              {"Service default/web", "InvalidEndpointSlice", "EndpointSlice default/web-1: addressType: X"},
              {"Service default/web", "InvalidObject", "spec.ports[0].port: 0"},
          });
}

TEST_CASE("an object's uid is known while the object is") {
    Cluster cluster("node-a");
    svclb::model::Service service;
    service.key = {"default", "web"};
    service.uid = "1";
    svclb::model::EndpointSlice slice;
    slice.key = {"default", "web-1"};
    slice.uid = "2";
    svclb::kube::Change change;
    change.changed = {service, slice};
    cluster.apply(std::move(change));
    CHECK(uid_in(cluster, "Service default/web") == "1");
    CHECK(uid_in(cluster, "EndpointSlice default/web-1") == "2");
    CHECK(uid_in(cluster, "EndpointSlice default/web").empty());
    CHECK(uid_in(cluster, "web").empty());
}
