// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Whom the transport trusts, and as whom it speaks, against a real server.
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdlib>

#include "pem.hpp"
#include "transport_fixture.hpp"

using namespace svclb;
using namespace svclb::kube;
using Catch::Matchers::ContainsSubstring;

namespace {

// What became of one request to a server, by the rules of its kubeconfig.
std::string refusal(const HttpServer& server, const std::string& user = "", const std::string& cluster = "",
                    const std::string& host = "localhost") {
    const auto transport = opened(server.kubeconfig(user, cluster, host));
    const auto heard = get(*transport, "/echo");
    CHECK(heard.heads.empty());
    CHECK_THAT(heard.error(), ContainsSubstring(server.url(host) + ": GET /echo: "));
    return heard.error();
}

nlohmann::json echo(const HttpServer& server, const std::string& user = "", const std::string& cluster = "",
                    const std::string& host = "localhost") {
    const auto transport = opened(server.kubeconfig(user, cluster, host));
    const auto heard = get(*transport, "/echo");
    CHECK(heard.error().empty());
    return heard.json();
}

std::string inline_pem(const std::filesystem::path& file) {
    return encode_base64(read(file));
}

class Variable {
public:
    Variable(const char* name, const std::string& value) : name_(name) { ::setenv(name, value.c_str(), 1); }
    Variable(const Variable&) = delete;
    Variable& operator=(const Variable&) = delete;
    ~Variable() { ::unsetenv(name_); }

private:
    const char* name_;
};

}  // namespace

TEST_CASE("a server is reached by name and by both families of addresses") {
    const HttpServer server;
    for (const auto* host : {"localhost", "127.0.0.1", "[::1]"}) CHECK(echo(server, "", "", host)["connection"] > 0);
}

TEST_CASE("a CA may stand in the kubeconfig") {
    const HttpServer server;
    CHECK(echo(server, "", "certificate-authority-data: " + inline_pem(server.dir() / "ca.crt"))["protocol"] == "h2");
}

TEST_CASE("a server of another CA is refused, with or without a CA of our own") {
    const HttpServer server;
    const HttpServer other;
    CHECK_THAT(refusal(server, "", "certificate-authority: " + (other.dir() / "ca.crt").string()),
               ContainsSubstring("certificate"));
    CHECK_THAT(refusal(server, "", "certificate-authority: ''"), ContainsSubstring("certificate"));
}

TEST_CASE("a server under another name is refused, unless it is the one we look for") {
    const HttpServer server({"--names", "DNS:api.example"});
    CHECK_THAT(refusal(server), ContainsSubstring("'localhost'"));
    CHECK_THAT(refusal(server, "", "tls-server-name: other.example"), ContainsSubstring("'other.example'"));
    const auto seen = echo(server, "", "tls-server-name: api.example");
    // The name is for the certificate; what is asked is where the kubeconfig says.
    CHECK("https://" + seen["headers"].value(":authority", "") == server.url());
}

TEST_CASE("an expired certificate is refused") {
    const HttpServer server({"--expired"});
    CHECK_THAT(refusal(server), ContainsSubstring("certificate has expired"));
}

TEST_CASE("TLS before 1.2 is refused") {
    const HttpServer server({"--old-tls"});
    CHECK_THAT(refusal(server), ContainsSubstring("SSL"));
}

TEST_CASE("who has to show a certificate shows it, from files or from the kubeconfig") {
    const HttpServer server({"--client-certificate"});
    refusal(server);
    CHECK(echo(server, "client-certificate: client.crt, client-key: client.key")["client"] == "test-client");
    CHECK(echo(server, "client-certificate-data: " + inline_pem(server.dir() / "client.crt") +
                           ", client-key-data: " + inline_pem(server.dir() / "client.key"))["client"] == "test-client");
}

TEST_CASE("a token that rotates is followed, and a token file that is gone counts as it was") {
    HttpServer server;
    write(server.dir() / "token", "first-token\n");
    const auto transport = opened(server.kubeconfig("tokenFile: token"));
    CHECK(get(*transport, "/private").heads.at(0).status == 200);
    server.command({{"token", "second-token"}});
    CHECK(get(*transport, "/private").heads.at(0).status == 401);
    write(server.dir() / "token", "second-token");
    CHECK(get(*transport, "/private").heads.at(0).status == 200);
    for (const auto* wrong : {"", "two\nlines", "x\r\nEvil: header"}) {
        write(server.dir() / "token", wrong);
        CHECK(get(*transport, "/private").heads.at(0).status == 200);
    }
    std::filesystem::remove(server.dir() / "token");
    CHECK(get(*transport, "/private").heads.at(0).status == 200);
    CHECK(server.stats()["connections"] == 1);
}

TEST_CASE("a CA that rotates is followed by new connections, and what runs goes on") {
    HttpServer server;
    write(server.dir() / "trusted.crt", read(server.dir() / "ca.crt"));
    const auto transport = opened(server.kubeconfig("", "certificate-authority: trusted.crt"));
    Heard watch;
    transport->send(to("/watch"), watch);
    REQUIRE(run_until(*transport, [&] { return server.stats()["watchers"] == 1; }));
    server.command({{"rotate", "ca"}});
    CHECK(get(*transport, "/echo").json()["connection"] == 1);  // nobody has to show a certificate

    write(server.dir() / "trusted.crt", read(server.dir() / "ca.crt"));
    CHECK(get(*transport, "/echo").json()["connection"] == 2);
    server.command({{"event", "hello"}});
    CHECK(run_until(*transport, [&] { return watch.body == "hello"; }));

    // The old CA is of no use any more.
    server.command({{"rotate", "ca"}});
    server.command({{"drop", true}});
    REQUIRE(run_until(*transport, [&] { return watch.ended(); }));
    CHECK_THAT(get(*transport, "/echo").error(), ContainsSubstring("certificate"));
    write(server.dir() / "trusted.crt", read(server.dir() / "ca.crt"));
    CHECK(get(*transport, "/echo").heads.at(0).status == 200);
}

TEST_CASE("a client certificate that rotates is shown by new connections") {
    HttpServer server({"--client-certificate"});
    const auto transport = opened(server.kubeconfig("client-certificate: client.crt, client-key: client.key"));
    CHECK(get(*transport, "/echo").json()["connection"] == 1);
    server.command({{"rotate", "ca"}});
    const auto second = get(*transport, "/echo").json();
    CHECK(second["connection"] == 2);
    CHECK(second["client"] == "test-client");
}

TEST_CASE("a proxy carries the connection and sees nothing of it") {
    const auto kind = GENERATE(std::string("http"), std::string("https"), std::string("socks5"));
    const auto credentials = kind == "http" ? "me:p%40ss@" : "";
    HttpServer server({"--proxy", kind, "--names", "DNS:api.example,IP:127.0.0.1"});
    const auto proxy = kind + "://" + credentials + "127.0.0.1:" + std::to_string(server.proxy_port());
    // Only the proxy knows the name.
    const auto transport = opened(server.kubeconfig("token: abc", "proxy-url: '" + proxy + "'", "api.example"));
    const auto heard = get(*transport, "/echo");
    CHECK(heard.error().empty());
    CHECK(heard.json()["protocol"] == "h2");
    CHECK(heard.json()["headers"]["authorization"] == "Bearer abc");
    const auto proxied = server.stats()["proxied"];
    REQUIRE(proxied.size() == 1);
    CHECK("https://" + proxied[0].value("target", "") == server.url("api.example"));
    CHECK(proxied[0]["leaks"].empty());
    if (kind == "http") CHECK(proxied[0]["credentials"] == nlohmann::json({"me:p@ss"}));
}

TEST_CASE("the environment's proxy is for those that the kubeconfig gives none and NO_PROXY does not name") {
    HttpServer server({"--proxy", "http", "--names", "DNS:api.example,DNS:localhost"});
    const Variable proxy("HTTPS_PROXY", "127.0.0.1:" + std::to_string(server.proxy_port()));
    const Variable also("ALL_PROXY", "http://127.0.0.1:1");
    CHECK(echo(server, "", "", "api.example")["protocol"] == "h2");
    CHECK(server.stats()["proxied"].size() == 1);
    CHECK(echo(server)["protocol"] == "h2");  // loopback never goes through it
    CHECK(server.stats()["proxied"].size() == 1);
    const Variable exempt("NO_PROXY", "other,.example");
    // Nobody else knows that name; a machine without a name server finds that out when the time to connect is over.
    CHECK_FALSE(refusal(server, "", "", "api.example").empty());
    CHECK(server.stats()["proxied"].size() == 1);
}

TEST_CASE("in a Pod the service account is who we are") {
    HttpServer server;
    write(server.dir() / "token", "first-token");
    const Variable port("KUBERNETES_SERVICE_PORT", server.url("").substr(9));
    const auto host = GENERATE(std::string("127.0.0.1"), std::string("::1"));
    const Variable variable("KUBERNETES_SERVICE_HOST", host);
    const auto opened = open_in_cluster_transport({}, server.dir().path());
    REQUIRE(opened);
    CHECK(opened->url == server.url(host == "::1" ? "[::1]" : host));
    CHECK(get(*opened->transport, "/private").heads.at(0).status == 200);
}

TEST_CASE("the places to dial are tried in turn, the certificate stays that of the server's name") {
    const HttpServer server;
    const auto port = static_cast<std::uint16_t>(std::stoi(server.url("").substr(9)));
    const auto place = [](const char* address, std::uint16_t number) {
        return model::AddressPort{.address = *model::parse_address(address), .port = number};
    };
    const auto kubeconfig = server.kubeconfig("", "", "localhost");
    const Dial dial{place("127.0.0.1", 1), place("::1", port)};
    const auto opened = open_transport(kubeconfig, dial);
    REQUIRE(opened);
    CHECK(get(*opened->transport, "/echo").heads.empty());  // nobody listens there
    CHECK(get(*opened->transport, "/echo").heads.size() == 1);
    CHECK(get(*opened->transport, "/echo").heads.size() == 1);
}

TEST_CASE("what is missing to reach the server is named when the transport is opened") {
    const HttpServer server;
    const auto dir = server.dir().path().string();
    const auto refused = [&](const std::string& user, const std::string& cluster = "") {
        const auto opened = open_transport(server.kubeconfig(user, cluster));
        return opened ? std::string("opened") : opened.error().message();
    };
    CHECK(refused("tokenFile: gone") == dir + "/kubeconfig: " + dir + "/gone: No such file or directory");
    CHECK(refused("", "certificate-authority: client.key") ==
          dir + "/kubeconfig: " + dir + "/client.key: no PEM block of the kind CERTIFICATE");
    CHECK(
        refused("", "insecure-skip-tls-verify: true, certificate-authority: ''") ==
        dir +
            "/kubeconfig:5: clusters[0].cluster.insecure-skip-tls-verify: true, but the server's certificate is always "
            "verified: name its CA instead");
    CHECK(open_transport(server.dir() / "nothing").error().message() == dir + "/nothing: No such file or directory");
    CHECK(open_in_cluster_transport({}, server.dir().path()).error().message() ==
          "environment: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT: not set, as they would be in a Pod");
}
