// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What every object promises that came out of a decoder.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <string>
#include <variant>
#include <vector>

#include "svclb/abi.h"
#include "svclb/model/build.hpp"

namespace svclb::fuzz {

inline void require(bool holds) {
    if (!holds) std::abort();
}

inline void require_printable(const std::string& text) {
    for (const char c : text) require(c >= 0x20 && c < 0x7f);
}

// Text that goes into a zero-terminated field of the maps.
inline void require_fits(const std::string& text, std::size_t size) {
    require(text.size() < size);
    require(text.find('\0') == std::string::npos);
}

inline void check(const model::Service& service, const std::vector<const model::EndpointSlice*>& slices) {
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

// And that they build without harm.
inline void check(const std::vector<model::Object>& objects) {
    std::vector<const model::EndpointSlice*> slices;
    for (const auto& object : objects) {
        if (const auto* slice = std::get_if<model::EndpointSlice>(&object)) slices.push_back(slice);
    }
    for (const auto& object : objects) {
        if (const auto* service = std::get_if<model::Service>(&object)) check(*service, slices);
        if (const auto* node = std::get_if<model::Node>(&object)) require_fits(node->name, SVCLB_STRING_SIZE);
    }
}

}  // namespace svclb::fuzz
