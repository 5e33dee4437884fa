// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "proxy.hpp"

#include <catch2/catch_test_macros.hpp>

using namespace svclb;
using namespace svclb::kube;

namespace {

std::string proxy(const std::string& host, const std::string& no_proxy, std::uint16_t port = 6443) {
    return proxy_for({.host = host, .port = port, .path = ""}, "",
                     {.https_proxy = "http://p:3128", .no_proxy = no_proxy})
        .value();
}

}  // namespace

TEST_CASE("the kubeconfig's proxy counts before the environment, and for every server") {
    const ProxyEnvironment environment{.https_proxy = "http://other", .no_proxy = "*"};
    CHECK(proxy_for({.host = "localhost", .port = 1, .path = ""}, "https://p", environment) == "https://p");
    CHECK(proxy_for({.host = "h", .port = 1, .path = ""}, "socks5://p", environment) == "socks5h://p");
    CHECK(proxy_for({.host = "h", .port = 1, .path = ""}, "", environment) == "");
    CHECK(proxy_for({.host = "h", .port = 1, .path = ""}, "", {}) == "");
}

TEST_CASE("the environment's proxy may lack a scheme, and is refused without being shown") {
    const ServerUrl server{.host = "h", .port = 1, .path = ""};
    CHECK(proxy_for(server, "", {.https_proxy = "p:1", .no_proxy = ""}) == "http://p:1");
    CHECK(proxy_for(server, "", {.https_proxy = "ftp://me:secret@p", .no_proxy = ""}).error().message() ==
          "environment: HTTPS_PROXY: not an http://, https:// or socks5:// URL");
}

TEST_CASE("NO_PROXY names hosts, domains, addresses, networks and ports") {
    const std::string used = "http://p:3128";
    for (const auto* host : {"localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"}) CHECK(proxy(host, "").empty());
    CHECK(proxy("api.example.com", "") == used);
    CHECK(proxy("api.example.com", "*").empty());
    CHECK(proxy("api.example.com", "a, example.com ,b").empty());
    CHECK(proxy("Example.COM.", "EXAMPLE.com").empty());
    CHECK(proxy("example.com", ".example.com") == used);
    CHECK(proxy("example.com", "*.example.com") == used);
    CHECK(proxy("api.example.com", "*.example.com").empty());
    CHECK(proxy("badexample.com", "example.com") == used);
    CHECK(proxy("api.example.com", "example.com:6443").empty());
    CHECK(proxy("api.example.com", "example.com:443") == used);
    CHECK(proxy("10.1.2.3", "10.0.0.0/8").empty());
    CHECK(proxy("11.1.2.3", "10.0.0.0/8") == used);
    CHECK(proxy("10.1.2.3", "10.1.2.3").empty());
    CHECK(proxy("10.1.2.3", "10.1.2.3:6443").empty());
    CHECK(proxy("10.1.2.3", "10.1.2.3:1") == used);
    CHECK(proxy("fd00::1", "fd00::/16").empty());
    CHECK(proxy("fd00::1", "fd00:0::1").empty());
    CHECK(proxy("fd00::1", "[fd00::1]:6443").empty());
    CHECK(proxy("fd00::1", "[fd00::1]:1") == used);
    CHECK(proxy("fd00::1", "0.0.0.0/0") == used);
    CHECK(proxy("10.1.2.3", ",,*.,") == used);
}

TEST_CASE("a proxy's URL is one that libcurl understands, which shows those that it does not") {
    for (const auto* good : {"http://p", "https://p:1", "socks5://10.0.0.1:1080", "http://[fd00::1]:3128", "http://p/",
                             "http://me@p", "http://me:se%40cret@p:1", "http://me:@p", "http://:x@p"})
        CHECK(not_proxy_url(good) == std::nullopt);
    for (const auto* bad : {"http://", "http://p:0", "http://[p", "http://me:secret@", "http://me:secret@[p",
                            "http://p:1x", "http://p/path", "http://p?x", "http://p q"})
        CHECK(not_proxy_url(bad) == "not HOST[:PORT] behind the scheme (and a user name)");
    for (const auto* bad : {"http://me:se@cret@p", "http://me:se%0@p", "http://me:se%00@p", "http://me:se%1f@p",
                            "http://me:%@p", "http://me:se/cret@p", "http://me:se cret@p", "http://me:se[@p"})
        CHECK(not_proxy_url(bad) == "user name or password: characters that have to be written as %XX");
}
