// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Small files that others write: credentials and kubeconfigs.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "svclb/base/result.hpp"

namespace svclb::kube {

inline constexpr std::size_t kLongestPath = 300;  // in messages

// The content of a regular file of at most 1 MiB. Never waits for the other end of a FIFO.
Result<std::string> read_file(const std::filesystem::path& path);

}  // namespace svclb::kube
