// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// tests/harness/http_server.py in a directory of its own, and what a receiver hears.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "svclb/base/unique_fd.hpp"
#include "svclb/kube/open_transport.hpp"

namespace svclb::kube {

class TempDir {
public:
    TempDir();
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    ~TempDir();
    [[nodiscard]] std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
};

// In one step, as kubelet and cert-manager do.
void write(const std::filesystem::path& file, const std::string& text);
std::string read(const std::filesystem::path& file);

class HttpServer {
public:
    explicit HttpServer(const std::vector<std::string>& options = {});
    HttpServer(const HttpServer&) = delete;
    HttpServer& operator=(const HttpServer&) = delete;
    ~HttpServer();

    nlohmann::json command(const nlohmann::json& command);
    nlohmann::json stats() { return command({{"stats", true}}); }

    [[nodiscard]] std::string url(const std::string& host = "localhost") const {
        return "https://" + host + ":" + std::to_string(port_);
    }
    [[nodiscard]] int proxy_port() const { return proxy_port_; }
    [[nodiscard]] const TempDir& dir() const { return dir_; }

    // A kubeconfig for it, where `cluster` and `user` are more lines of these two in YAML's flow style.
    [[nodiscard]] std::filesystem::path kubeconfig(const std::string& user = "", const std::string& cluster = "",
                                                   const std::string& host = "localhost") const;

private:
    std::string read_line();

    TempDir dir_;
    pid_t pid_ = 0;
    UniqueFd commands_;
    UniqueFd replies_;
    std::string unread_;
    int port_ = 0;
    int proxy_port_ = 0;
};

// Notes every call; `then` may do something within it.
class Heard : public Receiver {
public:
    void on_head(const ResponseHead& head_) override;
    void on_body(std::string_view bytes) override;
    void on_end(const Status& status) override;

    [[nodiscard]] bool ended() const { return end.has_value(); }
    [[nodiscard]] std::string error() const { return end && !*end ? end->error().message() : std::string(); }
    [[nodiscard]] nlohmann::json json() const { return nlohmann::json::parse(body); }

    std::vector<ResponseHead> heads;
    std::string body;
    std::size_t pieces = 0;
    std::optional<Status> end;
    std::function<void()> on_any;
};

// Steps until it holds; false after a time that is long for anything here.
bool run_until(Transport& transport, const std::function<bool()>& holds,
               std::chrono::milliseconds most = std::chrono::seconds(60));
Request to(const std::string& target);
// One request to its end.
Heard get(Transport& transport, const std::string& target);
std::unique_ptr<Transport> opened(const std::filesystem::path& kubeconfig);

}  // namespace svclb::kube
