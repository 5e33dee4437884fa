// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// net_bench serve PORT, and net_bench rr|crr|udp_rr|bulk ADDRESS:PORT --seconds S: one number on standard output.
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

template <class Step>
double per_second(double seconds, Step step) {
    const auto begun = now_us();
    const auto until = begun + static_cast<std::uint64_t>(seconds * 1e6);
    double sum = 0;
    auto now = begun;
    for (; now < until; now = now_us()) sum += step();
    return sum * 1e6 / static_cast<double>(now - begun);
}

double exchanges(const tools::Endpoint& to, double seconds, int type) {
    const auto fd = connect_to(to, type);
    exchange(fd.get());
    return per_second(seconds, [&] {
        exchange(fd.get());
        return 1.0;
    });
}

double connections(const tools::Endpoint& to, double seconds) {
    return per_second(seconds, [&] {
        const auto fd = connect_to(to, SOCK_STREAM);
        exchange(fd.get(), kLast);
        char none = 0;
        if (::recv(fd.get(), &none, 1, 0) != 0) tools::die_errno("recv at the end");
        return 1.0;
    });
}

double bulk(const tools::Endpoint& to, double seconds) {
    const auto fd = connect_to(to, SOCK_STREAM);
    const std::vector<char> data(kBulkSize, 'x');
    return per_second(seconds,
                      [&] {
                          const auto sent = ::send(fd.get(), data.data(), data.size(), MSG_NOSIGNAL);
                          if (sent < 0) tools::die_errno("send");
                          return static_cast<double>(sent) * 8;
                      }) /
           1e9;
}

}  // namespace

int main(int argc, char** argv) {
    std::string mode;
    std::string target;
    double seconds = 1;
    CLI::App app{"one measurement of a path between two pods"};
    app.add_option("mode", mode)->required()->check(CLI::IsMember({"serve", "rr", "crr", "udp_rr", "bulk"}));
    app.add_option("target", target, "PORT of serve, ADDRESS:PORT of the rest")->required();
    app.add_option("--seconds", seconds)->check(CLI::Range(0.05, 60.0));
    CLI11_PARSE(app, argc, argv);

    if (mode == "serve") serve(static_cast<std::uint16_t>(std::stoul(target)));
    const auto to = tools::parse_endpoint(target);
    if (mode == "rr") std::cout << exchanges(to, seconds, SOCK_STREAM) << '\n';
    if (mode == "udp_rr") std::cout << exchanges(to, seconds, SOCK_DGRAM) << '\n';
    if (mode == "crr") std::cout << connections(to, seconds) << '\n';
    if (mode == "bulk") std::cout << bulk(to, seconds) << '\n';
}
