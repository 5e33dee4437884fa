// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "cgroup_root.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

namespace svclb::datapath {
namespace {

// Of the root of each kernfs, which is what a cgroup hierarchy is; other cgroups' numbers are their ids.
constexpr ino_t kRootInode = 1;

// Blanks and backslashes are written as three octal digits.
std::string unescaped(std::string_view field) {
    std::string text;
    for (std::size_t at = 0; at < field.size(); ++at) {
        if (field[at] == '\\' && field.size() - at > 3) {
            text += static_cast<char>((field[at + 1] - '0') * 64 + (field[at + 2] - '0') * 8 + (field[at + 3] - '0'));
            at += 3;
        } else {
            text += field[at];
        }
    }
    return text;
}

std::string_view take_until(std::string_view& text, char end) {
    const auto word = text.substr(0, text.find(end));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    return word;
}

Result<CgroupRoot> open_one(const std::filesystem::path& path) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return fail_errno(errno, "open cgroup root " + path.string());
    struct statfs file_system {};
    struct stat directory {};
    if (::fstatfs(fd.get(), &file_system) != 0 || ::fstat(fd.get(), &directory) != 0)
        return fail_errno(errno, "inspect cgroup root " + path.string());
    if (static_cast<unsigned long>(file_system.f_type) != CGROUP2_SUPER_MAGIC)
        return fail(Error::invalid(fmt::format("{} is not in a cgroup v2 hierarchy", path.string())));
    return CgroupRoot{.path = path, .fd = std::move(fd), .whole = directory.st_ino == kRootInode};
}

}  // namespace

std::vector<std::filesystem::path> cgroup2_mounts(std::string_view mounts) {
    std::vector<std::filesystem::path> found;
    while (!mounts.empty()) {
        auto line = take_until(mounts, '\n');
        take_until(line, ' ');
        const auto where = take_until(line, ' ');
        if (take_until(line, ' ') == "cgroup2") found.emplace_back(unescaped(where));
    }
    return found;
}

Result<CgroupRoot> open_cgroup_root(const std::filesystem::path& given) {
    if (!given.empty()) return open_one(given);
    std::ifstream file("/proc/self/mounts");
    const std::string mounts{std::istreambuf_iterator<char>(file), {}};
    std::optional<Result<CgroupRoot>> best;
    for (const auto& path : cgroup2_mounts(mounts)) {
        auto root = open_one(path);
        if (root && root->whole) return root;
        if (!best || (root && !*best)) best = std::move(root);
    }
    if (best) return std::move(*best);
    return fail(Error::invalid("no cgroup v2 hierarchy is mounted"));
}

}  // namespace svclb::datapath
