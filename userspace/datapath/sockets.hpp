// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The socket hooks of one datapath: loaded beside the packet programs, attached to the cgroup v2 root with links that
// stand beside anybody else's, pinned, and taken over by the next agent. Without them packets are translated as ever.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "bpf_dir.hpp"
#include "cgroup_root.hpp"
#include "map_set.hpp"
#include "object.hpp"
#include "svclb/abi.h"
#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"
#include "svclb/datapath/datapath.hpp"

namespace svclb::datapath {

class Sockets {
public:
    // `shared` are the packet programs' maps; `pinned` is everything that was pinned before. On failure some hooks may
    // be attached: see detach_socket_hooks().
    static Result<Sockets> open(const BpfDir& dir, const svclb_settings& settings, const MapSet& shared,
                                const MapSet& pinned, CgroupRoot root);

    // The programs anew, with other maps in the place of some, put into every link; on failure all is as before.
    Status replace_maps(const svclb_settings& settings, const MapSet& shared);
    // Its two halves: what to load them over, and what has been loaded so.
    [[nodiscard]] Result<MapSet> maps_with(const MapSet& shared) const;
    Status replace_programs(LoadedSockets loaded);

    [[nodiscard]] const CgroupRoot& root() const { return root_; }
    [[nodiscard]] const MapSet& maps() const { return loaded_.maps; }

private:
    using Fds = std::map<std::string, UniqueFd, std::less<>>;  // by hook

    Sockets(CgroupRoot root, LoadedSockets loaded) : root_(std::move(root)), loaded_(std::move(loaded)) {}
    Status attach(const BpfDir& dir);
    Status update(std::string_view hook, const LoadedSockets& with);
    Status update(const LoadedSockets& with);

    CgroupRoot root_;
    LoadedSockets loaded_;
    Fds links_;
};

// Of the caller's network namespace; 0 where the kernel does not tell (before 5.14).
[[nodiscard]] std::uint64_t own_netns_cookie();
// May a socket hook say what a call fails with?
[[nodiscard]] bool hooks_set_errno();

// What is attached, by its pins.
Result<std::vector<Hook>> attached_socket_hooks(const BpfDir& dir);
// At once, whoever else holds the links. What is not there is no error.
Status detach_socket_hooks(const BpfDir& dir);

}  // namespace svclb::datapath
