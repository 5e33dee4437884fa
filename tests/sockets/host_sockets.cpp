// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What programs on the host network do with their sockets, against a cluster that tests/e2e/host_sockets.sh has made:
// each frontend below is served by pods that answer "NAME TEXT" to "TEXT", over TCP (by the line) and UDP.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cerrno>
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "socket.hpp"

using namespace host_sockets;

TEST_CASE("a TCP connection reaches a backend and names the frontend as its peer") {
    const auto to = any_form().web;
    const Socket socket(to, SOCK_STREAM);
    REQUIRE(socket.connect(to) == 0);
    CHECK(socket.peer() == to);
    REQUIRE(socket.send("hello\n") == 0);
    const auto answer = socket.receive();
    CHECK(is_backend(answer.pod));
    CHECK(answer.text == "hello");
    CHECK(socket.peer() == to);
}

TEST_CASE("a connect that does not wait completes, as Go's and libuv's do") {
    const auto to = any_form().web;
    const Socket socket(to, SOCK_STREAM | SOCK_NONBLOCK);
    const int begun = socket.connect(to);
    REQUIRE((begun == EINPROGRESS || begun == 0));
    REQUIRE(socket.ready_for(POLLOUT));
    int error = -1;
    socklen_t size = sizeof(error);
    REQUIRE(::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size) == 0);
    CHECK(error == 0);
    CHECK(socket.peer() == to);
    const int again = socket.connect(to);
    CHECK((again == EISCONN || again == 0));
    REQUIRE(socket.send("hello\n") == 0);
    CHECK(is_backend(socket.receive().pod));
}

TEST_CASE("TCP Fast Open in both of its forms reaches a backend") {
    const auto to = any_form().web;
    const Socket message(to, SOCK_STREAM);
    REQUIRE(message.send_to(to, "hello\n", MSG_FASTOPEN) == 0);
    CHECK(is_backend(message.receive().pod));
    CHECK(message.peer() == to);

    const Socket late(to, SOCK_STREAM);
    const int on = 1;
    REQUIRE(::setsockopt(late.fd(), IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)) == 0);
    REQUIRE(late.connect(to) == 0);
    REQUIRE(late.send("hello\n") == 0);
    CHECK(is_backend(late.receive().pod));
    CHECK(late.peer() == to);
}

TEST_CASE("a connected UDP socket keeps its backend and hears the frontend") {
    const auto to = any_form().web;
    const Socket socket(to, SOCK_DGRAM);
    REQUIRE(socket.connect(to) == 0);
    CHECK(socket.peer() == to);
    std::set<std::string> pods;
    for (int i = 0; i < 30; ++i) {
        REQUIRE(socket.send(std::to_string(i)) == 0);
        const auto answer = socket.receive();
        CHECK(answer.text == std::to_string(i));
        CHECK(answer.from == to);
        pods.insert(answer.pod);
    }
    CHECK(pods.size() == 1);
    CHECK(is_backend(*pods.begin()));
}

TEST_CASE("an unconnected socket hears the frontend, by sendto and recvfrom") {
    const auto to = any_form().web;
    const Socket socket(to, SOCK_DGRAM);
    for (int i = 0; i < 5; ++i) {
        REQUIRE(socket.send_to(to, "hello") == 0);
        const auto answer = socket.receive();
        CHECK(is_backend(answer.pod));
        CHECK(answer.from == to);
    }
    CHECK(socket.peer() == "nobody");
}

TEST_CASE("an unconnected socket hears the frontend, by sendmmsg and recvmsg") {
    constexpr std::size_t kMessages = 8;
    const auto form = any_form();
    std::array<Endpoint, kMessages> to;
    std::array<std::string, kMessages> text;
    std::array<iovec, kMessages> data{};
    std::array<mmsghdr, kMessages> messages{};
    for (std::size_t i = 0; i < kMessages; ++i) {
        to.at(i) = parse_endpoint(i % 2 == 0 ? form.web : form.sticky);
        text.at(i) = std::to_string(i);
        data.at(i) = {text.at(i).data(), text.at(i).size()};
        auto& header = messages.at(i).msg_hdr;
        header.msg_name = &to.at(i).address;
        header.msg_namelen = to.at(i).size;
        header.msg_iov = &data.at(i);
        header.msg_iovlen = 1;
    }
    const Socket socket(form.web, SOCK_DGRAM);
    REQUIRE(::sendmmsg(socket.fd(), messages.data(), kMessages, 0) == static_cast<int>(kMessages));
    std::map<std::string, std::string> heard;
    for (std::size_t i = 0; i < kMessages; ++i) {
        REQUIRE(socket.ready_for(POLLIN));
        std::array<char, 256> buffer{};
        iovec into{buffer.data(), buffer.size()};
        sockaddr_storage from{};
        msghdr header{};
        header.msg_name = &from;
        header.msg_namelen = sizeof(from);
        header.msg_iov = &into;
        header.msg_iovlen = 1;
        const auto got = ::recvmsg(socket.fd(), &header, 0);
        REQUIRE(got > 0);
        const auto answer = Socket::received({buffer.data(), static_cast<std::size_t>(got)}, from, header.msg_namelen);
        CHECK(is_backend(answer.pod));
        heard[answer.text] = answer.from;
    }
    REQUIRE(heard.size() == kMessages);
    for (std::size_t i = 0; i < kMessages; ++i) CHECK(heard.at(text.at(i)) == (i % 2 == 0 ? form.web : form.sticky));
}

TEST_CASE("one IPv6 socket talks to frontends of both families") {
    const Socket socket(AF_INET6, SOCK_DGRAM);
    for (int round = 0; round < 3; ++round) {
        for (const auto& form : {kForms[1], kForms[2]}) {
            REQUIRE(socket.send_to(form.web, "hello") == 0);
            const auto answer = socket.receive();
            CHECK(is_backend(answer.pod));
            CHECK(answer.from == form.web);
        }
    }
}

TEST_CASE("a UDP socket is connected to another frontend, to nobody, and to the first one again") {
    const auto form = any_form();
    const Socket socket(form.web, SOCK_DGRAM);
    const auto hears = [&socket](const std::string& from) {
        REQUIRE(socket.send("hello") == 0);
        CHECK(socket.receive().from == from);
        CHECK(socket.peer() == from);
    };
    REQUIRE(socket.connect(form.web) == 0);
    hears(form.web);
    REQUIRE(socket.connect(form.sticky) == 0);
    hears(form.sticky);
    REQUIRE(socket.disconnect() == 0);
    CHECK(socket.peer() == "nobody");
    REQUIRE(socket.connect(form.web) == 0);
    hears(form.web);
}

// Of an IPv6 socket that was connected once the kernel hears nobody but that peer. A datagram to the same frontend may
// not go to another backend then, however long ago the last one was.
TEST_CASE("a UDP socket that was connected goes on with its frontend when it is connected no more") {
    std::vector<Socket> sockets;
    for (const auto& form : kForms) {
        const auto& socket = sockets.emplace_back(form.web, SOCK_DGRAM);
        REQUIRE(socket.connect(form.web) == 0);
        REQUIRE(socket.send("hello") == 0);
        REQUIRE(socket.ready_for(POLLIN));
        std::array<char, 64> unnamed{};
        REQUIRE(::recv(socket.fd(), unnamed.data(), unnamed.size(), 0) > 0);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2100));
    for (std::size_t form = 0; form < kForms.size(); ++form) {
        const auto& socket = sockets.at(form);
        const auto& web = kForms.at(form).web;
        REQUIRE(socket.disconnect() == 0);
        for (int i = 0; i < 3; ++i) {
            REQUIRE(socket.send_to(web, "hello again") == 0);
            const auto answer = socket.receive();
            CHECK(answer.text == "hello again");
            CHECK(answer.from == web);
        }
    }
}

TEST_CASE("who was not dialled keeps its name") {
    const auto to = any_form().web;
    const Socket socket(to, SOCK_DGRAM);
    REQUIRE(socket.send_to(to, "hello") == 0);
    CHECK(socket.receive().from == to);
    const bool v4 = to.front() != '[' || to.starts_with("[::ffff:");
    const Socket stranger(v4 ? AF_INET : AF_INET6, SOCK_DGRAM);
    const auto own = (v4 ? "127.0.0.1:" : "[::1]:") + std::to_string(socket.port());
    REQUIRE(stranger.send_to(own, "stranger here") == 0);
    const auto heard = socket.receive();
    CHECK(heard.pod == "stranger");
    const std::string name = !v4 ? "[::1]:" : to.front() == '[' ? "[::ffff:127.0.0.1]:" : "127.0.0.1:";
    CHECK(heard.from == name + std::to_string(stranger.port()));
}

TEST_CASE("without a backend, and at a port that the Service has not, every call is refused") {
    const auto form = any_form();
    for (const auto& to : {form.empty, form.unknown_port}) {
        CHECK(Socket(to, SOCK_STREAM).connect(to) == ECONNREFUSED);
        CHECK(Socket(to, SOCK_DGRAM).connect(to) == ECONNREFUSED);
        CHECK(Socket(to, SOCK_DGRAM).send_to(to, "hello") == ECONNREFUSED);
        CHECK(Socket(to, SOCK_STREAM).send_to(to, "hello", MSG_FASTOPEN) == ECONNREFUSED);
    }
    // It may be used for something else.
    const Socket socket(form.web, SOCK_DGRAM);
    REQUIRE(socket.send_to(form.empty, "hello") == ECONNREFUSED);
    REQUIRE(socket.send_to(form.web, "hello") == 0);
    CHECK(socket.receive().from == form.web);
}

// By chance all 24 would agree in one of 3^23 runs.
TEST_CASE("with session affinity all sockets of the node meet one backend") {
    const auto form = any_form();
    std::set<std::string> pods;
    for (int i = 0; i < 24; ++i) {
        const Socket socket(form.sticky, SOCK_DGRAM);
        if (i % 2 == 0) REQUIRE(socket.connect(form.sticky) == 0);
        REQUIRE((i % 2 == 0 ? socket.send("hello") : socket.send_to(form.sticky, "hello")) == 0);
        pods.insert(socket.receive().pod);
    }
    CHECK(pods.size() == 1);
    CHECK(is_backend(*pods.begin()));
}

// One of three is missed by 60 connections in 3 * (2/3)^60 of all runs: 1e-10.
TEST_CASE("without it each socket chooses anew") {
    const auto to = any_form().web;
    const int type = GENERATE(int{SOCK_STREAM}, int{SOCK_DGRAM});
    std::set<std::string> pods;
    for (int i = 0; i < 60; ++i) {
        const Socket socket(to, type);
        REQUIRE(socket.connect(to) == 0);
        REQUIRE(socket.send("hello\n") == 0);
        pods.insert(socket.receive().pod);
    }
    CHECK(pods == std::set<std::string>{"b1", "b2", "b3"});
}

TEST_CASE("one socket asks several frontends at once, and tells their answers apart, as a resolver does") {
    const auto form = any_form();
    const Socket socket(form.web, SOCK_DGRAM);
    for (int round = 0; round < 3; ++round) {
        REQUIRE(socket.send_to(form.web, "web") == 0);
        REQUIRE(socket.send_to(form.sticky, "sticky") == 0);
        std::set<std::string> heard;
        for (int i = 0; i < 2; ++i) {
            const auto answer = socket.receive();
            heard.insert(answer.text + " " + answer.from);
        }
        CHECK(heard == std::set<std::string>{"web " + form.web, "sticky " + form.sticky});
    }
}
