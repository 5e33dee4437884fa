// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The maps of one datapath by name, as descriptors that outlive the BPF object which made them.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "bpf_dir.hpp"
#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"

namespace svclb::datapath {

Result<bpf_map_info> map_info(int fd, std::string_view name);

class MapSet {
public:
    // Every map that is pinned in the directory.
    static Result<MapSet> open(const BpfDir& dir, bool read_only);

    void put(std::string name, UniqueFd fd) { fds_.insert_or_assign(std::move(name), std::move(fd)); }
    void remove(std::string_view name);
    // -1 when there is no such map.
    [[nodiscard]] int find(std::string_view name) const;
    [[nodiscard]] const std::map<std::string, UniqueFd, std::less<>>& all() const { return fds_; }

    // 0 when there is no such map.
    [[nodiscard]] std::uint32_t entries(std::string_view name) const;

private:
    std::map<std::string, UniqueFd, std::less<>> fds_;
};

// Fails unless the maps carry this ABI version; 0, a directory that nobody has finished setting up, passes.
Status check_abi_version(const MapSet& maps, const BpfDir& dir);

}  // namespace svclb::datapath
