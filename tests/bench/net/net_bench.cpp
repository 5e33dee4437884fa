// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// net_bench serve PORT, and net_bench rr|crr|udp_rr|bulk ADDRESS:PORT [ADDRESS:PORT] --seconds S --rounds N: a line for
// each round, of one number for each target; two are measured in turns.
//   rr      one byte there, one byte back, on one TCP connection: transactions a second
//   crr     connect, one byte there, one byte back, close by the server, then by us: connections a second
//   udp_rr  one datagram there, one back, on one connected socket: transactions a second
//   bulk    as much as goes through one TCP connection: Gbit a second
// One client at a time; the server follows it on one thread.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <iostream>
#include <string>
#include <vector>

#include "endpoint.hpp"
#include "svclb/base/unique_fd.hpp"

namespace {

using svclb::UniqueFd;
using tools::now_us;

constexpr std::size_t kBulkSize = 128UL << 10U;
constexpr int kTimeoutMs = 2000;
// Asks the server to close after its answer: who closes first keeps the port for a minute, and a client without free
// ports measures its kernel's search for one.
constexpr char kLast = 'q';

UniqueFd open_socket(int family, int type) {
    UniqueFd fd{::socket(family, type | SOCK_CLOEXEC, 0)};
    if (!fd) tools::die_errno("socket");
    const int on = 1;
    if (type == SOCK_STREAM) ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

UniqueFd listen_on(std::uint16_t port, int type) {
    auto fd = open_socket(AF_INET6, type);
    const int on = 1;
    const int off = 0;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(port);
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&any), sizeof(any)) != 0) tools::die_errno("bind");
    if (type == SOCK_STREAM && ::listen(fd.get(), SOMAXCONN) != 0) tools::die_errno("listen");
    return fd;
}

// Answers each byte of a small read with one byte; swallows large ones, which are bulk.
bool answer_stream(int fd, std::vector<char>& buffer) {
    const auto got = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0) return false;
    return got > 1 || (::send(fd, buffer.data(), 1, MSG_NOSIGNAL) == 1 && buffer[0] != kLast);
}

void answer_datagram(int fd, std::vector<char>& buffer) {
    sockaddr_storage from{};
    socklen_t size = sizeof(from);
    const auto got = ::recvfrom(fd, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (got >= 0)
        ::sendto(fd, buffer.data(), static_cast<std::size_t>(got), 0, reinterpret_cast<sockaddr*>(&from), size);
}

[[noreturn]] void serve(std::uint16_t port) {
    const auto streams = listen_on(port, SOCK_STREAM);
    const auto datagrams = listen_on(port, SOCK_DGRAM);
    std::vector<UniqueFd> connections;
    std::vector<char> buffer(kBulkSize);
    std::cout << "ready" << std::endl;
    for (;;) {
        std::vector<pollfd> polled{{streams.get(), POLLIN, 0}, {datagrams.get(), POLLIN, 0}};
        for (const auto& connection : connections) polled.push_back({connection.get(), POLLIN, 0});
        if (::poll(polled.data(), polled.size(), -1) < 0) tools::die_errno("poll");
        if (polled[1].revents != 0) answer_datagram(datagrams.get(), buffer);
        for (std::size_t i = polled.size(); i-- > 2;)
            if (polled[i].revents != 0 && !answer_stream(polled[i].fd, buffer))
                connections.erase(connections.begin() + static_cast<std::ptrdiff_t>(i - 2));
        if (polled[0].revents != 0) connections.emplace_back(::accept4(streams.get(), nullptr, nullptr, SOCK_CLOEXEC));
    }
}

UniqueFd connect_to(const tools::Endpoint& to, int type) {
    auto fd = open_socket(to.family(), type);
    if (::connect(fd.get(), to.raw(), to.size) != 0) tools::die_errno("connect");
    const timeval limit{.tv_sec = kTimeoutMs / 1000, .tv_usec = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

void exchange(int fd, char byte = 'x') {
    if (::send(fd, &byte, 1, MSG_NOSIGNAL) != 1) tools::die_errno("send");
    if (::recv(fd, &byte, 1, 0) != 1) tools::die_errno("recv");
}

// One way to be measured. What stays connected does so through all rounds.
class Path {
public:
    Path(std::string mode, const tools::Endpoint& to) : mode_(std::move(mode)), to_(to) {
        if (mode_ == "crr") return;
        fd_ = connect_to(to_, mode_ == "udp_rr" ? SOCK_DGRAM : SOCK_STREAM);
        if (mode_ == "bulk") data_.resize(kBulkSize, 'x');
    }

    // What is done a second, while it is done for so long.
    [[nodiscard]] double rate(double seconds) const {
        const auto begun = now_us();
        const auto until = begun + static_cast<std::uint64_t>(seconds * 1e6);
        double sum = 0;
        auto now = begun;
        for (; now < until; now = now_us()) sum += step();
        return sum * 1e6 / static_cast<double>(now - begun);
    }

private:
    [[nodiscard]] double step() const {
        if (mode_ == "bulk") {
            const auto sent = ::send(fd_.get(), data_.data(), data_.size(), MSG_NOSIGNAL);
            if (sent < 0) tools::die_errno("send");
            return static_cast<double>(sent) * 8 / 1e9;
        }
        if (mode_ != "crr") {
            exchange(fd_.get());
            return 1;
        }
        const auto fd = connect_to(to_, SOCK_STREAM);
        exchange(fd.get(), kLast);
        char none = 0;
        if (::recv(fd.get(), &none, 1, 0) != 0) tools::die_errno("recv at the end");
        return 1;
    }

    std::string mode_;
    tools::Endpoint to_;
    UniqueFd fd_;
    std::vector<char> data_;
};

}  // namespace

int main(int argc, char** argv) {
    std::string mode;
    std::vector<std::string> targets;
    double seconds = 1;
    int rounds = 1;
    CLI::App app{"one measurement of a path, or two of them beside each other"};
    app.add_option("mode", mode)->required()->check(CLI::IsMember({"serve", "rr", "crr", "udp_rr", "bulk"}));
    app.add_option("target", targets, "PORT of serve, ADDRESS:PORT of the rest")->required()->expected(1, 2);
    app.add_option("--seconds", seconds, "of one round")->check(CLI::Range(0.005, 60.0));
    app.add_option("--rounds", rounds)->check(CLI::Range(1, 100000));
    CLI11_PARSE(app, argc, argv);

    if (mode == "serve") serve(static_cast<std::uint16_t>(std::stoul(targets.front())));
    std::vector<Path> paths;
    for (const auto& target : targets) paths.emplace_back(mode, tools::parse_endpoint(target));
    for (const auto& path : paths) (void)path.rate(seconds);  // warm
    std::vector<double> rates(paths.size());
    for (int round = 0; round < rounds; ++round) {
        // Who begins takes turns, so that what changes steadily is nobody's fault.
        for (std::size_t i = 0; i < paths.size(); ++i) {
            const auto turn = (i + static_cast<std::size_t>(round)) % paths.size();
            rates[turn] = paths[turn].rate(seconds);
        }
        for (std::size_t i = 0; i < rates.size(); ++i) std::cout << rates[i] << (i + 1 < rates.size() ? ' ' : '\n');
    }
}
