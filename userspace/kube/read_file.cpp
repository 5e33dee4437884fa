// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "read_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "svclb/base/unique_fd.hpp"
#include "svclb/model/text.hpp"

namespace svclb::kube {

Result<std::string> read_file(const std::filesystem::path& path) {
    constexpr std::size_t kLargest = std::size_t{1} << 20U;
    const auto name = model::printable(path.string(), kLongestPath);
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat info {};
    if (!fd || ::fstat(fd.get(), &info) != 0) return fail_errno(errno, name);
    if (!S_ISREG(info.st_mode)) return fail(Error::invalid(name + ": not a regular file"));
    std::string text;
    std::array<char, 16384> buffer{};
    while (true) {
        const auto length = ::read(fd.get(), buffer.data(), buffer.size());
        if (length < 0 && errno == EINTR) continue;
        if (length < 0) return fail_errno(errno, name);
        if (length == 0) return text;
        text.append(buffer.data(), static_cast<std::size_t>(length));
        if (text.size() > kLargest) return fail(Error::invalid(name + ": longer than 1 MiB"));
    }
}

}  // namespace svclb::kube
