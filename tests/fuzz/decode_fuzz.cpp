// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Any bytes into decode_manifest; what comes out must keep the promises of its header, and build without harm.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "svclb/abi.h"
#include "svclb/kube/decode.hpp"
#include "svclb/model/build.hpp"

namespace {

using namespace svclb;

void require(bool holds) {
    if (!holds) std::abort();
}

// Text that goes into a zero-terminated field of the maps.
void require_fits(const std::string& text, std::size_t size) {
    require(text.size() < size);
    require(text.find('\0') == std::string::npos);
}

void check(const model::Service& service, const std::vector<const model::EndpointSlice*>& slices) {
    require_fits(service.key.ns, SVCLB_LABEL_SIZE);
    require_fits(service.key.name, SVCLB_LABEL_SIZE);
    for (const auto& port : service.ports) require_fits(port.name, SVCLB_LABEL_SIZE);
    std::vector<model::Problem> problems;
    for (const auto& state : model::build_service(service, slices, {.name = "node-a", .zone = "zone-a"}, problems)) {
        for (const auto& backend : state.backends) {
            require_fits(backend.node, SVCLB_STRING_SIZE);
            require_fits(backend.zone, SVCLB_STRING_SIZE);
        }
    }
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer calls it by this name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto decoded = kube::decode_manifest(text);

    require(decoded.objects.size() == decoded.lines.size());
    require(decoded.complete || !decoded.problems.empty());
    require(decoded.refused == 0 || !decoded.problems.empty());
    for (const auto& problem : decoded.problems) {
        for (const char c : kube::to_string("file", problem)) require(c >= 0x20 && c < 0x7f);
    }
    std::vector<const model::EndpointSlice*> slices;
    for (const auto& object : decoded.objects) {
        if (const auto* slice = std::get_if<model::EndpointSlice>(&object)) slices.push_back(slice);
    }
    for (const auto& object : decoded.objects) {
        if (const auto* service = std::get_if<model::Service>(&object)) check(*service, slices);
        if (const auto* node = std::get_if<model::Node>(&object)) require_fits(node->name, SVCLB_STRING_SIZE);
    }
    return 0;
}
