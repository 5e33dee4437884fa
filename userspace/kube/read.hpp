// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Text -> events of a TreeBuilder. JSON has a reader of its own although it is YAML too: the YAML library needs about
// twenty seconds and 900 MB for a list that this one reads in half a second.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "tree.hpp"

namespace svclb::kube {

// Reads one JSON value and takes it, and the white space around it, off `text`; `line` follows.
[[nodiscard]] std::optional<ReadError> read_json(std::string_view& text, std::size_t& line, TreeBuilder& builder);

// Reads every document of a text whose first line has the number `line`. `fresh` gives the builder for each of them,
// `done` is called when it is complete.
[[nodiscard]] std::optional<ReadError> read_yaml(std::string_view text, std::size_t line,
                                                 const std::function<TreeBuilder&()>& fresh,
                                                 const std::function<void()>& done);

}  // namespace svclb::kube
