// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "state_dir.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <string>

namespace svclb::agent {
namespace {

std::string first_line(int fd) {
    std::array<char, 32> text{};
    const auto size = ::pread(fd, text.data(), text.size() - 1, 0);
    if (size <= 0) return "unknown";
    std::string line{text.data(), static_cast<std::size_t>(size)};
    return line.substr(0, line.find('\n'));
}

}  // namespace

Result<StateDir> StateDir::take(const std::filesystem::path& directory) {
    std::error_code code;
    std::filesystem::create_directories(directory, code);
    if (code) return fail({code, fmt::format("create state directory {}", directory.string())});

    const auto path = directory / "lock";
    UniqueFd lock{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)};
    if (!lock) return fail_errno(errno, fmt::format("open {}", path.string()));
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) return fail_errno(errno, fmt::format("lock {}", path.string()));
        return fail(
            Error{std::make_error_code(std::errc::device_or_resource_busy),
                  fmt::format("another svclb-agent (pid {}) uses {}", first_line(lock.get()), directory.string())});
    }
    const auto pid = fmt::format("{}\n", ::getpid());
    if (::ftruncate(lock.get(), 0) != 0 || ::pwrite(lock.get(), pid.data(), pid.size(), 0) < 0)
        return fail_errno(errno, fmt::format("write {}", path.string()));
    return StateDir{std::move(lock)};
}

}  // namespace svclb::agent
