// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "server_url.hpp"

#include <algorithm>
#include <charconv>

#include "svclb/model/address.hpp"
#include "svclb/model/text.hpp"

namespace svclb::kube {

namespace {

constexpr std::string_view kScheme = "https://";
// Of a name in DNS; and both are in each message.
constexpr std::size_t kLongestPart = 253;

bool is_host_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_';
}

bool is_path_character(char c) {
    return c > ' ' && c < 0x7f && c != '?' && c != '#' && c != '"' && c != '\\';
}

}  // namespace

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc{} || stop != text.data() + text.size() || port == 0) return std::nullopt;
    return port;
}

std::string join_host_port(std::string_view host, std::uint16_t port) {
    const bool ipv6 = host.find(':') != std::string_view::npos;
    return (ipv6 ? "[" : "") + std::string(host) + (ipv6 ? "]:" : ":") + std::to_string(port);
}

std::string ServerUrl::authority() const {
    return join_host_port(host, port);
}

std::string ServerUrl::text() const {
    return std::string(kScheme) + authority() + path;
}

std::optional<ServerUrl> parse_server_url(std::string_view text) {
    if (!text.starts_with(kScheme)) return std::nullopt;
    text.remove_prefix(kScheme.size());
    ServerUrl url;
    const auto slash = std::min(text.find('/'), text.size());
    url.path = text.substr(slash);
    while (url.path.ends_with('/')) url.path.pop_back();
    if (url.path.size() > kLongestPart || !std::ranges::all_of(url.path, is_path_character)) return std::nullopt;

    auto authority = text.substr(0, slash);
    if (authority.starts_with('[')) {
        const auto bracket = authority.find(']');
        if (bracket == std::string_view::npos) return std::nullopt;
        url.host = authority.substr(1, bracket - 1);
        if (url.host.find(':') == std::string::npos || !model::parse_address(url.host)) return std::nullopt;
        authority.remove_prefix(bracket + 1);
    } else {
        const auto colon = std::min(authority.find(':'), authority.size());
        url.host = authority.substr(0, colon);
        if (!std::ranges::all_of(url.host, is_host_character)) return std::nullopt;
        authority.remove_prefix(colon);
    }
    if (url.host.empty() || url.host.size() > kLongestPart) return std::nullopt;
    if (authority.empty()) return url;
    if (authority.front() != ':') return std::nullopt;
    const auto port = parse_port(authority.substr(1));
    if (!port) return std::nullopt;
    url.port = *port;
    return url;
}

std::optional<std::string> not_server_url(std::string_view text) {
    if (parse_server_url(text)) return std::nullopt;
    // A password in it stays out of the message.
    if (text.find('@') != std::string_view::npos) return "a URL with a user name in it";
    return "not https://HOST[:PORT][/PREFIX]: " + model::printable(text);
}

}  // namespace svclb::kube
