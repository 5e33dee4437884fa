// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Which devices carry our programs, and how. tcx links are pinned, one file for each; clsact filters are found where
// they are.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bpf_dir.hpp"
#include "filters.hpp"
#include "object.hpp"
#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"
#include "svclb/datapath/datapath.hpp"
#include "xdp_links.hpp"

namespace svclb::datapath {

inline constexpr std::array kSides = {Side::ingress, Side::egress};

// Whether this kernel has tcx (6.6 and later). Changes nothing.
[[nodiscard]] bool has_tcx();

// The programs of a device of this kind.
[[nodiscard]] ProgramNames programs_for(LinkKind kind);

class Links {
public:
    // What is attached to devices of this network namespace by an earlier agent, with the pins of `dir`. Pins of
    // devices that are gone are dropped, and removed unless `read_only`.
    static Result<Links> find(const BpfDir& dir, bool read_only);

    // Of the programs that are attached.
    [[nodiscard]] ProgramNames in_use() const;

    // Puts the programs into everything that is attached, each link in one step. When one refuses, those before it get
    // `before` back, where given.
    Status replace_programs(const Programs& programs, const Programs* before);

    // `tcx` chooses how; what is attached the other way is removed afterwards, so that no packet is missed.
    Status attach(int ifindex, const std::string& name, LinkKind kind, bool tcx, const Programs& programs);
    Status detach(int ifindex);
    [[nodiscard]] std::vector<AttachedLink> attached() const;

    // Beside the programs above, of a device that has them.
    [[nodiscard]] XdpLinks& xdp() { return xdp_; }
    [[nodiscard]] const XdpLinks& xdp() const { return xdp_; }

private:
    struct Attachment {
        std::string name;
        LinkKind kind = LinkKind::pod;
        std::array<UniqueFd, 2> tcx;   // by Side
        std::array<bool, 2> filter{};  // by Side

        [[nodiscard]] bool empty() const { return !tcx[0] && !tcx[1] && !filter[0] && !filter[1]; }
    };

    explicit Links(const BpfDir& dir) : dir_(dir), xdp_(dir) {}
    [[nodiscard]] std::filesystem::path pin_path(int ifindex, Place place) const;
    Status adopt_pin(const std::string& file, bool read_only);
    Status attach_both(int ifindex, Attachment& attachment, bool tcx, const Programs& programs);
    Status attach_tcx(int ifindex, Side side, Attachment& attachment, const Programs& programs);
    Status detach_tcx(int ifindex, Side side, Attachment& attachment);
    static Status replace_one(int ifindex, Attachment& attachment, const Programs& programs);

    BpfDir dir_;
    std::map<int, Attachment> attachments_;  // by ifindex
    XdpLinks xdp_;
};

}  // namespace svclb::datapath
