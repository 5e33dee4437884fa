// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The one command that changes something: removes flows by the filters that list them.
#pragma once

#include <cstdint>
#include <filesystem>

#include "svclb/base/result.hpp"
#include "view.hpp"

namespace svclb::ctl {

// How many flows went. Without any filter everything goes: entries that have lost their other half too.
Result<std::uint64_t> flush(const std::filesystem::path& bpf_dir, const Snapshot& snapshot, const Selection& selection,
                            const FlowFilter& filter);

}  // namespace svclb::ctl
