// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "input.hpp"

#include <catch2/catch_test_macros.hpp>
#include <string>

namespace svclb::agent {
namespace {

std::string frontends(const char* url, const char* host, const char* port) {
    std::string text;
    for (const auto& [address, number] : api_frontends(url, host, port))
        text += (text.empty() ? "" : " ") + model::endpoint_text(address, number);
    return text;
}

}  // namespace

TEST_CASE("what Pods dial to reach the API server, of both families, from the environment and the URL") {
    CHECK(frontends("https://api.example:6443", "10.96.0.1", "443") == "10.96.0.1:443");
    CHECK(frontends("https://api.example:6443", "fd00:10:96::1", "8443") == "[fd00:10:96::1]:8443");
    CHECK(frontends("https://api.example:6443", "fd00:10:96::1", "") == "[fd00:10:96::1]:443");
    CHECK(frontends("https://[fd00::7]:6443", "10.96.0.1", "443") == "10.96.0.1:443 [fd00::7]:6443");
    CHECK(frontends("https://[fd00::7]/path", "", "") == "[fd00::7]:443");
    CHECK(frontends("https://192.0.2.7", "", "") == "192.0.2.7:443");
    CHECK(frontends("https://api.example", "kubernetes.default", "443").empty());
}

}  // namespace svclb::agent
