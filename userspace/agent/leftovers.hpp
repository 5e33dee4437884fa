// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What a former agent programmed for a Service one of whose EndpointSlices cannot be read: those of its endpoints that
// no readable slice has named stay, because they may be the unreadable one's. Pure.
#pragma once

#include <vector>

#include "svclb/model/build.hpp"
#include "svclb/model/desired.hpp"
#include "svclb/model/objects.hpp"

namespace svclb::agent {

// As slices, so that the rules of endpoints hold for them together with the readable ones.
using Leftovers = std::vector<model::EndpointSlice>;
[[nodiscard]] Leftovers leftovers_of(const model::ObjectKey& service, const model::ServiceState& programmed,
                                     const model::NodeView& node);
// Takes out what `readable` names: that follows the readable slices from here on.
void drop_named(Leftovers& leftovers, const model::ServiceState& readable);

}  // namespace svclb::agent
