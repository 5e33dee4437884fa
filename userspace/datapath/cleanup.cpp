// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The way out: everything of one BPF_DIR leaves the kernel.
#include <bpf/bpf.h>
#include <fmt/format.h>

#include <system_error>

#include "bpf_dir.hpp"
#include "catch_all.hpp"
#include "links.hpp"
#include "sockets.hpp"
#include "svclb/datapath/datapath.hpp"

namespace svclb::datapath {
namespace {

Status remove_pins(const std::filesystem::path& directory) {
    const auto names = names_in(directory);
    if (!names) return fail(names.error());
    for (const auto& name : *names) {
        if (auto removed = unpin(directory / name); !removed) return removed;
    }
    return {};
}

}  // namespace

Status cleanup(const std::filesystem::path& bpf_dir) {
    const BpfDir dir{bpf_dir};
    // Without its program the pair would swallow what is routed to it.
    auto catch_all = CatchAll::open();
    if (!catch_all) return fail(catch_all.error());
    if (auto removed = catch_all->remove(); !removed) return removed;
    // Links first: no program may meet tables that are half gone. Each is detached, even where another process holds
    // it.
    if (auto detached = detach_socket_hooks(dir); !detached) return detached;
    auto links = Links::find(dir, false);
    if (!links) return fail(links.error());
    for (const auto& link : links->attached()) {
        if (auto detached = links->detach(link.ifindex); !detached) return detached;
    }
    for (const auto& directory : {dir.links(), dir.maps()}) {
        if (auto removed = remove_pins(directory); !removed) return removed;
    }
    for (const auto& directory : {dir.links(), dir.maps(), dir.root}) {
        std::error_code error;
        std::filesystem::remove(directory, error);
        if (error && error != std::errc::no_such_file_or_directory)
            return fail({error, "remove " + directory.string()});
    }
    return {};
}

}  // namespace svclb::datapath
