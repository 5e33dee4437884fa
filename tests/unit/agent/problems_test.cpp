// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "problems.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace svclb::agent;

TEST_CASE("an object that is refused is told, and a slice of its Service as well") {
    const auto warnings = refusal_warnings({
        {.object = "Service default/web", .what = "spec.ports[0].port: 0", .service = {"default", "web"}},
        {.object = "EndpointSlice default/web-1", .what = "addressType: X", .service = {"default", "web"}},
        {.object = "EndpointSlice default/lost", .what = "addressType: X", .service = {"default", ""}},
        {.object = "Node n", .what = "metadata.labels: not a map", .service = {}},
        {.object = "Node n", .what = "metadata.labels: not a map", .service = {}},
    });
    CHECK(warnings ==
          std::vector<Warning>{
              {"EndpointSlice default/lost", "InvalidObject", "addressType: X"},
              {"EndpointSlice default/web-1", "InvalidObject", "addressType: X"},
              {"Node n", "InvalidObject", "metadata.labels: not a map"},
              {"Service default/web", "InvalidEndpointSlice", "EndpointSlice default/web-1: addressType: X"},
              {"Service default/web", "InvalidObject", "spec.ports[0].port: 0"},
          });
}
