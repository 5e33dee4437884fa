// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which uplinks carry the XDP program. The links are pinned, one file for each; somebody else's program is never
// replaced: the kernel refuses a second one.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "bpf_dir.hpp"
#include "svclb/abi/uplinks.h"
#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"

namespace svclb::datapath {

inline constexpr const char* kFromWire = "from_wire";  // the program

// "native" or "generic".
[[nodiscard]] const char* name_of(svclb_xdp_mode mode);

class XdpLinks {
public:
    explicit XdpLinks(BpfDir dir) : dir_(std::move(dir)) {}

    // True if a pin of this name is one of ours: takes it over if its link is on the device. Removes it if that is
    // gone, unless `read_only`.
    Result<bool> adopt_pin(const std::string& file, bool read_only);
    // Puts the program into everything that is attached, each link in one step.
    Status replace_program(int program);

    // An error says who or what is in the way.
    Status attach(int ifindex, svclb_xdp_mode mode, int program);
    Status detach(int ifindex);
    [[nodiscard]] std::optional<svclb_xdp_mode> mode_on(int ifindex) const;
    [[nodiscard]] const auto& all() const { return links_; }

private:
    struct Link {
        UniqueFd fd;
        svclb_xdp_mode mode = SVCLB_XDP_NATIVE;
    };

    [[nodiscard]] std::filesystem::path pin_path(int ifindex, svclb_xdp_mode mode) const;

    BpfDir dir_;
    std::map<int, Link> links_;  // by ifindex
};

}  // namespace svclb::datapath
