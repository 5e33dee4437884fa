// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// How the model's values read in messages.
#include "svclb/model/text.hpp"

#include "svclb/model/desired.hpp"

namespace svclb::model {

std::string printable(std::string_view text, std::size_t most) {
    constexpr std::string_view kHex = "0123456789abcdef";
    std::string out;
    out.reserve(text.size() < most ? text.size() : most);
    for (const char c : text) {
        if (out.size() >= most) return out + "...";
        const auto byte = static_cast<unsigned char>(c);
        if (byte >= 0x20 && byte < 0x7f) {
            out += c;
        } else {
            out += "\\x";
            out += kHex[byte >> 4U];
            out += kHex[byte & 0xfU];
        }
    }
    return out;
}

std::string to_string(const ServicePortId& id) {
    std::string text = id.service.ns + "/" + id.service.name;
    if (!id.port_name.empty()) text += ":" + id.port_name;
    return text;
}

}  // namespace svclb::model
