// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Wires sources, model, reconciler and datapath into one event loop. The only place with time and signals.
#pragma once

#include "config.hpp"
#include "svclb/base/result.hpp"

namespace svclb::agent {

// Runs until SIGTERM or SIGINT. The data path goes on working after any end.
Status run(const Config& config);
// Prints what was found to standard output; false if something would keep run() from working.
Result<bool> check(const Config& config);
// Removes every trace of an agent that does not run any more.
Status clean_up(const Config& config);

}  // namespace svclb::agent
