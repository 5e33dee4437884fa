// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Rows of abi.h as values: made from the model's structs, compared, hashed and told to people.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <type_traits>

#include "svclb/abi.h"
#include "svclb/base/result.hpp"
#include "svclb/model/desired.hpp"

namespace svclb::reconcile {

template <class Row>
[[nodiscard]] bool same_bytes(const Row& a, const Row& b) noexcept {
    static_assert(std::has_unique_object_representations_v<Row>, "padding would make equal rows differ");
    return std::memcmp(&a, &b, sizeof(Row)) == 0;
}

struct KeyEqual {
    bool operator()(const svclb_frontend_key& a, const svclb_frontend_key& b) const noexcept {
        return same_bytes(a, b);
    }
};
struct KeyLess {
    bool operator()(const svclb_frontend_key& a, const svclb_frontend_key& b) const noexcept {
        return std::memcmp(&a, &b, sizeof(a)) < 0;
    }
};
struct KeyHash {
    std::size_t operator()(const svclb_frontend_key& key) const noexcept;
};

[[nodiscard]] __be16 network_order(std::uint16_t port) noexcept;
[[nodiscard]] svclb_frontend_key frontend_key(const model::Frontend& frontend);
// Without the service.
[[nodiscard]] svclb_frontend frontend_row(const model::Frontend& frontend) noexcept;
[[nodiscard]] model::Frontend frontend_of(const svclb_frontend_key& key, const svclb_frontend& row) noexcept;
[[nodiscard]] svclb_source_range range_key(std::uint32_t service, const model::Cidr& range) noexcept;
[[nodiscard]] model::Cidr range_of(const svclb_source_range& key) noexcept;
// The row that says "this address is a ClusterIP".
[[nodiscard]] svclb_frontend_key address_key(const svclb_frontend_key& key) noexcept;
[[nodiscard]] bool is_address_key(const svclb_frontend_key& key) noexcept;
[[nodiscard]] std::string to_string(const svclb_frontend_key& key);

// Everything but the runs, the epoch and epoch_due.
[[nodiscard]] svclb_service service_row(const model::ServicePortState& desired);

// An error names the field that is too long for its row.
[[nodiscard]] Result<svclb_service_name> name_row(const model::ServicePortId& id);
[[nodiscard]] Result<svclb_string> string_row(const std::string& text);
[[nodiscard]] std::string text_of(const svclb_string& row);

[[nodiscard]] model::ObjectKey object_key(const svclb_service_name& name);
// Nothing where the row is free or holds no family or protocol of ours.
[[nodiscard]] std::optional<model::ServicePortId> port_id(const svclb_service_name& name, const svclb_service& row);

// "service port default/web:http (TCP, IPv4)".
[[nodiscard]] std::string describe(const model::ServicePortId& id);

}  // namespace svclb::reconcile
