// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "proxy.hpp"

#include <algorithm>
#include <cstdlib>

#include "svclb/model/address.hpp"

namespace svclb::kube {

namespace {

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return out;
}

std::string trimmed(std::string_view text) {
    const auto begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return {};
    return std::string(text.substr(begin, text.find_last_not_of(" \t") + 1 - begin));
}

bool is_loopback(const model::Address& address) {
    return contains(*model::parse_cidr("127.0.0.0/8"), address) || address == *model::parse_address("::1");
}

struct HostPort {
    std::string host;
    std::optional<std::uint16_t> port;
};

// "host", "host:port", "[::1]:port", "::1".
HostPort split(const std::string& text) {
    const auto colon = text.rfind(':');
    const bool one_colon = colon != std::string::npos && text.find(':') == colon;
    const bool brackets = text.starts_with('[') && colon != std::string::npos && text[colon - 1] == ']';
    if (!one_colon && !brackets) return {.host = text, .port = std::nullopt};
    const auto port = parse_port(std::string_view(text).substr(colon + 1));
    if (!port) return {.host = text, .port = std::nullopt};
    return {.host = brackets ? text.substr(1, colon - 2) : text.substr(0, colon), .port = port};
}

bool exempts(const std::string& entry, const std::string& host, std::uint16_t port) {
    if (entry == "*") return true;
    const auto address = model::parse_address(host);
    if (const auto cidr = model::parse_cidr(entry)) return address && contains(*cidr, *address);
    const auto [name, only_port] = split(entry);
    if (only_port && *only_port != port) return false;
    if (const auto exempt = model::parse_address(name)) return address && *exempt == *address;
    // "*.example.com" and ".example.com" stand for what is below, "example.com" for itself as well.
    const auto suffix = name.starts_with('*') ? name.substr(1) : name;
    if (suffix.empty()) return false;
    if (suffix.starts_with('.')) return host.ends_with(suffix);
    return host == suffix || host.ends_with("." + suffix);
}

bool is_exempt(const ServerUrl& server, const std::string& no_proxy) {
    auto host = lower(server.host);
    while (host.ends_with('.')) host.pop_back();
    const auto address = model::parse_address(host);
    if (host == "localhost" || (address && is_loopback(*address))) return true;
    std::size_t at = 0;
    while (at <= no_proxy.size()) {
        const auto comma = std::min(no_proxy.find(',', at), no_proxy.size());
        const auto entry = lower(trimmed(std::string_view(no_proxy).substr(at, comma - at)));
        if (!entry.empty() && exempts(entry, host, server.port)) return true;
        at = comma + 1;
    }
    return false;
}

// Strictly, because libcurl shows the whole URL where it does not understand it.
bool is_user_info(std::string_view text) {
    constexpr std::string_view kHex = "0123456789abcdefABCDEF";
    constexpr std::string_view kOthers = "-._~!$&'()*+,;=:";
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        const bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                              kOthers.find(c) != std::string_view::npos;
        if (is_plain) continue;
        const auto digits = text.substr(i, 3);
        // No control characters: %00 to %1f.
        if (c != '%' || digits.size() != 3 || kHex.find(digits[1]) == std::string_view::npos ||
            kHex.find(digits[2]) == std::string_view::npos || digits[1] < '2')
            return false;
        i += 2;
    }
    return true;
}

std::string environment(const char* name, const char* other) {
    for (const char* variable : {name, other}) {
        const char* value = std::getenv(variable);
        if (value && *value != '\0') return value;
    }
    return {};
}

// Go's socks5 leaves the resolution of names to the proxy; libcurl has another name for that.
std::string for_libcurl(std::string url) {
    constexpr std::string_view kLocal = "socks5://";
    if (url.starts_with(kLocal)) url.replace(0, kLocal.size(), "socks5h://");
    return url;
}

}  // namespace

ProxyEnvironment proxy_environment() {
    return {.https_proxy = environment("HTTPS_PROXY", "https_proxy"), .no_proxy = environment("NO_PROXY", "no_proxy")};
}

std::optional<std::string> not_proxy_url(std::string_view text) {
    for (const std::string_view scheme : {"http://", "https://", "socks5://", "socks5h://"}) {
        if (!text.starts_with(scheme)) continue;
        const auto rest = text.substr(scheme.size());
        const auto at = rest.rfind('@');
        const auto place = at == std::string_view::npos ? rest : rest.substr(at + 1);
        const auto url = parse_server_url("https://" + std::string(place));
        if (!url || !url->path.empty()) return "not HOST[:PORT] behind the scheme (and a user name)";
        if (at != std::string_view::npos && !is_user_info(rest.substr(0, at)))
            return "user name or password: characters that have to be written as %XX";
        return std::nullopt;
    }
    return "not an http://, https:// or socks5:// URL";
}

Result<std::string> proxy_for(const ServerUrl& server, const std::string& kubeconfig_proxy,
                              const ProxyEnvironment& environment) {
    if (!kubeconfig_proxy.empty()) return for_libcurl(kubeconfig_proxy);
    if (environment.https_proxy.empty() || is_exempt(server, environment.no_proxy)) return std::string();
    auto url = environment.https_proxy;
    if (url.find("://") == std::string::npos) url.insert(0, "http://");
    if (const auto fault = not_proxy_url(url)) return fail(Error::invalid("environment: HTTPS_PROXY: " + *fault));
    return for_libcurl(std::move(url));
}

}  // namespace svclb::kube
