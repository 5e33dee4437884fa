// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "kubeconfig.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "pem.hpp"

using namespace svclb;
using namespace svclb::kube;

namespace {

constexpr const char* kFile = "/etc/svclb/kubeconfig";
const std::string kCertificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const std::string kKey = "-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\n";

std::string config_text(const std::string& cluster, const std::string& user) {
    return "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
           "contexts: [{name: c, context: {cluster: k, user: u, namespace: n}}]\n"
           "clusters: [{name: k, cluster: {" +
           cluster + "}}]\nusers: [{name: u, user: {" + user + "}}]\npreferences: {}\n";
}

Kubeconfig parsed(const std::string& cluster, const std::string& user) {
    auto config = parse_kubeconfig(config_text(cluster, user), kFile);
    if (!config) FAIL(config.error().message());
    return *config;
}

std::string error_of(const std::string& text, std::string_view context = {}) {
    const auto config = parse_kubeconfig(text, kFile, context);
    return config ? "none" : config.error().message();
}
std::string cluster_error(const std::string& cluster) {
    return error_of(config_text(cluster, ""));
}
std::string user_error(const std::string& user) {
    return error_of(config_text("server: 'https://h'", user));
}

}  // namespace

TEST_CASE("a kubeconfig as kubeadm writes it") {
    const auto config =
        parsed("server: 'https://10.0.0.1:6443', certificate-authority-data: " + encode_base64(kCertificate),
               "client-certificate-data: " + encode_base64(kCertificate) + ", client-key-data: " + encode_base64(kKey));
    CHECK(config.server == ServerUrl{.host = "10.0.0.1", .port = 6443, .path = ""});
    CHECK(config.ca.inline_text == kCertificate);
    CHECK(config.certificate.inline_text == kCertificate);
    CHECK(config.key.inline_text == kKey);
    CHECK_FALSE(config.exec);
}

TEST_CASE("a kubeconfig as kube-proxy's ConfigMap has it") {
    const auto config = parsed(
        "certificate-authority: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt, server: 'https://[fd00::1]:6443'",
        "tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token");
    CHECK(config.server == ServerUrl{.host = "fd00::1", .port = 6443, .path = ""});
    CHECK(config.ca.file == "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt");
    CHECK(config.token_file == "/var/run/secrets/kubernetes.io/serviceaccount/token");
}

TEST_CASE("relative paths start from the kubeconfig's directory, bare commands do not") {
    const auto config = parsed("server: 'https://h', certificate-authority: ../pki/ca.crt",
                               "client-certificate: c.crt, client-key: sub/c.key, exec: {apiVersion: "
                               "client.authentication.k8s.io/v1, command: ./bin/login, interactiveMode: Never}");
    CHECK(config.ca.file == "/etc/pki/ca.crt");
    CHECK(config.certificate.file == "/etc/svclb/c.crt");
    CHECK(config.key.file == "/etc/svclb/sub/c.key");
    REQUIRE(config.exec);
    CHECK(config.exec->command == "/etc/svclb/bin/login");
    CHECK(parsed("server: 'https://h'", "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: login}")
              .exec->command == "login");
}

TEST_CASE("what is inline counts before a file, and an empty text is none") {
    const auto config = parsed(
        "server: 'https://h', certificate-authority: gone, certificate-authority-data: " + encode_base64(kCertificate) +
            ", proxy-url: '', tls-server-name: ''",
        "token: '', tokenFile: '', client-certificate: '', client-key-data: '', username: '', password: ''");
    CHECK(config.ca.file.empty());
    CHECK(config.ca.inline_text == kCertificate);
    CHECK_FALSE(config.certificate.given());
    CHECK_FALSE(config.key.given());
    CHECK(config.token_file.empty());
}

TEST_CASE("everything about a plug-in") {
    const auto config = parsed(
        "server: 'https://h', extensions: [{name: other, extension: {a: b}}, {name: client.authentication.k8s.io/exec, "
        "extension: {audience: \"06\", count: 6, yes: true, none: null, list: [a, 'b']}}]",
        "exec: {apiVersion: client.authentication.k8s.io/v1, command: login, args: [a, '1'], env: [{name: A, value: "
        "b}, "
        "{name: B}], installHint: get it, provideClusterInfo: true, interactiveMode: IfAvailable}");
    REQUIRE(config.exec);
    CHECK(config.exec->api_version == "client.authentication.k8s.io/v1");
    CHECK(config.exec->args == std::vector<std::string>{"a", "1"});
    CHECK(config.exec->env == std::vector<std::pair<std::string, std::string>>{{"A", "b"}, {"B", ""}});
    CHECK(config.exec->install_hint == "get it");
    CHECK(config.exec->provide_cluster_info);
    CHECK(config.exec->cluster_config_json == R"({"audience":"06","count":6,"list":["a","b"],"none":null,"yes":true})");
}

TEST_CASE("a token that is given spares the plug-in, as kubectl has it") {
    CHECK_FALSE(parsed("server: 'https://h'", "token: abc, exec: {command: login}").exec);
}

TEST_CASE("the context that is asked for counts, and the others may be anything") {
    const std::string text =
        "current-context: broken\ncontexts:\n- {name: broken, context: 1}\n- {}\n- {name: good, context: {cluster: "
        "g}}\n"
        "clusters:\n- {name: b, cluster: {server: 1}}\n- {name: g, cluster: {server: 'https://h/prefix/'}}\n"
        "users: [{name: b, user: {exec: 1}}]\n";
    CHECK(parse_kubeconfig(text, kFile, "good")->server == ServerUrl{.host = "h", .port = 443, .path = "/prefix"});
    CHECK(error_of(text) == "/etc/svclb/kubeconfig:3: contexts[0].context: not a map: 1");
    CHECK(error_of(text, "ba\nd") == "/etc/svclb/kubeconfig:3: contexts: none with the name ba\\x0ad");
}

TEST_CASE("JSON is a kubeconfig, too") {
    CHECK(parse_kubeconfig(R"({"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://h:1"}}]})",
                           kFile)
              ->server.port == 1);
}

TEST_CASE("what is no kubeconfig") {
    CHECK(error_of("") == "/etc/svclb/kubeconfig: not a map: null");
    CHECK(error_of("[]") == "/etc/svclb/kubeconfig:1: not a map: a list");
    CHECK(error_of("{") == "/etc/svclb/kubeconfig:1: YAML: end of map flow not found");
    CHECK(error_of("{}") == "/etc/svclb/kubeconfig:1: current-context: missing: no context is chosen");
    CHECK(error_of("kind: Service\ncurrent-context: ''") ==
          "/etc/svclb/kubeconfig:1: kind: not Config: Service (and 1 more)");
    CHECK(error_of("current-context: a\n---\n{}\n") == "/etc/svclb/kubeconfig: more than one document");
}

TEST_CASE("a server is an https URL without secrets in it") {
    const auto at = std::string("/etc/svclb/kubeconfig:5: clusters[0].cluster.");
    for (const auto* without : {"", "cluster: '', ", "cluster: !, ", "cluster: null, "})
        CHECK(error_of("current-context: c\ncontexts: [{name: c, context: {" + std::string(without) + "user: u}}]\n") ==
              "/etc/svclb/kubeconfig:2: contexts[0].context.cluster: missing");
    CHECK(cluster_error("{}") == "/etc/svclb/kubeconfig:5: clusters[0].cluster.server: missing");
    for (const auto* wrong :
         {"http://h", "h:6443", "https://", "https://h:0", "https://h:65536", "https://h:1x", "https://[::1",
          "https://[h]", "https://::1", "https://h?x=1", "https://h/a#b", "https://h/a b", "https://h/\\x"})
        CHECK(cluster_error("server: '" + std::string(wrong) + "'") ==
              at + "server: not https://HOST[:PORT][/PREFIX]: " + wrong);
    CHECK(cluster_error("server: 'https://me:secret@h'") == at + "server: a URL with a user name in it");
    CHECK(cluster_error("server: 'https://h', tls-server-name: a/b") == at + "tls-server-name: not a host name: a/b");
    CHECK(cluster_error("server: 'https://h', proxy-url: 'ftp://me:secret@h'") ==
          at + "proxy-url: not an http://, https:// or socks5:// URL");
    CHECK(cluster_error("server: 'https://h', insecure-skip-tls-verify: true") ==
          at + "insecure-skip-tls-verify: true, but the server's certificate is always verified: name its CA instead");
    CHECK(cluster_error("server: 'https://h', insecure-skip-tls-verify: false") == "none");
}

TEST_CASE("no error shows a secret") {
    const auto at = std::string("/etc/svclb/kubeconfig:6: users[0].user.");
    CHECK(user_error("token: [secret]") == at + "token: not a string");
    CHECK(user_error("token: \"sec\\nret\"") == at + "token: holds a character that no token has");
    CHECK(user_error("client-key-data: '!secret!', client-certificate: c") == at + "client-key-data: not base64");
    CHECK(user_error("client-certificate: c, client-key-data: " + encode_base64("secret")) ==
          at + "client-key-data: no PEM block of the kind PRIVATE KEY");
    CHECK(user_error("client-certificate: c, client-key-data: " +
                     encode_base64("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")) ==
          at + "client-key-data: an encrypted key, and nobody to ask for the password");
    CHECK(user_error("client-certificate: c, client-key-data: " +
                     encode_base64("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n")) ==
          at + "client-key-data: an encrypted key, and nobody to ask for the password");
    CHECK(user_error("password: secret") == at + "password: API servers and their clients have dropped it");
    CHECK(user_error("exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: c, env: [{name: A, value: "
                     "[secret]}]}") == at + "exec.env[0].value: not a string");
    CHECK(parsed("server: 'https://h'", "token: 12345").token == "12345");
}

TEST_CASE("what would change who we are is refused where it is not known here") {
    const auto at = std::string("/etc/svclb/kubeconfig:6: users[0].user");
    CHECK(user_error("auth-provider: {name: gcp}") ==
          at + ".auth-provider: API servers and their clients have dropped it");
    CHECK(user_error("as: admin") == at + ".as: impersonation is not supported");
    CHECK(user_error("client-certificate: c.crt") == at + ": client-certificate without client-key");
    CHECK(user_error("client-key: c.key") == at + ": client-key without client-certificate");
}

TEST_CASE("each fault of a plug-in names its field") {
    const auto at = std::string("/etc/svclb/kubeconfig:6: users[0].user.exec");
    const auto exec = [](const std::string& more) {
        return user_error("exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, " + more + "}");
    };
    CHECK(exec("command: ''") == at + ".command: missing");
    CHECK(exec("command: c, args: [{}]") == at + ".args[0]: not a string: a map");
    CHECK(exec("command: c, env: [{name: 'A=B'}]") == at + ".env[0].name: not the name of a variable: A=B");
    CHECK(exec("command: \"a\\0b\"") == at + ".command: holds a zero byte");
    CHECK(exec("command: c, args: [\"a\\0b\"]") == at + ".args: holds a zero byte");
    CHECK(user_error("exec: {apiVersion: client.authentication.k8s.io/v1, command: c}") ==
          at + ".interactiveMode: missing");
    CHECK(user_error("exec: {apiVersion: client.authentication.k8s.io/v1, command: c, interactiveMode: Always}") ==
          at + ".interactiveMode: Always, but an agent has no terminal");
    CHECK(user_error("exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: c}") ==
          at + ".apiVersion: not one of client.authentication.k8s.io/v1, client.authentication.k8s.io/v1beta1: "
               "client.authentication.k8s.io/v1alpha1");
    CHECK(user_error("exec: login") == at + ": not a map: login");
}
