// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Any bytes into the parsers of kubeconfigs and of what credential plug-ins print; what comes out must keep the
// promises that the transport and posix_spawn rely on.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "exec_credential.hpp"
#include "kubeconfig.hpp"
#include "pem.hpp"
#include "proxy.hpp"

namespace {

using namespace svclb;

void require(bool holds) {
    if (!holds) std::abort();
}

void require_printable(const Error& error) {
    for (const char c : error.message()) require(c >= 0x20 && c < 0x7f);
}

void require_no_zero(const std::string& text) {
    require(text.find('\0') == std::string::npos);
}

void require_pem(const kube::Pem& pem, std::string_view kind) {
    if (!pem.inline_text.empty()) require(!kube::not_pem(pem.inline_text, kind));
}

void check(const kube::Kubeconfig& config) {
    require(kube::parse_server_url(config.server.text()) == config.server);
    require(config.tls_server_name.empty() || kube::parse_server_url("https://" + config.tls_server_name));
    require(config.proxy_url.empty() || !kube::not_proxy_url(config.proxy_url));
    require(!kube::not_token(config.token));
    require_pem(config.ca, "CERTIFICATE");
    require_pem(config.certificate, "CERTIFICATE");
    require_pem(config.key, "PRIVATE KEY");
    require(config.certificate.given() == config.key.given());
    if (!config.exec) return;
    require(!config.exec->command.empty());
    require_no_zero(config.exec->command);
    for (const auto& arg : config.exec->args) require_no_zero(arg);
    for (const auto& [name, value] : config.exec->env) require_no_zero(name + value);
    require_no_zero(kube::exec_info(*config.exec, config, config.ca.inline_text));
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer calls it by this name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto config = kube::parse_kubeconfig(text, "/dir/kubeconfig");
    if (config) {
        check(*config);
    } else {
        require_printable(config.error());
    }
    const auto credential = kube::parse_exec_credential(text, "client.authentication.k8s.io/v1");
    if (credential) {
        require(!kube::not_token(credential->token));
        require(credential->certificate.empty() == credential->key.empty());
        require(!credential->token.empty() || !credential->certificate.empty());
    } else {
        require_printable(credential.error());
    }
    return 0;
}
