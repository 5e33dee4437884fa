// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// One tree -> one Service, EndpointSlice or Node.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "fields.hpp"
#include "svclb/model/objects.hpp"
#include "tree.hpp"

namespace svclb::kube {

enum class ObjectKind : std::uint8_t { service, endpoint_slice, node, service_cidr };
[[nodiscard]] std::string_view to_string(ObjectKind kind);

struct ReadObject {
    std::optional<model::ObjectKey> key;  // nothing where the object has no valid name; a Node's namespace is ""
    std::string text;                     // "Service default/web"
    std::optional<model::Object> object;  // nothing where it is invalid; `problems` has got what it lacks, or why
    std::string uid;                      // "" where it has none, or none that is usable
    model::ObjectKey owner;               // of a slice, valid or not: its Service; the name is "" where it has none
};

[[nodiscard]] ReadObject read_object(ObjectKind kind, const Value& root, Problems& problems, Writer writer);

}  // namespace svclb::kube
