// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The directory on a bpffs that holds one agent's pins: where it is, how it comes to be, what may lie in it.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"

namespace svclb::datapath {

struct BpfDir {
    std::filesystem::path root;

    [[nodiscard]] std::filesystem::path maps() const { return root / "maps"; }
    [[nodiscard]] std::filesystem::path links() const { return root / "links"; }
    [[nodiscard]] std::filesystem::path map(std::string_view name) const { return maps() / name; }
};

// A pin that grow() has not yet put in place of the old one. bpffs refuses names with a dot.
inline constexpr std::string_view kNewSuffix = "-new";

// How the pins of socket hooks begin, which lie beside those of devices.
inline constexpr std::string_view kSocketPinPrefix = "cgroup-";

// Makes maps/ and links/, and mounts a bpffs on /sys/fs/bpf where there is none.
Status prepare(const BpfDir& dir);

[[nodiscard]] bool is_bpffs(const std::filesystem::path& path);

// Holds as long as the descriptor is open, and any number may; is_held() tells of it in every PID namespace, a
// container's and the host's.
UniqueFd hold(const BpfDir& dir);
[[nodiscard]] bool is_held(const BpfDir& dir);

// Names in a directory, sorted; a directory that is not there is empty.
Result<std::vector<std::string>> names_in(const std::filesystem::path& directory);

// An invalid descriptor when nothing is pinned there.
Result<UniqueFd> open_pin(const std::filesystem::path& path, bool read_only);
// Replaces what may be pinned there.
Status pin(int fd, const std::filesystem::path& path);
// What is not there is no error.
Status unpin(const std::filesystem::path& path);

}  // namespace svclb::datapath
