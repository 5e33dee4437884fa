// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "credentials.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "pem.hpp"
#include "read_file.hpp"
#include "svclb/model/text.hpp"

namespace svclb::kube {

namespace {

Error about(const std::filesystem::path& file, const std::string& what) {
    return Error::invalid(model::printable(file.string(), kLongestPath) + ": " + what);
}

Result<std::string> read_pem(const Pem& source, std::string_view kind) {
    if (source.file.empty()) return source.inline_text;
    auto text = read_file(source.file);
    if (!text) return text;
    if (const auto fault = not_pem(*text, kind)) return fail(about(source.file, *fault));
    return text;
}

Result<std::string> read_token(const Kubeconfig& config) {
    if (config.token_file.empty()) return config.token;
    auto text = read_file(config.token_file);
    if (!text) return text;
    text->erase(0, std::min(text->find_first_not_of(" \t\r\n"), text->size()));
    text->resize(text->find_last_not_of(" \t\r\n") + 1);
    if (text->empty()) return fail(about(config.token_file, "empty"));
    if (const auto fault = not_token(*text)) return fail(about(config.token_file, *fault));
    return text;
}

}  // namespace

Result<std::unique_ptr<Credentials>> Credentials::open(Kubeconfig config, ExecPlugin::Limits limits) {
    std::unique_ptr<Credentials> out(new Credentials(std::move(config)));
    if (auto read = out->read_files(); !read) return fail(read.error());
    if (out->config_.exec) {
        auto plugin = ExecPlugin::open(*out->config_.exec, limits);
        if (!plugin) return fail(plugin.error());
        out->plugin_ = *std::move(plugin);
    }
    return out;
}

// All that can be read is taken; the first problem is told.
Status Credentials::read_files() {
    Status status;
    const auto take = [&status](std::string& last, Result<std::string> now) {
        if (now) {
            last = *std::move(now);
        } else if (status) {
            status = fail(now.error());
        }
    };
    take(last_.ca, read_pem(config_.ca, "CERTIFICATE"));
    take(last_.certificate, read_pem(config_.certificate, "CERTIFICATE"));
    take(last_.key, read_pem(config_.key, "PRIVATE KEY"));
    take(last_.token, read_token(config_));
    return status;
}

void Credentials::tell(const Status& status) {
    auto text = status ? std::string() : status.error().message();
    if (text != told_ && !text.empty()) spdlog::warn("credentials: {}; going on with what was read before", text);
    told_ = std::move(text);
}

Result<std::optional<Identity>> Credentials::current() {
    tell(read_files());
    if (!plugin_) return last_;
    auto given = plugin_->current(exec_info(*config_.exec, config_, last_.ca));
    if (!given) return fail(given.error());
    if (!*given) return std::nullopt;
    auto identity = last_;
    auto& [credential, version] = **given;
    identity.version = version;
    identity.token = std::move(credential.token);
    if (!credential.certificate.empty()) {
        identity.certificate = std::move(credential.certificate);
        identity.key = std::move(credential.key);
    }
    return identity;
}

int Credentials::fd() const {
    return plugin_ ? plugin_->fd() : -1;
}

void Credentials::step() {
    if (plugin_) plugin_->step();
}

Credentials::Clock::time_point Credentials::deadline(bool waiting) const {
    return plugin_ ? plugin_->deadline(waiting) : Clock::time_point::max();
}

void Credentials::rejected(Identity::Version version) {
    if (plugin_) plugin_->rejected(version);
}

}  // namespace svclb::kube
