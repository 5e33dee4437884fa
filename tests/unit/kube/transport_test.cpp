// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What the interface promises, against a real server: how answers arrive, end and fail.
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <ctime>
#include <numeric>

#include "transport.hpp"
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

TEST_CASE("requests are counted when their head comes, or when none will come") {
    HttpServer server;
    const auto transport = opened(server.kubeconfig());
    Heard watch;
    transport->send(to("/watch"), watch);
    REQUIRE(run_until(*transport, [&] { return !watch.heads.empty(); }));
    get(*transport, "/echo");
    using Answers = decltype(RequestStats::answers);
    auto stats = transport->stats();
    CHECK(server.url() == "https://" + stats.host);
    CHECK(stats.answers == Answers{{{"GET", 200}, 2}});
    auto silent = to("/hang");
    silent.silence = milliseconds{100};
    Heard hanging;
    transport->send(std::move(silent), hanging);
    REQUIRE(run_until(*transport, [&] { return hanging.ended(); }));
    stats = transport->stats();
    CHECK(stats.answers == Answers{{{"GET", 0}, 1}, {{"GET", 200}, 2}});
    const auto& seconds = stats.seconds.at("GET");
    CHECK(std::accumulate(seconds.counts().begin(), seconds.counts().end(), std::uint64_t{0}) == 3);
    CHECK(seconds.sum() >= 0.1);
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

TEST_CASE("a server that falls silent fails that request alone, and no later one meets its connection") {
    HttpServer server;
    const auto transport = opened(server.kubeconfig());
    Heard watch;
    transport->send(to("/watch"), watch);
    REQUIRE(run_until(*transport, [&] { return server.stats()["watchers"] == 1; }));

    const auto target = GENERATE(std::string("/hang?token=secret"), std::string("/stall?token=secret"));
    auto request = to(target);
    request.silence = milliseconds(300);
    Heard silent;
    transport->send(request, silent);
    REQUIRE(run_until(*transport, [&] { return silent.ended(); }));
    CHECK_THAT(silent.error(), ContainsSubstring(server.url() + ": GET " + target.substr(0, target.find('?')) +
                                                 ": the server sent nothing for "));

    CHECK(get(*transport, "/echo").json()["connection"] == 2);
    CHECK(get(*transport, "/echo").json()["connection"] == 2);
    server.command({{"event", "still here"}});
    CHECK(run_until(*transport, [&] { return watch.body == "still here"; }));
    server.command({{"end", true}});
    REQUIRE(run_until(*transport, [&] { return watch.ended(); }));
    CHECK(watch.error().empty());
    // With its last request the old connection goes.
    CHECK(run_until(*transport, [&] { return server.stats()["open"] == 1; }));
}

TEST_CASE("what the server sends puts the end of its silence off") {
    using Clock = std::chrono::steady_clock;
    HttpServer server;
    const auto transport = opened(server.kubeconfig());
    auto request = to("/watch");
    request.silence = milliseconds(1500);
    Heard watch;
    transport->send(request, watch);
    REQUIRE(run_until(*transport, [&] { return server.stats()["watchers"] == 1; }));
    Clock::time_point last_heard = Clock::now();
    watch.on_any = [&] {
        if (!watch.ended()) last_heard = Clock::now();
    };
    for (int i = 0; i < 12 && !watch.ended(); ++i) {
        server.command({{"event", "x"}});
        run_until(
            *transport, [&] { return watch.ended(); }, milliseconds(200));
    }
    REQUIRE(run_until(*transport, [&] { return watch.ended(); }));
    CHECK(Clock::now() - last_heard >= request.silence - milliseconds(10));
    CHECK_THAT(watch.error(), ContainsSubstring("the server sent nothing for "));
}

TEST_CASE("an answer that is cut off is an error, after what came") {
    const auto protocols = GENERATE(std::string("h2"), std::string("http/1.1"));
    HttpServer server({"--protocols", protocols});
    const auto transport = opened(server.kubeconfig());
    const auto cut = get(*transport, "/cut/1000");
    CHECK_THAT(cut.error(), ContainsSubstring(server.url() + ": GET /cut/1000: "));
    CHECK(get(*transport, "/echo").heads.at(0).status == 200);
}

TEST_CASE("the reset of one HTTP/2 stream is the end of one request") {
    HttpServer server;
    const auto transport = opened(server.kubeconfig());
    Heard watch;
    transport->send(to("/watch"), watch);
    const auto cut = get(*transport, "/cut-stream/1000");
    CHECK_THAT(cut.error(), ContainsSubstring("GET /cut-stream/1000: "));
    server.command({{"event", "hello"}});
    CHECK(run_until(*transport, [&] { return watch.body == "hello"; }));
    CHECK(get(*transport, "/echo").json()["connection"] == 1);
}

TEST_CASE("all requests of a connection that breaks end with an error, and the next one has a new connection") {
    const auto protocols = GENERATE(std::string("h2"), std::string("http/1.1"));
    HttpServer server({"--protocols", protocols});
    const auto transport = opened(server.kubeconfig());
    std::array<Heard, 2> watches;
    for (auto& watch : watches) transport->send(to("/watch"), watch);
    REQUIRE(run_until(*transport, [&] { return server.stats()["watchers"] == 2; }));
    server.command({{"event", "hello"}});
    for (auto& watch : watches) REQUIRE(run_until(*transport, [&] { return watch.body == "hello"; }));
    server.command({{"drop", true}});
    for (auto& watch : watches) {
        REQUIRE(run_until(*transport, [&] { return watch.ended(); }));
        CHECK_THAT(watch.error(), ContainsSubstring(server.url() + ": GET /watch: "));
    }
    CHECK(get(*transport, "/echo").heads.at(0).status == 200);
}

TEST_CASE("a server that asks for another connection gets it, and ends the streams it has") {
    HttpServer server;
    const auto transport = opened(server.kubeconfig());
    Heard watch;
    transport->send(to("/watch"), watch);
    REQUIRE(run_until(*transport, [&] { return server.stats()["watchers"] == 1; }));
    server.command({{"goaway", true}});
    CHECK(run_until(
              *transport, [&] { return false; }, milliseconds(100)) == false);
    CHECK(get(*transport, "/echo").json()["connection"] == 2);
    server.command({{"event", "hello"}});
    CHECK(run_until(*transport, [&] { return watch.body == "hello"; }));
    server.command({{"end", true}});
    REQUIRE(run_until(*transport, [&] { return watch.ended(); }));
    CHECK(watch.error().empty());
}

TEST_CASE("a request may be cancelled at any time, and nothing is heard of it afterwards") {
    const auto protocols = GENERATE(std::string("h2"), std::string("http/1.1"));
    HttpServer server({"--protocols", protocols});
    const auto transport = opened(server.kubeconfig());
    Heard other;
    transport->send(to("/watch"), other);
    REQUIRE(run_until(*transport, [&] { return server.stats()["watchers"] == 1; }));

    SECTION("before it has begun") {
        Heard heard;
        transport->cancel(transport->send(to("/echo"), heard));
        run_until(
            *transport, [&] { return false; }, milliseconds(100));
        CHECK(heard.heads.empty());
        CHECK_FALSE(heard.ended());
    }
    SECTION("while the server is silent") {
        Heard heard;
        const auto id = transport->send(to("/watch"), heard);
        REQUIRE(run_until(*transport, [&] { return heard.heads.size() == 1; }));
        transport->cancel(id);
        // Over HTTP/2 the library tells the server when it next has something to say.
        CHECK(get(*transport, "/echo").heads.at(0).status == 200);
        CHECK(run_until(*transport, [&] { return server.stats()["watchers"] == 1; }));
        CHECK_FALSE(heard.ended());
    }
    SECTION("by its receiver") {
        Heard heard;
        RequestId id = 0;
        std::size_t calls = 0;
        const auto last_call = GENERATE(std::size_t{1}, std::size_t{2}, std::size_t{5});
        heard.on_any = [&] {
            if (++calls == last_call) transport->cancel(id);
        };
        id = transport->send(to("/chunks/1000/3000000"), heard);
        REQUIRE(run_until(*transport, [&] { return calls == last_call; }));
        run_until(
            *transport, [&] { return false; }, milliseconds(100));
        CHECK(calls == last_call);
        CHECK_FALSE(heard.ended());
    }
    SECTION("by the receiver of another one, and after its end") {
        Heard heard;
        const auto id = transport->send(to("/watch"), heard);
        REQUIRE(run_until(*transport, [&] { return heard.heads.size() == 1; }));
        other.on_any = [&] { transport->cancel(id); };
        server.command({{"event", "hello"}});
        REQUIRE(run_until(*transport, [&] { return other.body == "hello"; }));
        run_until(
            *transport, [&] { return false; }, milliseconds(100));
        const auto body = heard.body;  // the event may have come to it first
        server.command({{"event", "hello"}});
        REQUIRE(run_until(*transport, [&] { return other.body == "hellohello"; }));
        CHECK(heard.body == body);
        CHECK_FALSE(heard.ended());
        transport->cancel(id);
        other.on_any = nullptr;
    }
    other.body.clear();
    server.command({{"event", "the other goes on"}});
    CHECK(run_until(*transport, [&] { return other.body == "the other goes on"; }));
    CHECK(get(*transport, "/echo").heads.at(0).status == 200);
}

TEST_CASE("a receiver may send, and hears nothing from within send") {
    HttpServer server;
    const auto transport = opened(server.kubeconfig());
    Heard first;
    Heard second;
    bool sending = false;
    second.on_any = [&] { CHECK_FALSE(sending); };
    first.on_any = [&] {
        if (second.heads.empty() && !sending && first.ended()) {
            sending = true;
            transport->send(to("/bytes/10"), second);
            sending = false;
        }
    };
    transport->send(to("/bytes/10"), first);
    REQUIRE(run_until(*transport, [&] { return second.ended(); }));
    CHECK(second.body == pattern(10));
}

TEST_CASE("a transport ends without a word to those who wait") {
    HttpServer server;
    auto transport = opened(server.kubeconfig());
    Heard watch;
    Heard late;
    transport->send(to("/watch"), watch);
    REQUIRE(run_until(*transport, [&] { return watch.heads.size() == 1; }));
    transport->send(to("/echo"), late);
    transport.reset();
    CHECK_FALSE(watch.ended());
    CHECK_FALSE(late.ended());
}

TEST_CASE("Retry-After is told in seconds, whether it was a number or a date") {
    const auto protocols = GENERATE(std::string("h2"), std::string("http/1.1"));
    HttpServer server({"--protocols", protocols});
    const auto transport = opened(server.kubeconfig());
    const auto number = get(*transport, "/status/429?retry-after=7");
    REQUIRE(number.heads.size() == 1);
    CHECK(number.heads[0].status == 429);
    CHECK(number.heads[0].retry_after == std::chrono::seconds(7));
    CHECK(number.error().empty());

    const auto then = std::time(nullptr) + 100;
    std::array<char, 64> date{};
    REQUIRE(std::strftime(date.data(), date.size(), "%a,%%20%d%%20%b%%20%Y%%20%H:%M:%S%%20GMT", std::gmtime(&then)) >
            0);
    const auto dated = get(*transport, std::string("/status/503?retry-after=") + date.data());
    REQUIRE(dated.heads.size() == 1);
    REQUIRE(dated.heads[0].retry_after.has_value());
    CHECK(*dated.heads[0].retry_after <= std::chrono::seconds(100));
    CHECK(*dated.heads[0].retry_after > std::chrono::seconds(80));

    CHECK(get(*transport, "/status/500").heads.at(0).retry_after == std::nullopt);
    CHECK(get(*transport, "/status/500?retry-after=soon").heads.at(0).retry_after == std::nullopt);
}

TEST_CASE("a redirect is an answer like others") {
    HttpServer server;
    const auto transport = opened(server.kubeconfig());
    const auto heard = get(*transport, "/status/307");
    CHECK(heard.heads.at(0).status == 307);
    CHECK(heard.body == "{}");
}

TEST_CASE("a body is sent as what it is") {
    const auto protocols = GENERATE(std::string("h2"), std::string("http/1.1"));
    HttpServer server({"--protocols", protocols});
    const auto transport = opened(server.kubeconfig("token: abc"));
    auto request = to("/echo/a%2Fb?x=1&y=%26");
    request.method = "POST";
    request.body = pattern(100000);
    Heard heard;
    transport->send(request, heard);
    REQUIRE(run_until(*transport, [&] { return heard.ended(); }));
    const auto post = heard.json();
    CHECK(post["method"] == "POST");
    CHECK(post["path"] == "/echo/a/b");
    CHECK(post["query"] == nlohmann::json({{"x", "1"}, {"y", "&"}}));
    CHECK(post["body"] == request.body);
    CHECK(post["headers"]["content-type"] == "application/json");
    CHECK(post["headers"]["accept"] == "application/json");
    CHECK(post["headers"]["authorization"] == "Bearer abc");
    CHECK_FALSE(post["headers"].contains("expect"));

    request.method = "PATCH";
    Heard patched;
    transport->send(request, patched);
    REQUIRE(run_until(*transport, [&] { return patched.ended(); }));
    CHECK(patched.json()["method"] == "PATCH");
    CHECK(patched.json()["headers"]["content-type"] == "application/merge-patch+json");
}

TEST_CASE("an event that comes compressed comes at once") {
    const auto protocols = GENERATE(std::string("h2"), std::string("http/1.1"));
    HttpServer server({"--protocols", protocols});
    const auto transport = opened(server.kubeconfig());
    Heard watch;
    transport->send(to("/watch/gzip"), watch);
    REQUIRE(run_until(*transport, [&] { return server.stats()["watchers"] == 1; }));
    for (const auto* expected : {"one", "onetwo", "onetwothree"}) {
        server.command({{"event", std::string(expected).substr(watch.body.size())}});
        CHECK(run_until(*transport, [&] { return watch.body == expected; }));
    }
    server.command({{"end", true}});
    REQUIRE(run_until(*transport, [&] { return watch.ended(); }));
    CHECK(watch.error().empty());
}

TEST_CASE("a list that comes compressed is read as what it was, wherever it is cut") {
    const auto protocols = GENERATE(std::string("h2"), std::string("http/1.1"));
    HttpServer server({"--protocols", protocols});
    const auto transport = opened(server.kubeconfig());
    for (const int chunk : {1, 1000}) {
        const auto heard = get(*transport, "/chunks/" + std::to_string(chunk) + "/200000/gzip");
        CHECK(heard.error().empty());
        REQUIRE(heard.heads.size() == 1);
        CHECK(heard.body == pattern(200000));
    }
    // What crossed the wire is counted, and was asked for.
    CHECK(transport->bytes_received() < 200000);
    const auto cut = get(*transport, "/cut/500/gzip");
    CHECK_FALSE(cut.error().empty());
}

TEST_CASE("a place where nobody listens is named, and what failed") {
    HttpServer server;
    const auto transport = opened(server.kubeconfig("token: secret", "proxy-url: 'http://me:secret@127.0.0.1:1'"));
    const auto refused = get(*transport, "/api?x=secret");
    CHECK(refused.heads.empty());
    CHECK_THAT(refused.error(),
               ContainsSubstring(server.url() + ": GET /api: ") && ContainsSubstring("127.0.0.1 port 1"));
    CHECK_THAT(refused.error(), !ContainsSubstring("secret"));
}

TEST_CASE("who waits for a connection that cannot be made does not wait for another try") {
    HttpServer server;
    const auto transport = opened(server.kubeconfig("", "proxy-url: 'http://127.0.0.1:1'"));
    std::array<Heard, 3> waiting;
    for (auto& heard : waiting) transport->send(to("/echo"), heard);
    // Sent at the end of one of these, it is a try of its own.
    Heard late;
    waiting[0].on_any = [&] { transport->send(to("/late"), late); };
    for (auto& heard : waiting) REQUIRE(run_until(*transport, [&] { return heard.ended(); }));
    for (auto& heard : waiting) CHECK_THAT(heard.error(), ContainsSubstring("GET /echo: "));
    CHECK_FALSE(late.ended());
    REQUIRE(run_until(*transport, [&] { return late.ended(); }));
    CHECK_THAT(late.error(), ContainsSubstring("GET /late: "));
}

TEST_CASE("a server that accepts and says nothing is given up when the time to connect is over") {
    // Its backlog takes the connection; nobody answers the TLS handshake.
    const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(listener.get(), 5) == 0);
    REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
    Kubeconfig config;
    config.server = {.host = "127.0.0.1", .port = ntohs(address.sin_port), .path = ""};
    Route route{.server = config.server, .tls_server_name = "", .proxy = "", .connect_timeout = milliseconds(200)};
    const auto transport = CurlTransport::open(std::move(route), Credentials::open(config).value()).value();
    const auto heard = get(*transport, "/echo");
    CHECK_THAT(heard.error(),
               ContainsSubstring("https://127.0.0.1:" + std::to_string(config.server.port) + ": GET /echo: ") &&
                   ContainsSubstring("time"));
}
