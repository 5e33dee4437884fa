// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Text in the API's own format -> model objects, with the path of the field in each error. Pure, and fuzzed: it must
// take any bytes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "svclb/model/objects.hpp"

namespace svclb::kube {

struct DecodeProblem {
    std::size_t line = 0;  // 1-based, 0 = unknown
    std::string object;    // "Service default/web"; "" where no object could be told
    std::string field;     // "spec.ports[0].port"; "" for the document as a whole
    std::string what;      // "not a port number: 70000"
};
// "FILE:LINE: Service default/web: spec.ports[0].port: not a port number: 70000", control characters escaped; without
// what is empty or unknown.
[[nodiscard]] std::string to_string(const std::string& file, const DecodeProblem& problem);

struct Decoded {
    std::vector<model::Object> objects;  // no two of one kind and key
    std::vector<std::size_t> lines;      // where each object begins
    // Keys of objects that were there but invalid: their last good content stays.
    std::vector<model::ObjectKey> invalid_services;
    std::vector<model::ObjectKey> invalid_slices;
    std::vector<model::ObjectKey> slice_owners;  // of invalid_slices, one by one: the Service; its name may be ""
    std::vector<std::string> invalid_nodes;
    std::vector<std::string> invalid_service_cidrs;
    std::size_t refused = 0;   // objects that were not taken: invalid, without a name, or given a second time
    std::size_t nameless = 0;  // objects that were not taken and of which no key can be told
    std::vector<DecodeProblem> problems;
    bool complete = true;  // false: some document could not be read, its objects are unknown
};

// YAML or JSON: one or several documents, `kind: List` and typed lists (ServiceList, ...) unfolded, unknown kinds and
// fields ignored. Each document stands for itself: one that does not parse gives one problem and no objects.
[[nodiscard]] Decoded decode_manifest(std::string_view text);

}  // namespace svclb::kube
