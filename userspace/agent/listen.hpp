// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Sockets that servers listen on.
#pragma once

#include "svclb/base/result.hpp"
#include "svclb/base/unique_fd.hpp"
#include "svclb/model/address.hpp"

namespace svclb::agent {

// Not blocking. The address of all (0.0.0.0, ::) means both families, as Go has it; an IPv6 address only its own.
Result<UniqueFd> listening_socket(const model::AddressPort& at);

}  // namespace svclb::agent
