// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Where the host's cgroup v2 hierarchy is mounted: a program that is attached to its root meets every process.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"

namespace svclb::datapath {

// Mount points of cgroup v2 in the text of /proc/self/mounts, in its order.
[[nodiscard]] std::vector<std::filesystem::path> cgroup2_mounts(std::string_view mounts);

struct CgroupRoot {
    std::filesystem::path path;
    UniqueFd fd;
    bool whole = false;  // the hierarchy's root, not a part that a cgroup namespace or a bind mount shows
};

// The directory that is given, or else the best of what is mounted.
Result<CgroupRoot> open_cgroup_root(const std::filesystem::path& given);

}  // namespace svclb::datapath
