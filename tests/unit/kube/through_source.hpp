// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What both of through_*.cpp need.
#pragma once

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <utility>
#include <variant>
#include <vector>

#include "../model/fixtures.hpp"
#include "to_json.hpp"

namespace svclb::model::test {

// The ClusterIP fields stand for each other, and a source completes them; the model has rules for Services where one
// of them is missing all the same.
inline bool is_completed(const Service& service) {
    return service.cluster_ip.empty() == service.cluster_ips.empty();
}

// In the order in which they went in. An object that no API server would hold is refused on the way, and told: some
// rules are for those, and are tested with the object itself.
inline Objects came_out(const Service& service, const std::vector<EndpointSlice>& slices, std::vector<Object> objects,
                        const std::vector<std::string>& problems) {
    CHECK(problems.size() == 1 + slices.size() - objects.size());
    Objects out{.service = service, .slices = slices};
    for (auto& object : objects) {
        if (auto* found = std::get_if<Service>(&object)) {
            out.service = std::move(*found);
        } else {
            auto& slice = std::get<EndpointSlice>(object);
            const auto same = std::ranges::find(out.slices, slice.key, &EndpointSlice::key);
            REQUIRE(same != out.slices.end());
            *same = std::move(slice);
        }
    }
    return out;
}

}  // namespace svclb::model::test
