// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "state_dir.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>

namespace svclb::agent {
namespace {

TEST_CASE("a state directory has one owner at a time, and the second one is told who") {
    const auto directory = std::filesystem::temp_directory_path() / fmt::format("svclb-state-{}", ::getpid());
    {
        const auto first = StateDir::take(directory / "made" / "on-the-way");
        REQUIRE(first);
        const auto second = StateDir::take(directory / "made" / "on-the-way");
        REQUIRE(!second);
        CHECK(second.error().message().find(fmt::format("another svclb-agent (pid {})", ::getpid())) == 0);
    }
    CHECK(StateDir::take(directory / "made" / "on-the-way"));
    std::filesystem::remove_all(directory);
}

TEST_CASE("a state directory that cannot be made is named") {
    const auto taken = StateDir::take("/proc/no-such-place");
    REQUIRE(!taken);
    CHECK(taken.error().message().find("/proc/no-such-place") != std::string::npos);
}

}  // namespace
}  // namespace svclb::agent
