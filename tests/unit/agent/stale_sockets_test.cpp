// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "stale_sockets.hpp"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cerrno>

namespace svclb::agent {
namespace {

TEST_CASE("a look for stale sockets that failed is made again after a pause") {
    const int error = GENERATE(EINTR, ENOBUFS, EPERM);
    int calls = 0;
    StaleSockets sockets([&](std::uint32_t) -> Result<datapath::EndStep> {
        if (++calls == 1) return fail_errno(error, "read UDP sockets");
        return datapath::EndStep{.ended = 3, .finished = true};
    });
    CHECK(sockets.problem().empty());
    CHECK(sockets.step(100) == 0);
    CHECK(sockets.problem().starts_with("read UDP sockets: "));
    CHECK(sockets.step(109) == 0);
    CHECK(calls == 1);
    CHECK(sockets.step(110) == 3);
    CHECK(sockets.problem().empty());
    CHECK(sockets.step(1000) == 0);
    CHECK(calls == 2);
}

TEST_CASE("a kernel that ends no sockets is asked once for each change") {
    const int error = GENERATE(EOPNOTSUPP, ENOENT);
    int calls = 0;
    StaleSockets sockets([&](std::uint32_t) -> Result<datapath::EndStep> {
        ++calls;
        return fail_errno(error, "end a UDP socket");
    });
    CHECK(sockets.step(100) == 0);
    CHECK(sockets.step(1000) == 0);
    CHECK(calls == 1);
    CHECK(sockets.problem().starts_with("end a UDP socket: "));
    sockets.look();
    CHECK(sockets.step(1001) == 0);
    CHECK(calls == 2);
}

TEST_CASE("each change has two looks, a second apart, whatever they take") {
    int calls = 0;
    StaleSockets sockets([&](std::uint32_t) {
        return Result<datapath::EndStep>(datapath::EndStep{.ended = 1, .finished = ++calls % 2 == 0});
    });
    CHECK(sockets.step(100) == 1);
    CHECK(sockets.step(100) == 1);  // the rest of the first one
    CHECK(sockets.step(200) == 0);
    sockets.look();
    CHECK(sockets.step(200) == 1);
    CHECK(sockets.step(200) == 1);
    CHECK(sockets.step(200) == 0);
    CHECK(sockets.step(201) == 1);
    CHECK(sockets.step(201) == 1);
    CHECK(sockets.step(300) == 0);
    CHECK(calls == 6);
}

}  // namespace
}  // namespace svclb::agent
