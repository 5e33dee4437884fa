// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A document of YAML or JSON: a tree of values that still know their line, and whether they were quoted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace svclb::kube {

struct Value {
    enum class Kind : std::uint8_t { null, text, list, map };
    Kind kind = Kind::null;
    bool plain = false;  // a text without quotes: may be a number or a boolean
    std::uint32_t line = 0;
    std::string text;
    std::vector<Value> children;  // a list's elements; a map's keys and values in turn
};

// The value of a key of a map, the first one where it is given twice; nullptr where there is none.
[[nodiscard]] const Value* find(const Value& map, std::string_view key);

struct ReadError {
    std::size_t line = 0;
    std::string what;
};

// YAML of one document; those that are empty do not count. Null where there is none.
[[nodiscard]] tl::expected<Value, ReadError> read_document(std::string_view yaml);

}  // namespace svclb::kube
