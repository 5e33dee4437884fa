// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Where an API server listens. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace svclb::kube {

struct ServerUrl {
    std::string host;  // no brackets around IPv6
    std::uint16_t port = 443;
    std::string path;  // "" or "/prefix", without a slash at the end

    [[nodiscard]] std::string authority() const;  // "host:port", "[::1]:443"
    [[nodiscard]] std::string text() const;       // "https://host:port/prefix", printable
    bool operator==(const ServerUrl&) const = default;
};

// "https://host[:port][/prefix]". Nothing else: over plain HTTP, anyone on the way could be the API server.
[[nodiscard]] std::optional<ServerUrl> parse_server_url(std::string_view text);
// What is wrong with it where parse_server_url gives nothing.
[[nodiscard]] std::optional<std::string> not_server_url(std::string_view text);

// "host:port", with brackets where the host is an IPv6 address.
[[nodiscard]] std::string join_host_port(std::string_view host, std::uint16_t port);
[[nodiscard]] std::optional<std::uint16_t> parse_port(std::string_view text);

}  // namespace svclb::kube
