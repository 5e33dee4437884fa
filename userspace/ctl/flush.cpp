// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "flush.hpp"

#include "svclb/datapath/pinned.hpp"

namespace svclb::ctl {

Result<std::uint64_t> flush(const std::filesystem::path& bpf_dir, const Snapshot& snapshot, const Selection& selection,
                            const FlowFilter& filter) {
    auto pinned = datapath::Pinned::open(bpf_dir);
    if (!pinned) return fail(std::move(pinned.error()));
    FlowMatcher matcher(snapshot, selection, filter);
    const bool everything = filter.direct;
    constexpr std::uint64_t kNow = 0;  // how long a flow has been idle is no filter
    return pinned->flush_flows([&](const datapath::FlowKey& key, const svclb_flow& flow) {
        FlowRow row;
        return everything || (flow_row(key, flow, kNow, row) && matcher.matches(row));
    });
}

}  // namespace svclb::ctl
