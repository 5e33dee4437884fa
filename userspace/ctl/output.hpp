// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The four ways of printing: columns as kubectl prints them, JSON, and YAML made from the same value. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace svclb::ctl {

using Json = nlohmann::ordered_json;

enum class Format { table, wide, json, yaml };

struct Table {
    std::vector<std::string> headers;
    std::vector<std::vector<std::string>> rows;
};

// Names come from other people's objects and go to a terminal: whatever is not printable ASCII becomes \xNN.
[[nodiscard]] std::string escaped(std::string_view text);

// Columns three spaces apart, nothing after the last one; an empty cell reads "<none>".
[[nodiscard]] std::string to_text(const Table& table);
[[nodiscard]] std::string to_json_text(const Json& value);
[[nodiscard]] std::string to_yaml_text(const Json& value);

}  // namespace svclb::ctl
