// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Foreign text in messages: one line, no control characters, bounded.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace svclb::model {

// Bytes outside printable ASCII become \xNN, what is longer than `most` is cut: the text comes from files and servers
// that may hold anything, and ends up on terminals and in logs.
[[nodiscard]] std::string printable(std::string_view text, std::size_t most = 120);

}  // namespace svclb::model
