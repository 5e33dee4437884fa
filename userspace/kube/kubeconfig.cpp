// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Only what the context asks for is looked at. What would change who we are, or how far we trust the server, and is not
// known here is refused and never ignored.
#include "kubeconfig.hpp"

#include <array>
#include <functional>

#include "exec_credential.hpp"
#include "fields.hpp"
#include "pem.hpp"
#include "proxy.hpp"
#include "read.hpp"
#include "svclb/model/text.hpp"
#include "tree.hpp"

namespace svclb::kube {

namespace {

using model::printable;

constexpr std::string_view kExecExtension = "client.authentication.k8s.io/exec";
constexpr std::array kExecVersions{Choice<std::string_view>{"client.authentication.k8s.io/v1", "v1"},
                                   Choice<std::string_view>{"client.authentication.k8s.io/v1beta1", "v1beta1"}};
enum class Interactive : std::uint8_t { never, if_available, always };
constexpr std::array kInteractive{Choice<Interactive>{"Never", Interactive::never},
                                  Choice<Interactive>{"IfAvailable", Interactive::if_available},
                                  Choice<Interactive>{"Always", Interactive::always}};

class Reader {
public:
    Reader(Problems& problems, std::filesystem::path directory)
        : fields_("", problems), directory_(std::move(directory)) {}

    std::optional<Kubeconfig> read(const Value& root, std::string_view context) {
        const Spot top(root);
        if (!fields_.is_map(top)) return std::nullopt;
        const auto kind = fields_.field(top, "kind");
        if (const auto given = text(kind); !given.empty() && given != "Config")
            fields_.refuse(kind, "not Config: " + printable(given));
        const auto version = fields_.field(top, "apiVersion");
        if (const auto given = text(version); !given.empty() && given != "v1")
            fields_.refuse(version, "not v1: " + printable(given));
        const auto current = fields_.field(top, "current-context");
        const auto wanted = context.empty() ? text(current) : std::string(context);
        if (wanted.empty()) {
            fields_.refuse(current, "missing: no context is chosen");
        } else {
            named(top, "contexts", "context", wanted, [&](const Spot& spot) { read_context(top, spot); });
        }
        if (!fields_.valid()) return std::nullopt;
        return std::move(out_);
    }

private:
    // "" is absent to whoever writes kubeconfigs by program.
    std::string text(const Spot& spot) { return fields_.text(spot).value_or(""); }
    std::string text(const Spot& map, std::string_view key) { return text(fields_.field(map, key)); }
    std::filesystem::path path(const Spot& map, std::string_view key) {
        const auto given = text(map, key);
        return given.empty() ? std::filesystem::path() : (directory_ / given).lexically_normal();
    }

    // Calls use(entry.KEY) for the entry of `list` that has this name, the first one.
    void named(const Spot& top, std::string_view list_key, std::string_view key, const std::string& name,
               const std::function<void(const Spot&)>& use) {
        const auto list = fields_.field(top, list_key);
        bool found = false;
        fields_.each(list, [&](const Spot& entry) {
            const auto* given =
                entry && entry.value()->kind == Value::Kind::map ? find(*entry.value(), "name") : nullptr;
            if (found || !given || given->kind != Value::Kind::text || given->text != name) return;
            found = true;
            const auto content = fields_.field(entry, key);
            fields_.require(content);
            if (fields_.is_map(content)) use(content);
        });
        if (!found && fields_.valid()) fields_.refuse(list, "none with the name " + printable(name));
    }

    void read_context(const Spot& top, const Spot& context) {
        const auto cluster = fields_.field(context, "cluster");
        const auto user = fields_.field(context, "user");
        const auto name = text(cluster);
        if (name.empty() && fields_.valid()) fields_.refuse(cluster, "missing");
        if (!name.empty())
            named(top, "clusters", "cluster", name, [&](const Spot& spot) {
                read_cluster(spot);
                // The program may ask for what the cluster says.
                if (const auto user_name = text(user); !user_name.empty())
                    named(top, "users", "user", user_name, [&](const Spot& found) { read_user(found, spot); });
            });
    }

    void read_cluster(const Spot& cluster) {
        const auto server = fields_.field(cluster, "server");
        fields_.require(server);
        if (const auto url = fields_.text(server, not_server_url)) out_.server = *parse_server_url(*url);
        const auto insecure = fields_.field(cluster, "insecure-skip-tls-verify");
        if (fields_.boolean(insecure).value_or(false))
            fields_.refuse(insecure, "true, but the server's certificate is always verified: name its CA instead");
        const auto server_name = fields_.field(cluster, "tls-server-name");
        out_.tls_server_name = text(server_name);
        const auto as_url = parse_server_url("https://" + out_.tls_server_name);
        if (!out_.tls_server_name.empty() && (!as_url || as_url->host != out_.tls_server_name))
            fields_.refuse(server_name, "not a host name: " + printable(out_.tls_server_name));
        const auto proxy = fields_.field(cluster, "proxy-url");
        out_.proxy_url = text(proxy);
        if (!out_.proxy_url.empty()) static_cast<void>(fields_.text(proxy, not_proxy_url));
        out_.ca = pem(cluster, "certificate-authority", "certificate-authority-data", "CERTIFICATE");
    }

    // Secrets: what was given is not shown.
    std::string secret(const Spot& spot) {
        if (!spot) return {};
        if (spot.value()->kind == Value::Kind::text) return spot.value()->text;
        fields_.refuse(spot, "not a string");
        return {};
    }

    Pem pem(const Spot& map, std::string_view file_key, std::string_view data_key, std::string_view what) {
        const auto data = fields_.field(map, data_key);
        const auto encoded = secret(data);
        if (encoded.empty()) return {.inline_text = {}, .file = path(map, file_key)};
        auto decoded = decode_base64(encoded);
        if (!decoded) {
            fields_.refuse(data, "not base64");
        } else if (const auto fault = not_pem(*decoded, what)) {
            fields_.refuse(data, *fault);
        }
        return {.inline_text = std::move(decoded).value_or(""), .file = {}};
    }

    void read_user(const Spot& user, const Spot& cluster) {
        for (const auto* key : {"auth-provider", "username", "password"}) {
            const auto spot = fields_.field(user, key);
            const bool is_empty = spot && spot.value()->kind == Value::Kind::text && spot.value()->text.empty();
            if (spot && !is_empty) fields_.refuse(spot, "API servers and their clients have dropped it");
        }
        for (const auto* key : {"as", "as-uid", "as-groups", "as-user-extra"}) {
            if (const auto spot = fields_.field(user, key)) fields_.refuse(spot, "impersonation is not supported");
        }
        out_.certificate = pem(user, "client-certificate", "client-certificate-data", "CERTIFICATE");
        out_.key = pem(user, "client-key", "client-key-data", "PRIVATE KEY");
        if (out_.certificate.given() != out_.key.given() && fields_.valid())
            fields_.refuse(user, out_.key.given() ? "client-key without client-certificate"
                                                  : "client-certificate without client-key");
        const auto token = fields_.field(user, "token");
        out_.token = secret(token);
        if (const auto fault = not_token(out_.token)) fields_.refuse(token, *fault);
        out_.token_file = path(user, "tokenFile");
        const auto exec = fields_.field(user, "exec");
        // As kubectl has it: a token that is given is the one.
        if (fields_.is_map(exec) && out_.token.empty() && out_.token_file.empty()) read_exec(exec, cluster);
    }

    void read_exec(const Spot& exec, const Spot& cluster) {
        ExecConfig out;
        const auto version = fields_.field(exec, "apiVersion");
        fields_.require(version);
        if (const auto known = fields_.choice(version, kExecVersions)) out.api_version = text(version);
        const auto command = fields_.field(exec, "command");
        out.command = text(command);
        if (out.command.empty()) fields_.refuse(command, "missing");
        // A path starts from the kubeconfig, a bare name is looked for in PATH.
        if (out.command.find('/') != std::string::npos)
            out.command = (directory_ / out.command).lexically_normal().string();
        out.args = fields_.texts(fields_.field(exec, "args"));
        fields_.each_map(fields_.field(exec, "env"), [&](const Spot& entry) {
            const auto name = fields_.field(entry, "name");
            auto given = text(name);
            if (given.empty() || given.find('=') != std::string::npos)
                fields_.refuse(name, "not the name of a variable: " + printable(given));
            out.env.emplace_back(std::move(given), secret(fields_.field(entry, "value")));
        });
        for (const auto& [key, value] : out.env) refuse_zero(exec, "env", key + value);
        for (const auto& arg : out.args) refuse_zero(exec, "args", arg);
        refuse_zero(exec, "command", out.command);
        out.install_hint = text(exec, "installHint");
        const auto mode = fields_.field(exec, "interactiveMode");
        if (out.api_version.ends_with("/v1")) fields_.require(mode);
        if (fields_.choice(mode, kInteractive) == Interactive::always)
            fields_.refuse(mode, "Always, but an agent has no terminal");
        out.provide_cluster_info = fields_.boolean(fields_.field(exec, "provideClusterInfo")).value_or(false);
        if (out.provide_cluster_info) out.cluster_config_json = extension(cluster);
        out_.exec = std::move(out);
    }

    void refuse_zero(const Spot& map, std::string_view key, const std::string& given) {
        if (given.find('\0') != std::string::npos) fields_.refuse(fields_.field(map, key), "holds a zero byte");
    }

    // What the cluster's author has to say to the program.
    std::string extension(const Spot& cluster) {
        std::string out;
        fields_.each_map(fields_.field(cluster, "extensions"), [&](const Spot& entry) {
            if (text(entry, "name") != kExecExtension) return;
            const auto content = fields_.field(entry, "extension");
            if (content) out = to_json(*content.value());
        });
        return out;
    }

    Fields fields_;
    std::filesystem::path directory_;
    Kubeconfig out_;
};

// One line: the first problem and how many more there are.
Error first_of(const std::filesystem::path& file, std::vector<DecodeProblem> problems) {
    auto text = to_string(printable(file.string()), problems.front());
    if (problems.size() > 1) text += " (and " + std::to_string(problems.size() - 1) + " more)";
    return Error::invalid(std::move(text));
}

}  // namespace

Result<Kubeconfig> parse_kubeconfig(std::string_view text, const std::filesystem::path& file,
                                    std::string_view context) {
    Problems problems;
    std::optional<TreeBuilder> builder;
    Value root;
    std::size_t documents = 0;
    const auto error = read_yaml(
        text, 1, [&]() -> TreeBuilder& { return builder.emplace([](const Value& /*item*/) {}); },
        [&] {
            if (++documents == 1) root = builder->take_root();
        });
    std::optional<Kubeconfig> config;
    if (error) {
        problems.add({.line = error->line, .object = "", .field = "", .what = error->what});
    } else if (documents > 1) {
        problems.add({.line = 0, .object = "", .field = "", .what = "more than one document"});
    } else {
        config = Reader(problems, file.parent_path()).read(root, context);
    }
    if (!config) return fail(first_of(file, problems.take()));
    return *std::move(config);
}

}  // namespace svclb::kube
