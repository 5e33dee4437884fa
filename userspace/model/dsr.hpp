// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Direct server return: which Services ask for it, and which of their ports can have it.
#pragma once

#include "svclb/model/build.hpp"
#include "svclb/model/desired.hpp"
#include "told.hpp"

namespace svclb::model {

// By its annotation; a word that means nothing is told.
[[nodiscard]] bool wants_dsr(const Service& service, Told& told);

// Marks the external and load-balancer frontends of `state` where direct server return works, else tells why not. Node
// ports stay as they are: an address of one node is nobody else's to answer with.
void return_directly(ServicePortState& state, const NodeView& node, Told& told);

}  // namespace svclb::model
