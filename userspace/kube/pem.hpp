// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The forms in which credentials are written down. Pure. Nothing here shows in a message what it was given.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace svclb::kube {

// White space inside is ignored, as in YAML's folded texts.
[[nodiscard]] std::optional<std::string> decode_base64(std::string_view text);
[[nodiscard]] std::string encode_base64(std::string_view bytes);

// Nothing where `text` holds a block of this kind ("CERTIFICATE", "PRIVATE KEY"), else what is wrong with it.
[[nodiscard]] std::optional<std::string> not_pem(std::string_view text, std::string_view kind);
// Nothing where `text` may stand in a header line, else what is wrong with it.
[[nodiscard]] std::optional<std::string> not_token(std::string_view text);

}  // namespace svclb::kube
