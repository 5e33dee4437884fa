// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// connect_load: opens, asks and closes many connections to one ADDRESS:PORT served by pod_server, and prints one line
// of JSON: how many went well, which backend answered how often, every kind of failure, and the slowest. With --hold it
// keeps the connections, idle, and asks each of them again whenever a line arrives on its standard input.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <csignal>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "endpoint.hpp"
#include "svclb/base/unique_fd.hpp"

namespace {

constexpr time_t kHeldPatienceS = 20;

struct Options {
    std::string to;
    std::uint64_t connections = 0;  // 0 = until the time is over
    double seconds = 0;             // 0 = until the number is reached
    double rate = 0;                // connections begun a second; 0 = as fast as they go
    unsigned concurrency = 8;
    std::uint64_t timeout_ms = 20000;
    bool udp = false;
    bool reset = false;
    bool bye = false;
    bool hold = false;
    std::string log;
};

struct Attempt {
    svclb::UniqueFd fd;
    std::uint64_t begun_us = 0;
    std::uint64_t begun_realtime_us = 0;
    bool asked = false;
    std::string answer;
};

class Load {
public:
    explicit Load(Options options)
        : options_(std::move(options)), to_(tools::parse_endpoint(options_.to)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
        if (!options_.log.empty()) log_.open(options_.log);
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGINT);
        sigprocmask(SIG_BLOCK, &signals, nullptr);
        stop_ = svclb::UniqueFd(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
        watch(stop_.get(), EPOLLIN);
    }

    void run() {
        started_us_ = tools::now_us();
        while (more_to_begin() || !attempts_.empty()) {
            while (more_to_begin() && attempts_.size() < options_.concurrency && due()) begin();
            wait_for_events();
            expire();
        }
        seconds_ = static_cast<double>(tools::now_us() - started_us_) / 1e6;
    }

    // One question on each held connection; what fails leaves the set.
    void ask_held() {
        std::vector<svclb::UniqueFd> alive;
        for (auto& fd : held_) {
            fcntl(fd.get(), F_SETFL, 0);
            const timeval patience{.tv_sec = kHeldPatienceS, .tv_usec = 0};
            setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            std::array<char, 256> buffer{};
            const ssize_t sent = send(fd.get(), "again\n", 6, MSG_NOSIGNAL);
            const ssize_t got = sent < 0 ? -1 : recv(fd.get(), buffer.data(), buffer.size(), 0);
            if (got > 0) {
                alive.push_back(std::move(fd));
            } else {
                ++errors_[got == 0 ? "closed by peer" : std::generic_category().message(errno)];
            }
        }
        ok_ = alive.size();
        failed_ = held_.size() - alive.size();
        held_ = std::move(alive);
    }

    void print() const {
        const nlohmann::json summary = {{"ok", ok_},
                                        {"failed", failed_},
                                        {"backends", backends_},
                                        {"errors", errors_},
                                        {"seconds", seconds_},
                                        {"mean_ms", ok_ == 0 ? 0.0 : total_ms_ / static_cast<double>(ok_)},
                                        {"max_ms", max_ms_},
                                        {"first_failure_ms", first_failure_ms_.value_or(0.0)}};
        std::cout << summary.dump() << std::endl;
    }

    [[nodiscard]] bool failed() const { return failed_ != 0; }

private:
    [[nodiscard]] bool more_to_begin() const {
        if (stopped_) return false;
        if (options_.connections != 0 && begun_ >= options_.connections) return false;
        return options_.seconds == 0 || static_cast<double>(tools::now_us() - started_us_) < options_.seconds * 1e6;
    }

    [[nodiscard]] bool due() const {
        if (options_.rate == 0) return true;
        return static_cast<double>(begun_) <= static_cast<double>(tools::now_us() - started_us_) / 1e6 * options_.rate;
    }

    void watch(int fd, std::uint32_t events) const {
        epoll_event event{};
        event.events = events;
        event.data.fd = fd;
        if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) tools::die_errno("epoll_ctl");
    }

    void begin() {
        ++begun_;
        const int type = options_.udp ? SOCK_DGRAM : SOCK_STREAM;
        svclb::UniqueFd fd(socket(to_.family(), type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!fd) tools::die_errno("socket");
        Attempt attempt;
        attempt.begun_us = tools::now_us();
        attempt.begun_realtime_us = tools::now_us(CLOCK_REALTIME);
        const int number = fd.get();
        const int connected = connect(number, to_.raw(), to_.size);
        const int error = errno;
        attempt.fd = std::move(fd);
        if (connected != 0 && error != EINPROGRESS) {
            finish(attempt, std::generic_category().message(error));
            return;
        }
        watch(number, EPOLLOUT | EPOLLIN);
        attempts_.emplace(number, std::move(attempt));
    }

    void wait_for_events() {
        std::array<epoll_event, 256> events{};
        const int ready = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 1);
        for (int i = 0; i < ready; ++i) {
            const int fd = events.at(static_cast<std::size_t>(i)).data.fd;
            if (fd == stop_.get()) {
                stopped_ = true;
                continue;
            }
            const auto found = attempts_.find(fd);
            if (found == attempts_.end()) continue;
            if (const auto outcome = step(found->second)) {
                Attempt attempt = std::move(found->second);
                attempts_.erase(found);
                finish(attempt, *outcome);
            }
        }
    }

    // Nothing while the attempt goes on, an empty text when it went well, else what went wrong.
    std::optional<std::string> step(Attempt& attempt) const {
        const int fd = attempt.fd.get();
        if (!attempt.asked) {
            int error = 0;
            socklen_t size = sizeof error;
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
            if (error != 0) return std::generic_category().message(error);
            const std::string question = options_.bye ? "bye\n" : "hi\n";
            if (send(fd, question.data(), question.size(), MSG_NOSIGNAL) < 0)
                return std::generic_category().message(errno);
            attempt.asked = true;
            epoll_event event{};
            event.events = EPOLLIN;
            event.data.fd = fd;
            epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
            return std::nullopt;
        }
        std::array<char, 512> buffer{};
        const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
        if (got < 0) return errno == EAGAIN ? std::nullopt : std::optional(std::generic_category().message(errno));
        if (got > 0) attempt.answer.append(buffer.data(), static_cast<std::size_t>(got));
        const bool whole = attempt.answer.find('\n') != std::string::npos;
        if (got == 0)
            return whole && options_.bye ? std::optional(std::string{}) : std::optional<std::string>("closed by peer");
        if (whole && !options_.bye) return std::string{};
        return std::nullopt;
    }

    void finish(Attempt& attempt, const std::string& error) {
        const double ms = static_cast<double>(tools::now_us() - attempt.begun_us) / 1e3;
        const std::string name = error.empty() ? attempt.answer.substr(0, attempt.answer.find(' ')) : error;
        if (error.empty()) {
            ++ok_;
            ++backends_[name];
            total_ms_ += ms;
            max_ms_ = std::max(max_ms_, ms);
        } else {
            ++failed_;
            ++errors_[name];
            if (!first_failure_ms_) first_failure_ms_ = ms;
        }
        if (log_.is_open()) log_ << attempt.begun_realtime_us << ' ' << ms << ' ' << name << std::endl;
        if (options_.hold && error.empty()) {
            epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, attempt.fd.get(), nullptr);
            held_.push_back(std::move(attempt.fd));
        } else if (options_.reset && !options_.udp) {
            const linger at_once{.l_onoff = 1, .l_linger = 0};
            setsockopt(attempt.fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        }
    }

    void expire() {
        const auto now = tools::now_us();
        if (now - swept_us_ < 50'000) return;
        swept_us_ = now;
        for (auto it = attempts_.begin(); it != attempts_.end();) {
            if (now - it->second.begun_us < options_.timeout_ms * 1000) {
                ++it;
                continue;
            }
            Attempt attempt = std::move(it->second);
            it = attempts_.erase(it);
            finish(attempt, attempt.asked ? "no answer" : "no connection");
        }
    }

    Options options_;
    tools::Endpoint to_;
    svclb::UniqueFd epoll_;
    svclb::UniqueFd stop_;
    std::ofstream log_;
    std::unordered_map<int, Attempt> attempts_;
    std::vector<svclb::UniqueFd> held_;
    bool stopped_ = false;
    std::uint64_t begun_ = 0;
    std::uint64_t started_us_ = 0;
    std::uint64_t swept_us_ = 0;
    std::uint64_t ok_ = 0;
    std::uint64_t failed_ = 0;
    double seconds_ = 0;
    double total_ms_ = 0;
    double max_ms_ = 0;
    std::optional<double> first_failure_ms_;
    std::map<std::string, std::uint64_t> backends_;
    std::map<std::string, std::uint64_t> errors_;
};

}  // namespace

int main(int argc, char** argv) try {
    Options options;
    CLI::App app{"Opens, asks and closes connections, and says what came of them"};
    app.add_option("to", options.to, "ADDRESS:PORT, an IPv6 address in brackets")->required();
    app.add_option("--connections", options.connections, "how many; 0 = until the time is over");
    app.add_option("--seconds", options.seconds, "how long; 0 = until the number is reached");
    app.add_option("--rate", options.rate, "connections begun a second");
    app.add_option("--concurrency", options.concurrency, "connections at one time");
    app.add_option("--timeout-ms", options.timeout_ms, "when a connection counts as failed");
    app.add_option("--log", options.log, "file: begin (microseconds since 1970), milliseconds, backend or failure");
    app.add_flag("--udp", options.udp, "datagrams, each from a new socket");
    app.add_flag("--reset", options.reset, "close with RST, so that no TIME_WAIT stays");
    app.add_flag("--bye", options.bye, "have the server close first, so that the client's port is free at once");
    app.add_flag("--hold", options.hold, "keep the connections; ask again for each line on standard input");
    CLI11_PARSE(app, argc, argv);
    if (options.connections == 0 && options.seconds == 0) tools::die("--connections or --seconds is needed");

    Load load(options);
    load.run();
    load.print();
    if (options.hold) {
        for (std::string line; std::getline(std::cin, line);) {
            load.ask_held();
            load.print();
        }
    }
    return load.failed() ? 1 : 0;
} catch (const std::exception& error) {
    tools::die(error.what());
}
