// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "http_server.hpp"

#include <fmt/format.h>

#include <catch2/catch_test_macros.hpp>
#include <stdexcept>
#include <vector>

#include "http_client.hpp"

namespace svclb::agent {
namespace {

bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

HttpRoutes routes() {
    return {{"/fine", [] { return HttpAnswer{.body = "yes"}; }},
            {"/bad", [] { return HttpAnswer{.status = 503, .type = "application/json", .body = "{}"}; }},
            {"/throws", []() -> HttpAnswer { throw std::runtime_error("no"); }}};
}

TEST_CASE("a path is answered with its status, type and body") {
    const auto at = free_port();
    const auto server = HttpServer::listen(at, routes());
    REQUIRE(server);
    const auto fine = get(at, "/fine");
    CHECK(fine.starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK(has(fine, "Content-Type: text/plain; charset=utf-8\r\n"));
    CHECK(has(fine, "X-Content-Type-Options: nosniff\r\n"));
    CHECK(fine.ends_with("\r\n\r\nyes"));
    CHECK(get(at, "/fine?verbose=1").starts_with("HTTP/1.1 200 "));
    const auto bad = get(at, "/bad");
    CHECK(bad.starts_with("HTTP/1.1 503 "));
    CHECK(has(bad, "Content-Type: application/json\r\n"));
    CHECK(get(at, "/throws").starts_with("HTTP/1.1 500 "));
    CHECK(get(at, "/").starts_with("HTTP/1.1 404 "));
    CHECK(get(at, "/fine/../bad").starts_with("HTTP/1.1 404 "));
    CHECK(ask(at, "HEAD /fine HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ends_with("\r\n\r\n"));
    CHECK(ask(at, "POST /fine HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nConnection: close\r\n\r\n")
              .starts_with("HTTP/1.1 405 "));
}

TEST_CASE("clients that say nothing, and heads without an end, keep nobody from an answer") {
    const auto at = free_port();
    const auto server = HttpServer::listen(at, routes());
    REQUIRE(server);
    std::vector<UniqueFd> silent;
    for (int i = 0; i < 10; ++i) silent.push_back(connect_to(at));
    CHECK(get(at, "/fine").starts_with("HTTP/1.1 200 "));
    const auto long_head = ask(at, "GET /fine HTTP/1.1\r\nX: " + std::string(20'000, 'x'));
    CHECK((long_head.empty() || has(long_head.substr(0, 20), " 431 ")));
    CHECK(get(at, "/fine").starts_with("HTTP/1.1 200 "));
}

TEST_CASE("an address that is taken is named") {
    const auto taken = bind_any();
    REQUIRE(::listen(taken.fd.get(), 1) == 0);
    const auto server = HttpServer::listen(taken.at, {});
    REQUIRE_FALSE(server);
    CHECK(server.error().message() == fmt::format("listen on 127.0.0.1:{}: Address already in use", taken.at.port));
}

TEST_CASE("two servers do not share an address, and it is free again afterwards") {
    const auto at = free_port();
    {
        const auto first = HttpServer::listen(at, routes());
        REQUIRE(first);
        CHECK_FALSE(HttpServer::listen(at, routes()));
        CHECK_FALSE(HttpServer::listen({*model::parse_address("0.0.0.0"), at.port}, routes()));
    }
    CHECK(HttpServer::listen(at, routes()));
}

TEST_CASE("the address of all is served in both families") {
    const model::AddressPort any{*model::parse_address("0.0.0.0"), free_port().port};
    const auto server = HttpServer::listen(any, routes());
    REQUIRE(server);
    CHECK(get(any, "/fine").starts_with("HTTP/1.1 200 "));
    UniqueFd fd{::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    address.sin6_port = htons(any.port);
    CHECK(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
}

}  // namespace
}  // namespace svclb::agent
