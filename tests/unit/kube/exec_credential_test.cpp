// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "exec_credential.hpp"

#include <catch2/catch_test_macros.hpp>
#include <ctime>
#include <nlohmann/json.hpp>

#include "pem.hpp"

using namespace svclb;
using namespace svclb::kube;

namespace {

constexpr const char* kVersion = "client.authentication.k8s.io/v1";

Result<ExecCredential> parsed(const std::string& status) {
    return parse_exec_credential(
        R"({"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1", "status": )" + status + "}",
        kVersion);
}
std::string error_of(const std::string& status) {
    const auto credential = parsed(status);
    return credential ? "none" : credential.error().message();
}
std::time_t expiry(const std::string& text) {
    const auto credential = parsed(R"({"token": "t", "expirationTimestamp": ")" + text + R"("})");
    if (!credential) return -1;
    return std::chrono::system_clock::to_time_t(credential->expires.value());
}

}  // namespace

TEST_CASE("a token, a certificate or both") {
    CHECK(parsed(R"({"token": "abc"})")->token == "abc");
    CHECK_FALSE(parsed(R"({"token": "abc"})")->expires);
    const auto both = parsed(
        R"({"token": "abc", "clientCertificateData": "-----BEGIN CERTIFICATE-----\n", "clientKeyData": "-----BEGIN PRIVATE KEY-----\n"})");
    REQUIRE(both);
    CHECK(both->certificate == "-----BEGIN CERTIFICATE-----\n");
    CHECK(both->key == "-----BEGIN PRIVATE KEY-----\n");
}

TEST_CASE("times as RFC 3339 has them") {
    CHECK(expiry("2026-01-02T15:04:05Z") == 1767366245);
    CHECK(expiry("2026-01-02t15:04:05.123456z") == 1767366245);
    CHECK(expiry("2026-01-02T16:34:05+01:30") == 1767366245);
    CHECK(expiry("2026-01-01T23:04:05-16:00") == 1767366245);
    CHECK(expiry("9999-12-31T23:59:59Z") > 9000000000);
    CHECK(expiry("0000-01-01T00:00:00Z") < -9000000000);
    for (const auto* wrong :
         {"", "soon", "2026-01-02", "2026-01-02T15:04:05", "2026-13-02T15:04:05Z", "2026-1-2T15:04:05Z",
          "2026-01-02T15:04:05Zx", " 2026-01-02T15:04:05Z", "2026-01-02T15:04:05+0100"})
        CHECK(expiry(wrong) == -1);
}

TEST_CASE("each fault names its field and shows no value") {
    const auto at = std::string("ExecCredential: ");
    CHECK(error_of("null") == at + "status: missing");
    CHECK(error_of("{}") == at + "status: neither a token nor a certificate");
    CHECK(error_of(R"({"token": 12345})") == at + "status.token: not a string");
    CHECK(error_of(R"({"token": "sec\nret"})") == at + "status.token: holds a character that no token has");
    CHECK(error_of(R"({"clientKeyData": "secret"})") ==
          at + "status: clientCertificateData and clientKeyData: one without the other");
    CHECK(error_of(R"({"clientKeyData": "secret", "clientCertificateData": "-----BEGIN CERTIFICATE-----"})") ==
          at + "status.clientKeyData: no PEM block of the kind PRIVATE KEY");
    CHECK(error_of(R"({"token": "t", "expirationTimestamp": "so\non"})") ==
          at + "status.expirationTimestamp: not a time: so\\x0aon");
    const auto error = [](const std::string& text) { return parse_exec_credential(text, kVersion).error().message(); };
    CHECK(error("[]") == at + "not a map: a list");
    CHECK(error(R"({"kind": "Secret", "apiVersion": "client.authentication.k8s.io/v1", "status": {"token": "t"}})") ==
          at + "kind: not ExecCredential");
    CHECK(
        error(
            R"({"kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1beta1", "status": {"token": "t"}})") ==
        at + "apiVersion: not client.authentication.k8s.io/v1, which was asked for");
    CHECK(error(R"({"kind": "ExecCredential"} {})") == at + "text after its end");
}

TEST_CASE("a plug-in is told about the cluster where it asks for that") {
    Kubeconfig config;
    config.server = {.host = "h", .port = 6443, .path = ""};
    config.tls_server_name = "api.example";
    config.proxy_url = "http://p:1";
    ExecConfig exec;
    exec.api_version = kVersion;
    CHECK(exec_info(exec, config, "ca") ==
          R"({"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":false}})");
    exec.provide_cluster_info = true;
    exec.cluster_config_json = R"({"audience":"a"})";
    CHECK(nlohmann::json::parse(exec_info(exec, config, "ca"))["spec"] ==
          nlohmann::json::parse(R"({"interactive": false,
        "cluster": {"server": "https://h:6443", "tls-server-name": "api.example", "certificate-authority-data": "Y2E=",
        "proxy-url": "http://p:1", "config": {"audience": "a"}}})"));
}

TEST_CASE("base64 comes back as it went, and what is none is refused") {
    for (const std::string& text :
         {std::string(), std::string("a"), std::string("ab"), std::string("abc"), std::string("\0\xff\n", 3)})
        CHECK(decode_base64(encode_base64(text)) == text);
    CHECK(encode_base64("light w") == "bGlnaHQgdw==");
    CHECK(decode_base64("bGln\n  aHQg\r\ndw==\n") == "light w");
    for (const auto* wrong : {"a", "ab", "abc", "a===", "ab=c", "=", "ab-_", "ab==="})
        CHECK(decode_base64(wrong) == std::nullopt);
}
