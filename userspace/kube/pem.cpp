// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "pem.hpp"

#include <algorithm>
#include <cstdint>

namespace svclb::kube {

namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::optional<std::string> decode_base64(std::string_view text) {
    std::string out;
    std::uint32_t bits = 0;
    unsigned held = 0;  // of bits
    std::size_t digits = 0;
    std::size_t padding = 0;
    for (const char c : text) {
        if (c == '\n' || c == '\r' || c == ' ' || c == '\t') continue;
        if (c == '=') {
            ++padding;
            continue;
        }
        const auto digit = kAlphabet.find(c);
        if (digit == std::string_view::npos || padding != 0) return std::nullopt;
        ++digits;
        bits = (bits << 6U) | static_cast<std::uint32_t>(digit);
        held += 6;
        if (held < 8) continue;
        held -= 8;
        out += static_cast<char>((bits >> held) & 0xffU);
    }
    if (padding > 2 || (digits + padding) % 4 != 0) return std::nullopt;
    return out;
}

std::string encode_base64(std::string_view bytes) {
    std::string out;
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        std::uint32_t group = 0;
        for (std::size_t i = 0; i < 3; ++i)
            group = (group << 8U) | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0U);
        for (std::size_t i = 0; i < 4; ++i)
            out += i <= bytes.size() - at ? kAlphabet[(group >> (18 - 6 * i)) & 63U] : '=';
    }
    return out;
}

std::optional<std::string> not_pem(std::string_view text, std::string_view kind) {
    constexpr std::string_view kBegin = "-----BEGIN ";
    // Either in the name of the block or, in the older form, in a line below it.
    if (text.find("BEGIN ENCRYPTED") != std::string_view::npos || text.find(",ENCRYPTED") != std::string_view::npos)
        return "an encrypted key, and nobody to ask for the password";
    const auto end = std::string(kind) + "-----";
    for (auto at = text.find(kBegin); at != std::string_view::npos; at = text.find(kBegin, at + 1)) {
        const auto line = text.substr(at, text.find('\n', at) - at);
        if (line.find(end) != std::string_view::npos) return std::nullopt;
    }
    return "no PEM block of the kind " + std::string(kind);
}

std::optional<std::string> not_token(std::string_view text) {
    if (std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; })) return std::nullopt;
    return "holds a character that no token has";
}

}  // namespace svclb::kube
