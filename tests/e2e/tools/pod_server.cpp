// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// pod_server NAME PORT...: what runs in a test pod. Each port serves TCP and UDP, IPv4 and IPv6, and answers with its
// own name: an HTTP request with a page, any other line with "NAME LINE", a datagram with "NAME DATAGRAM", from the
// address that was asked. Connections stay open unless HTTP says "Connection: close" or the line is "bye". A line or
// datagram "peer" is answered with "NAME ADDRESS", whom this end sees, and is the last as well. SCTP is served as TCP
// is, where the kernel has it. It writes "ready" once it serves.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "endpoint.hpp"

namespace {

enum class Role { listener, datagrams, connection };

// What many clients send at once is not to be lost here: a test would take it for the node's fault.
constexpr int kDatagramsBytes = 8 << 20;

struct Socket {
    Role role = Role::connection;
    std::string pending;  // received, not yet a whole request
};

class Server {
public:
    explicit Server(std::string name) : name_(std::move(name)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
        if (epoll_ < 0) tools::die_errno("epoll_create1");
    }

    void serve_port(std::uint16_t port) {
        listen_on(port, SOCK_STREAM, Role::listener);
        listen_on(port, SOCK_DGRAM, Role::datagrams);
        if (has_sctp()) listen_on(port, SOCK_STREAM, Role::listener, IPPROTO_SCTP);
    }

    [[noreturn]] void run() {
        std::array<epoll_event, 256> events{};
        for (;;) {
            const int ready = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
            for (int i = 0; i < ready; ++i) handle(events.at(static_cast<std::size_t>(i)).data.fd);
        }
    }

private:
    static bool has_sctp() {
        const int fd = socket(AF_INET6, SOCK_STREAM, IPPROTO_SCTP);
        if (fd >= 0) close(fd);
        return fd >= 0;
    }

    void listen_on(std::uint16_t port, int type, Role role, int protocol = 0) {
        const int fd = socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
        const int on = 1;
        sockaddr_in6 any{};
        any.sin6_family = AF_INET6;
        any.sin6_port = htons(port);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kDatagramsBytes, sizeof kDatagramsBytes);
        if (fd < 0 || bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0 ||
            (type == SOCK_STREAM && listen(fd, 4096) != 0))
            tools::die_errno("listen on port " + std::to_string(port));
        watch(fd, role);
    }

    void watch(int fd, Role role) {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.fd = fd;
        if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) tools::die_errno("epoll_ctl");
        sockets_[fd] = Socket{role, {}};
    }

    void handle(int fd) {
        const auto found = sockets_.find(fd);
        if (found == sockets_.end()) return;
        switch (found->second.role) {
            case Role::listener:
                accept_all(fd);
                break;
            case Role::datagrams:
                answer_datagrams(fd);
                break;
            case Role::connection:
                if (!answer_stream(fd, found->second)) {
                    close(fd);
                    sockets_.erase(found);
                }
                break;
        }
    }

    void accept_all(int fd) {
        for (int peer = -1; (peer = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;)
            watch(peer, Role::connection);
    }

    void answer_datagrams(int fd) {
        std::array<char, 2048> buffer{};
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(in6_pktinfo))> asked{};
        sockaddr_in6 peer{};
        for (;;) {
            iovec data{buffer.data(), buffer.size()};
            msghdr message{&peer, sizeof peer, &data, 1, asked.data(), asked.size(), 0};
            const ssize_t got = recvmsg(fd, &message, 0);
            if (got < 0) return;
            if (cmsghdr* header = CMSG_FIRSTHDR(&message)) {
                // The way back is the routing table's to choose.
                reinterpret_cast<in6_pktinfo*>(CMSG_DATA(header))->ipi6_ifindex = 0;
            }
            std::string answer = answer_to({buffer.data(), static_cast<std::size_t>(got)}, peer);
            data = {answer.data(), answer.size()};
            sendmsg(fd, &message, 0);
        }
    }

    // False when the connection is over.
    bool answer_stream(int fd, Socket& peer) {
        std::array<char, 16384> buffer{};
        const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
        if (got < 0) return errno == EAGAIN;
        if (got == 0) return false;
        peer.pending.append(buffer.data(), static_cast<std::size_t>(got));
        for (;;) {
            const bool http = peer.pending.starts_with("GET ");
            const std::string ending = http ? "\r\n\r\n" : "\n";
            const auto end = peer.pending.find(ending);
            if (end == std::string::npos) return true;
            const std::string request = peer.pending.substr(0, end);
            peer.pending.erase(0, end + ending.size());
            const bool last =
                http ? request.find("Connection: close") != std::string::npos : request == "bye" || request == "peer";
            const std::string answer = http ? page(last) : answer_to(request, peer_of(fd)) + "\n";
            if (send(fd, answer.data(), answer.size(), MSG_NOSIGNAL) < 0 || last) return false;
        }
    }

    [[nodiscard]] std::string answer_to(const std::string& words, const sockaddr_in6& peer) const {
        if (words != "peer") return name_ + " " + words;
        std::array<char, INET6_ADDRSTRLEN> text{};
        const bool mapped = IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr);
        inet_ntop(mapped ? AF_INET : AF_INET6, &peer.sin6_addr.s6_addr[mapped ? 12 : 0], text.data(), text.size());
        return name_ + " " + text.data();
    }

    static sockaddr_in6 peer_of(int fd) {
        sockaddr_in6 peer{};
        socklen_t size = sizeof peer;
        getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size);
        return peer;
    }

    [[nodiscard]] std::string page(bool last) const {
        const std::string body = name_ + "\n";
        return "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
               (last ? "\r\nConnection: close" : "") + "\r\n\r\n" + body;
    }

    std::string name_;
    int epoll_;
    std::map<int, Socket> sockets_;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) tools::die("usage: pod_server NAME PORT...");
    Server server(argv[1]);
    for (int i = 2; i < argc; ++i) server.serve_port(static_cast<std::uint16_t>(std::stoi(argv[i])));
    std::cout << "ready" << std::endl;
    server.run();
}
