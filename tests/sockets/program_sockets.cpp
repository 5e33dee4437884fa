// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The order in which well-known run times make their socket calls: Go's dialler and packet connections, Happy Eyeballs,
// musl's resolver, programs that bind before they connect. See host_sockets.cpp for the calls one by one.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cerrno>
#include <cstring>
#include <set>
#include <string>

#include "socket.hpp"

using namespace host_sockets;

namespace {

void set_option(const Socket& socket, int level, int option, int value = 1) {
    REQUIRE(::setsockopt(socket.fd(), level, option, &value, sizeof(value)) == 0);
}

int pending_error(const Socket& socket) {
    int error = -1;
    socklen_t size = sizeof(error);
    REQUIRE(::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size) == 0);
    return error;
}

// Edge-triggered and registered before connect(), as a run time does that has one epoll for all its sockets.
class Poller {
public:
    Poller() : fd_(::epoll_create1(EPOLL_CLOEXEC)) { REQUIRE(fd_); }

    void add(const Socket& socket) const {
        epoll_event event{};
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        event.data.fd = socket.fd();
        REQUIRE(::epoll_ctl(fd_.get(), EPOLL_CTL_ADD, socket.fd(), &event) == 0);
    }
    // The descriptor of a socket to which one of `what` has happened.
    [[nodiscard]] int next(std::uint32_t what) const {
        epoll_event event{};
        do {
            if (::epoll_wait(fd_.get(), &event, 1, kPatienceMs) != 1) return -1;
        } while ((event.events & what) == 0);
        return event.data.fd;
    }

private:
    UniqueFd fd_;
};

// Without a port it may be connected from anywhere.
int bind_any(const Socket& socket, int family, std::uint16_t port = 0) {
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    const auto* any = family == AF_INET6 ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<sockaddr*>(&v4);
    return ::bind(socket.fd(), any, family == AF_INET6 ? sizeof(v6) : sizeof(v4)) == 0 ? 0 : errno;
}

int family_of(const std::string& to) {
    return parse_endpoint(to).family();
}

}  // namespace

TEST_CASE("Go's dialler: epoll first, then connect, SO_ERROR and getpeername") {
    const auto form = any_form();
    const Poller poller;
    const Socket socket(form.web, SOCK_STREAM | SOCK_NONBLOCK);
    set_option(socket, SOL_SOCKET, SO_BROADCAST);
    poller.add(socket);
    const int begun = socket.connect(form.web);
    REQUIRE((begun == EINPROGRESS || begun == 0));
    // The first event of a fresh socket is a hang-up that was true before connect().
    do {
        REQUIRE(poller.next(EPOLLOUT) == socket.fd());
        REQUIRE(pending_error(socket) == 0);
    } while (socket.peer() == "nobody");
    CHECK(socket.peer() == form.web);
    set_option(socket, IPPROTO_TCP, TCP_NODELAY);
    set_option(socket, SOL_SOCKET, SO_KEEPALIVE);
    REQUIRE(socket.send("hello\n") == 0);
    REQUIRE(poller.next(EPOLLIN) == socket.fd());
    CHECK(is_backend(socket.receive().pod));

    const Socket refused(form.empty, SOCK_STREAM | SOCK_NONBLOCK);
    poller.add(refused);
    CHECK(refused.connect(form.empty) == ECONNREFUSED);
    CHECK(pending_error(refused) == 0);
    CHECK(refused.connect(form.web) != ECONNREFUSED);
}

TEST_CASE("Happy Eyeballs: both families at once, the first one wins and the other is closed") {
    for (int round = 0; round < 5; ++round) {
        const Poller poller;
        const Socket first(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK);
        const Socket second(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
        REQUIRE(first.connect(kForms[1].web) == EINPROGRESS);
        REQUIRE(second.connect(kForms[0].web) == EINPROGRESS);
        poller.add(first);
        poller.add(second);
        const bool first_won = poller.next(EPOLLOUT) == first.fd();
        const auto& winner = first_won ? first : second;
        const auto& loser = first_won ? second : first;
        REQUIRE(::shutdown(loser.fd(), SHUT_RDWR) <= 0);
        CHECK(winner.peer() == kForms.at(first_won ? 1 : 0).web);
        REQUIRE(winner.send("hello\n") == 0);
        CHECK(is_backend(winner.receive().pod));
    }
}

// Go's ListenPacket and musl's resolver: one socket of both families, bound to any port, for everybody.
TEST_CASE("a bound socket of both families hears each frontend by recvmsg, with the packet's own destination") {
    const Socket socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK);
    set_option(socket, IPPROTO_IPV6, IPV6_RECVPKTINFO);
    REQUIRE(bind_any(socket, AF_INET6) == 0);
    const std::set<std::string> asked = {kForms[1].web, kForms[2].web, kForms[1].sticky, kForms[2].sticky};
    for (int round = 0; round < 3; ++round) {
        for (const auto& to : asked) REQUIRE(socket.send_to(to, to) == 0);
        std::set<std::string> heard;
        for (std::size_t i = 0; i < asked.size(); ++i) {
            REQUIRE(socket.ready_for(POLLIN));
            std::array<char, 256> buffer{};
            alignas(cmsghdr) std::array<char, 128> control{};
            iovec into{buffer.data(), buffer.size()};
            sockaddr_storage from{};
            msghdr header{};
            header.msg_name = &from;
            header.msg_namelen = sizeof(from);
            header.msg_iov = &into;
            header.msg_iovlen = 1;
            header.msg_control = control.data();
            header.msg_controllen = control.size();
            const auto got = ::recvmsg(socket.fd(), &header, 0);
            REQUIRE(got > 0);
            const auto answer =
                Socket::received({buffer.data(), static_cast<std::size_t>(got)}, from, header.msg_namelen);
            CHECK(is_backend(answer.pod));
            CHECK(answer.text == answer.from);
            const cmsghdr* const info = CMSG_FIRSTHDR(&header);
            REQUIRE(info != nullptr);
            CHECK(info->cmsg_type == IPV6_PKTINFO);
            heard.insert(answer.from);
        }
        CHECK(heard == asked);
    }
}

// How musl's resolver goes on after a truncated answer.
TEST_CASE("TCP Fast Open without waiting: the data is sent when the connection stands") {
    const auto to = any_form().web;
    const Socket socket(to, SOCK_STREAM | SOCK_NONBLOCK);
    const int begun = socket.send_to(to, "hello\n", MSG_FASTOPEN);
    REQUIRE((begun == 0 || begun == EINPROGRESS));
    REQUIRE(socket.ready_for(POLLOUT));
    CHECK(pending_error(socket) == 0);
    if (begun == EINPROGRESS) REQUIRE(socket.send("hello\n") == 0);
    const auto answer = socket.receive();
    CHECK(is_backend(answer.pod));
    CHECK(answer.text == "hello");
    CHECK(socket.peer() == to);
}

// The Services have different ports at the backends, so that the same source port makes no connection twice.
TEST_CASE("sockets that are bound first keep their port, two of them to two frontends") {
    const auto form = any_form();
    const int type = GENERATE(int{SOCK_STREAM}, int{SOCK_DGRAM});
    const Socket first(form.web, type);
    const Socket second(form.sticky, type);
    for (const auto* socket : {&first, &second}) {
        set_option(*socket, SOL_SOCKET, SO_REUSEADDR);
        set_option(*socket, SOL_SOCKET, SO_REUSEPORT);
    }
    REQUIRE(bind_any(first, family_of(form.web)) == 0);
    const auto port = first.port();
    REQUIRE(bind_any(second, family_of(form.web), port) == 0);
    REQUIRE(first.connect(form.web) == 0);
    REQUIRE(second.connect(form.sticky) == 0);
    for (const auto* socket : {&first, &second}) {
        CHECK(socket->port() == port);
        REQUIRE(socket->send("hello\n") == 0);
        CHECK(is_backend(socket->receive().pod));
    }
    CHECK(first.peer() == form.web);
    CHECK(second.peer() == form.sticky);
}

TEST_CASE("a socket that is bound to an address and lets connect() find the port reaches a backend") {
    const auto to = any_form().web;
    const Socket socket(to, SOCK_STREAM);
    set_option(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
    REQUIRE(bind_any(socket, family_of(to)) == 0);
    REQUIRE(socket.connect(to) == 0);
    CHECK(socket.peer() == to);
    REQUIRE(socket.send("hello\n") == 0);
    CHECK(is_backend(socket.receive().pod));
}
