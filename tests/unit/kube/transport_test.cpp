// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What the interface promises, against a real server: how answers arrive, end and fail.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "transport_fixture.hpp"

using namespace svclb;
using namespace svclb::kube;
using Catch::Matchers::ContainsSubstring;
using std::chrono::milliseconds;

namespace {

const std::vector<std::string> kHttp1{"--protocols", "http/1.1"};

std::string pattern(std::size_t size) {
    std::string text;
    while (text.size() < size) text += "abcdefghijklmnopqrstuvwxyz\n";
    text.resize(size);
    return text;
}

}  // namespace

TEST_CASE("watches and requests share one HTTP/2 connection") {
    HttpServer server;
    const auto transport = opened(server.kubeconfig());
    std::array<Heard, 3> watches;
    for (auto& watch : watches) transport->send(to("/watch"), watch);
    REQUIRE(run_until(*transport, [&] { return server.stats()["watchers"] == 3; }));
    for (int i = 0; i < 5; ++i) {
        const auto echo = get(*transport, "/echo").json();
        CHECK(echo["protocol"] == "h2");
        CHECK(echo["connection"] == 1);
    }
    server.command({{"event", "hello"}});
    for (auto& watch : watches) CHECK(run_until(*transport, [&] { return watch.body == "hello"; }));
    server.command({{"end", true}});
    for (auto& watch : watches) CHECK(run_until(*transport, [&] { return watch.ended(); }));
    for (auto& watch : watches) CHECK(watch.error().empty());
    CHECK(server.stats()["connections"] == 1);
}

TEST_CASE("without HTTP/2 a watch has a connection of its own and delays nobody") {
    HttpServer server(kHttp1);
    const auto transport = opened(server.kubeconfig());
    std::array<Heard, 3> watches;
    for (auto& watch : watches) transport->send(to("/watch"), watch);
    REQUIRE(run_until(*transport, [&] { return server.stats()["watchers"] == 3; }));
    const auto first = get(*transport, "/echo").json();
    CHECK(first["protocol"] == "http/1.1");
    CHECK(get(*transport, "/echo").json()["connection"] == first["connection"]);
    server.command({{"event", "hello"}});
    for (auto& watch : watches) CHECK(run_until(*transport, [&] { return watch.body == "hello"; }));
    CHECK(server.stats()["connections"] == 4);
}

TEST_CASE("a body arrives whole, however it was cut") {
    const auto protocols = GENERATE(std::string("h2"), std::string("http/1.1"));
    HttpServer server({"--protocols", protocols});
    const auto transport = opened(server.kubeconfig());
    for (const auto& [size, target] : {std::pair<std::size_t, std::string>{5000, "/chunks/1/5000"},
                                       {200000, "/chunks/1000/200000"},
                                       {3000000, "/bytes/3000000"},
                                       {0, "/bytes/0"}}) {
        const auto heard = get(*transport, target);
        CHECK(heard.error().empty());
        REQUIRE(heard.heads.size() == 1);
        CHECK(heard.heads[0].status == 200);
        CHECK(heard.body == pattern(size));
    }
    CHECK(transport->bytes_received() > 3205000);
    CHECK(transport->bytes_received() < 3300000);
}
