// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Real programs (shell scripts) as credential plug-ins.
#include "exec_plugin.hpp"

#include <poll.h>

#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <csignal>
#include <cstdlib>
#include <sstream>

#include "credentials.hpp"
#include "transport.hpp"
#include "transport_fixture.hpp"

using namespace svclb;
using namespace svclb::kube;
using Catch::Matchers::ContainsSubstring;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

constexpr const char* kVersion = "client.authentication.k8s.io/v1";

std::string credential(const std::string& status) {
    return R"({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": )" + status + "}";
}

// A script in a directory of its own, that the plug-in runs.
class Script {
public:
    explicit Script(const std::string& body,
                    ExecPlugin::Limits limits = {.run = seconds(20), .pause = milliseconds(0)}) {
        write(dir_ / "script", "#!/bin/sh\ncd '" + dir_.path().string() + "'\necho run >> runs\n" + body);
        std::filesystem::permissions(dir_ / "script", std::filesystem::perms::owner_all);
        config.api_version = kVersion;
        config.command = dir_ / "script";
        limits_ = limits;
    }

    ExecPlugin& plugin() {
        if (!plugin_) plugin_ = ExecPlugin::open(config, limits_).value();
        return *plugin_;
    }
    // What current() gives in the end.
    Result<ExecPlugin::Given> wait() {
        const auto end = ExecPlugin::Clock::now() + seconds(30);
        while (ExecPlugin::Clock::now() < end) {
            auto now = plugin().current("{}");
            if (!now) return fail(now.error());
            if (*now) return **now;
            const auto next = std::min(plugin().deadline(true), end) - ExecPlugin::Clock::now();
            pollfd ready{.fd = plugin().fd(), .events = POLLIN, .revents = 0};
            ::poll(&ready, 1, static_cast<int>(std::chrono::ceil<milliseconds>(next).count()));
            plugin().step();
        }
        return fail(Error::invalid("no end"));
    }
    std::string error() {
        const auto given = wait();
        return given ? "none" : given.error().message();
    }
    [[nodiscard]] std::size_t runs() const {
        return std::filesystem::exists(dir_ / "runs") ? std::filesystem::file_size(dir_ / "runs") / 4 : 0;
    }
    [[nodiscard]] std::string output(const std::string& file) const { return read(dir_ / file); }
    [[nodiscard]] const TempDir& dir() const { return dir_; }
    [[nodiscard]] std::string name() const { return "exec plug-in " + (dir_ / "script").string(); }

    ExecConfig config;

private:
    TempDir dir_;
    ExecPlugin::Limits limits_;
    std::unique_ptr<ExecPlugin> plugin_;
};

// A transport whose kubeconfig names the script, without the pause of ten seconds.
std::unique_ptr<Transport> opened_with(const HttpServer& server, const Script& script) {
    const auto file = server.kubeconfig(
        "exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, "
        "command: " +
        script.config.command + "}");
    auto config = parse_kubeconfig(read(file), file).value();
    Route route{.server = config.server, .tls_server_name = "", .proxy = ""};
    auto credentials = Credentials::open(std::move(config), {.run = seconds(20), .pause = milliseconds(100)});
    return CurlTransport::open(std::move(route), std::move(credentials).value()).value();
}

class Log {
public:
    Log() : before_(spdlog::default_logger()) {
        spdlog::set_default_logger(
            std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_)));
    }
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;
    ~Log() { spdlog::set_default_logger(before_); }
    [[nodiscard]] std::string text() const { return text_.str(); }

private:
    std::ostringstream text_;
    std::shared_ptr<spdlog::logger> before_;
};

}  // namespace

TEST_CASE("a plug-in is run once, and what it gave is used until it expires") {
    Script script("echo '" + credential(R"({"token": "abc", "expirationTimestamp": "2999-01-01T00:00:00Z"})") + "'");
    const auto first = script.wait();
    REQUIRE(first);
    CHECK(first->credential.token == "abc");
    CHECK(script.wait()->version == first->version);
    CHECK(script.runs() == 1);
}

TEST_CASE("a plug-in is run again after it expired or was rejected, and not for what is older") {
    Script expired("echo '" + credential(R"({"token": "abc", "expirationTimestamp": "2001-01-01T00:00:00Z"})") + "'",
                   {.run = seconds(20), .pause = std::chrono::hours(1)});
    REQUIRE(expired.wait());
    // Sooner than the pause allows, what there is has to do.
    CHECK(expired.wait()->credential.token == "abc");
    CHECK(expired.runs() == 1);

    Script rejected("echo '" + credential(R"({"token": "abc"})") + "'");
    const auto first = rejected.wait();
    REQUIRE(first);
    rejected.plugin().rejected(first->version);
    const auto second = rejected.wait();
    REQUIRE(second);
    CHECK(second->version != first->version);
    rejected.plugin().rejected(first->version);
    CHECK(rejected.wait()->version == second->version);
    CHECK(rejected.runs() == 2);
}

TEST_CASE("runs that fail are not repeated more often than the pause allows") {
    const auto pause = milliseconds(300);
    Script script("exit 3", {.run = seconds(20), .pause = pause});
    const auto begin = ExecPlugin::Clock::now();
    for (int i = 0; i < 3; ++i) CHECK(script.error() == script.name() + ": exit status 3");
    CHECK(ExecPlugin::Clock::now() - begin >= 2 * pause);
    CHECK(script.runs() == 3);
}

TEST_CASE("a plug-in gets its arguments and environment, no input and none of our descriptors") {
    ::setenv("SVCLB_TEST_KEPT", "kept", 1);
    ::setenv("SVCLB_TEST_REPLACED", "before", 1);
    Script script(
        "printf '%s|' \"$@\" > arguments; env > environment; wc -c > input; ls -l /proc/self/fd > descriptors\n"
        "grep -E '^Sig(Blk|Ign)' /proc/self/status > signals\necho '" +
        credential(R"({"token": "abc"})") + "'");
    script.config.args = {"one", "two words", "$(three)"};
    script.config.env = {{"SVCLB_TEST_REPLACED", "after"}, {"NEW", "a=b"}};
    sigset_t blocked{};
    ::sigemptyset(&blocked);
    ::sigaddset(&blocked, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
    const auto before = std::signal(SIGPIPE, SIG_IGN);
    REQUIRE(script.wait());
    ::sigprocmask(SIG_UNBLOCK, &blocked, nullptr);
    std::signal(SIGPIPE, before);
    CHECK(script.output("arguments") == "one|two words|$(three)|");
    const auto environment = "\n" + script.output("environment");
    CHECK_THAT(environment, ContainsSubstring("\nSVCLB_TEST_KEPT=kept\n") &&
                                ContainsSubstring("\nSVCLB_TEST_REPLACED=after\n") &&
                                ContainsSubstring("\nNEW=a=b\n") && ContainsSubstring("\nKUBERNETES_EXEC_INFO={}\n") &&
                                !ContainsSubstring("SVCLB_TEST_REPLACED=before"));
    CHECK(std::stoi(script.output("input")) == 0);
    CHECK_THAT(script.output("descriptors"), !ContainsSubstring("anon_inode") && ContainsSubstring(" 0 -> /dev/null"));
    // The C library keeps two signals from 32 on for itself.
    const auto signals = script.output("signals");
    CHECK_THAT(signals, ContainsSubstring("SigBlk:\t0000000000000000\n"));
    CHECK((std::stoull(signals.substr(signals.find("SigIgn:") + 7), nullptr, 16) & 0x7fffffffU) == 0);
}

TEST_CASE("each way to fail has its words") {
    CHECK(Script("kill -9 $$").error().ends_with(": killed by signal 9"));
    CHECK_THAT(Script("").error(), ContainsSubstring(": ExecCredential: "));
    CHECK_THAT(Script("echo garbage").error(), ContainsSubstring(": ExecCredential: "));
    CHECK_THAT(Script("head -c 2000000 /dev/zero").error(), ContainsSubstring("more than 1 MiB of output"));
    CHECK_THAT(Script("yes").error(), ContainsSubstring("more than 1 MiB of output"));

    Script missing("");
    missing.config.command = "/nowhere/login";
    missing.config.install_hint = "see\n\033[1mhttps://example.com";
    CHECK(missing.error() ==
          "exec plug-in /nowhere/login: cannot start it: No such file or directory "
          "(see\\x0a\\x1b[1mhttps://example.com)");
    CHECK(missing.runs() == 0);
}

TEST_CASE("a plug-in that does not end is ended, with what it started") {
    Script script("sleep 1000 & echo $! > child; wait", {.run = milliseconds(3000), .pause = milliseconds(0)});
    CHECK(script.error() == script.name() + ": no end after 3000 ms");
    const auto child = std::stoi(script.output("child"));
    for (int i = 0; i < 200 && ::kill(child, 0) == 0; ++i) {
        // Its last parent collects it some time.
        const auto status = "/proc/" + std::to_string(child) + "/stat";
        std::error_code gone;
        if (!std::filesystem::exists(status, gone) || read(status).find(") Z ") != std::string::npos) break;
        ::poll(nullptr, 0, 50);
    }
    const bool alive =
        ::kill(child, 0) == 0 && read("/proc/" + std::to_string(child) + "/stat").find(") Z ") == std::string::npos;
    CHECK_FALSE(alive);
}

TEST_CASE("who holds the output open does not hold us up") {
    Script script("sleep 1000 & echo '" + credential(R"({"token": "abc"})") + "'");
    const auto given = script.wait();
    REQUIRE(given);
    CHECK(given->credential.token == "abc");
}

TEST_CASE("what a plug-in writes to standard error is in the log, line by line, escaped and bounded") {
    const Log log;
    Script script(
        "printf 'please\\033[31m log in\\nunfinished' >&2; for i in $(seq 100); do echo line$i >&2; done; exit 1");
    CHECK(script.error() == script.name() + ": exit status 1");
    CHECK_THAT(log.text(), ContainsSubstring(script.name() + ": please\\x1b[31m log in\n") &&
                               ContainsSubstring(": unfinishedline1\n") && ContainsSubstring(": 81 more lines\n") &&
                               !ContainsSubstring("line50"));
}

TEST_CASE("requests wait for the plug-in, and a rejected credential runs it again") {
    HttpServer server;
    Script script(
        "test -e stale && token=stale-token || token=first-token; rm -f stale\n"
        "echo '" +
        credential(R"({"token": "'$token'"})") + "'");
    write(script.dir() / "stale", "");
    const auto transport = opened_with(server, script);
    CHECK(transport->fd() >= 0);
    std::array<Heard, 3> waiting;
    for (auto& heard : waiting) transport->send(to("/private"), heard);
    for (auto& heard : waiting) {
        REQUIRE(run_until(*transport, [&] { return heard.ended(); }));
        CHECK(heard.heads.at(0).status == 401);
    }
    CHECK(script.runs() == 1);
    // The pause between two runs passes first.
    CHECK(get(*transport, "/private").heads.at(0).status == 200);
    CHECK(get(*transport, "/private").heads.at(0).status == 200);
    CHECK(script.runs() == 2);
}

TEST_CASE("a plug-in that fails fails those who wait, with its words") {
    HttpServer server;
    Script script("exit 1");
    const auto transport = opened_with(server, script);
    const auto heard = get(*transport, "/private");
    CHECK(heard.heads.empty());
    CHECK(heard.error() == server.url() + ": GET /private: " + script.name() + ": exit status 1");
}

TEST_CASE("a request that waits for the plug-in can be cancelled") {
    HttpServer server;
    Script script("sleep 1000");
    const auto transport = opened_with(server, script);
    Heard heard;
    const auto id = transport->send(to("/private"), heard);
    REQUIRE(run_until(*transport, [&] { return script.runs() == 1; }));
    transport->cancel(id);
    run_until(
        *transport, [&] { return false; }, milliseconds(100));
    CHECK_FALSE(heard.ended());
}

TEST_CASE("a certificate from a plug-in is shown to the server") {
    HttpServer server({"--client-certificate"});
    const auto quoted = [&](const char* file) { return nlohmann::json(read(server.dir() / file)).dump(); };
    Script script("cat credential");
    write(script.dir() / "credential", credential(R"({"clientCertificateData": )" + quoted("client.crt") +
                                                  R"(, "clientKeyData": )" + quoted("client.key") + "}"));
    const auto transport = opened_with(server, script);
    CHECK(get(*transport, "/echo").json()["client"] == "test-client");
}
