// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The fields of a configuration file as a table: what each one takes and where it goes. What the table does not have is
// refused. Pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "svclb/kube/value.hpp"

namespace svclb::agent {

// Takes a value that is not null, or tells what is wrong with it ("" = nothing).
using Taker = std::function<std::string(const kube::Value&)>;

struct Field {
    std::string_view path;  // "conntrack.udpTimeout"
    Taker take;
    bool honoured = true;  // or only checked
};

struct FieldFindings {
    std::vector<std::string> problems;  // "LINE: FIELD: what is wrong"
    std::vector<std::string> unused;    // paths of fields that say something and are not honoured
};

// Hands every field of a map to the table. A null is a field that is not there.
FieldFindings take_fields(const kube::Value& root, const std::vector<Field>& fields);

// Without `to` the value is only checked. A value that is refused leaves it alone.
[[nodiscard]] Taker text(std::string* to = nullptr);
[[nodiscard]] Taker path(std::filesystem::path* to);
[[nodiscard]] Taker boolean(bool* to = nullptr);
[[nodiscard]] Taker integer(std::int64_t least, std::int64_t most, std::int64_t* to = nullptr);
[[nodiscard]] Taker number();
// As Go writes them: "1h30m", "2.5s", "0s".
[[nodiscard]] Taker duration(std::chrono::nanoseconds least, std::chrono::nanoseconds* to = nullptr);
[[nodiscard]] Taker one_of(std::vector<std::string_view> words, std::string* to = nullptr);
// A text that `parse` understands; `what` is what it has to be: "a CIDR".
[[nodiscard]] Taker parsed(std::string_view what, std::function<bool(const std::string&)> parse);
[[nodiscard]] Taker list(Taker element);
[[nodiscard]] Taker map_of(Taker element);  // of any keys
[[nodiscard]] Taker fields_of(std::vector<Field> fields);

[[nodiscard]] std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);

}  // namespace svclb::agent
