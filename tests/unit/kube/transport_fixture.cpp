// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "transport_fixture.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>

namespace svclb::kube {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

// A machine's own proxies are none of these tests' business; those that want one name it.
[[maybe_unused]] const bool no_proxies = [] {
    for (const char* name : {"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"})
        ::unsetenv(name);
    return true;
}();

}  // namespace

TempDir::TempDir() {
    auto path = (fs::temp_directory_path() / "svclb-transport-XXXXXX").string();
    REQUIRE(::mkdtemp(path.data()) != nullptr);
    path_ = path;
}

TempDir::~TempDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

void write(const fs::path& file, const std::string& text) {
    const auto draft = file.string() + ".new";
    std::ofstream out(draft, std::ios::binary | std::ios::trunc);
    out << text;
    out.close();
    REQUIRE(out);
    fs::rename(draft, file);
}

std::string read(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    REQUIRE(in);
    return {std::istreambuf_iterator<char>(in), {}};
}

HttpServer::HttpServer(const std::vector<std::string>& options) {
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    REQUIRE(::pipe2(in.data(), O_CLOEXEC) == 0);
    REQUIRE(::pipe2(out.data(), O_CLOEXEC) == 0);
    std::vector<std::string> words{SVCLB_HTTP_SERVER, dir_.path().string()};
    words.insert(words.end(), options.begin(), options.end());
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions{};
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    const int error = ::posix_spawn(&pid_, arguments[0], &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    commands_ = UniqueFd(in[1]);
    replies_ = UniqueFd(out[0]);
    REQUIRE(error == 0);
    const auto ready = json::parse(read_line());
    port_ = ready.at("port");
    proxy_port_ = ready.value("proxy", 0);
}

HttpServer::~HttpServer() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
}

json HttpServer::command(const json& command) {
    const auto line = command.dump() + "\n";
    REQUIRE(::write(commands_.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size()));
    return json::parse(read_line());
}

std::string HttpServer::read_line() {
    while (true) {
        if (const auto end = unread_.find('\n'); end != std::string::npos) {
            auto line = unread_.substr(0, end);
            unread_.erase(0, end + 1);
            return line;
        }
        std::array<char, 4096> buffer{};
        const auto length = ::read(replies_.get(), buffer.data(), buffer.size());
        REQUIRE(length > 0);
        unread_.append(buffer.data(), static_cast<std::size_t>(length));
    }
}

fs::path HttpServer::kubeconfig(const std::string& user, const std::string& cluster, const std::string& host) const {
    auto file = dir_ / "kubeconfig";
    write(file,
          "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
          "clusters: [{name: c, cluster: {server: '" +
              url(host) + "', " +
              (cluster.find("certificate-authority") == std::string::npos ? "certificate-authority: ca.crt, " : "") +
              cluster + "}}]\nusers: [{name: u, user: {" + user + "}}]\n");
    return file;
}

void Heard::on_head(const ResponseHead& head) {
    CHECK(heads.empty());
    CHECK(body.empty());
    CHECK_FALSE(ended());
    heads.push_back(head);
    if (on_any) on_any();
}

void Heard::on_body(std::string_view bytes) {
    CHECK(heads.size() == 1);
    CHECK_FALSE(ended());
    body += bytes;
    ++pieces;
    if (on_any) on_any();
}

void Heard::on_end(const Status& status) {
    CHECK_FALSE(ended());
    end = status;
    if (on_any) on_any();
}

bool run_until(Transport& transport, const std::function<bool()>& holds, std::chrono::milliseconds most) {
    const auto end = std::chrono::steady_clock::now() + most;
    while (!holds()) {
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        if (left.count() <= 0) return false;
        // The transport has to wake us whenever it has something to do; 50 ms are for what only the server knows.
        pollfd ready{.fd = transport.fd(), .events = POLLIN, .revents = 0};
        const int count = ::poll(&ready, 1, static_cast<int>(std::min<long>(left.count(), 50)));
        if (count > 0) transport.step();
    }
    return true;
}

Request to(const std::string& target) {
    Request request;
    request.target = target;
    return request;
}

Heard get(Transport& transport, const std::string& target) {
    Heard heard;
    transport.send(to(target), heard);
    REQUIRE(run_until(transport, [&] { return heard.ended(); }));
    return heard;
}

std::unique_ptr<Transport> opened(const fs::path& kubeconfig) {
    auto server = open_transport(kubeconfig);
    if (!server) FAIL(server.error().message());
    return std::move(server->transport);
}

}  // namespace svclb::kube
