// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The model's tests with every object read from a manifest.
#include "../model/fixtures.hpp"
#include "svclb/kube/decode.hpp"
#include "through_source.hpp"

namespace svclb::model::test {

Objects through_source(const Service& service, const std::vector<EndpointSlice>& slices) {
    if (!is_completed(service)) return {.service = service, .slices = slices};
    std::string text = kube::test::to_json(service).dump() + "\n";
    for (const auto& slice : slices) text += kube::test::to_json(slice).dump(2) + "\n";
    auto decoded = kube::decode_manifest(text);
    CHECK(decoded.complete);
    std::vector<std::string> problems;
    for (const auto& problem : decoded.problems) problems.push_back(to_string("f", problem));
    return came_out(service, slices, std::move(decoded.objects), problems);
}

}  // namespace svclb::model::test
