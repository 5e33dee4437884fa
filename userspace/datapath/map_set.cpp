// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "map_set.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "svclb/abi.h"

namespace svclb::datapath {

Result<bpf_map_info> map_info(int fd, std::string_view name) {
    bpf_map_info info{};
    __u32 size = sizeof(info);
    if (const int error = bpf_map_get_info_by_fd(fd, &info, &size); error != 0) {
        return fail_errno(-error, fmt::format("inspect map {}", name));
    }
    return info;
}

Result<MapSet> MapSet::open(const BpfDir& dir, bool read_only) {
    MapSet maps;
    auto names = names_in(dir.maps());
    if (!names) return fail(names.error());
    for (auto& name : *names) {
        if (name.ends_with(kNewSuffix)) continue;
        auto fd = open_pin(dir.map(name), read_only);
        if (!fd) return fail(fd.error());
        if (*fd) maps.put(std::move(name), std::move(*fd));
    }
    return maps;
}

void MapSet::remove(std::string_view name) {
    if (const auto found = fds_.find(name); found != fds_.end()) fds_.erase(found);
}

int MapSet::find(std::string_view name) const {
    const auto found = fds_.find(name);
    return found == fds_.end() ? -1 : found->second.get();
}

std::uint32_t MapSet::entries(std::string_view name) const {
    const int fd = find(name);
    if (fd < 0) return 0;
    const auto info = map_info(fd, name);
    return info ? info->max_entries : 0;
}

Status check_abi_version(const MapSet& maps, const BpfDir& dir) {
    const int fd = maps.find("agent");
    if (fd < 0) return {};
    const auto info = map_info(fd, "agent");
    if (!info) return fail(info.error());
    // Another version's row may be of another size; the version is its first word in all of them.
    std::vector<char> row(std::max<std::size_t>(info->value_size, sizeof(std::uint32_t)));
    const std::uint32_t index = 0;
    if (const int error = bpf_map_lookup_elem(fd, &index, row.data()); error != 0) {
        return fail_errno(-error, "read map agent");
    }
    std::uint32_t version = 0;
    std::memcpy(&version, row.data(), sizeof(version));
    if (version == 0 || version == SVCLB_ABI_VERSION) return {};
    return fail(Error::invalid(
        fmt::format("{} holds maps of ABI version {}, this program speaks version {}: use the release that made them, "
                    "or remove them "
                    "with 'svclb-agent --cleanup --bpf-dir {}', which ends the connections through Services",
                    dir.root.string(), version, SVCLB_ABI_VERSION, dir.root.string())));
}

}  // namespace svclb::datapath
