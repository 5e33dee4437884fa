// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// One agent to a state directory: a lock that the kernel gives back whatever way its owner ends.
#pragma once

#include <filesystem>

#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"

namespace svclb::agent {

class StateDir {
public:
    // Creates the directory if need be. Refuses, with the other one's pid, while another agent holds it.
    static Result<StateDir> take(const std::filesystem::path& directory);

private:
    explicit StateDir(UniqueFd lock) : lock_(std::move(lock)) {}
    UniqueFd lock_;
};

}  // namespace svclb::agent
