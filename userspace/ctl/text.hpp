// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The words for the numbers of abi.h. A number that abi.h does not know is printed as itself.
#pragma once

#include <cstdint>
#include <string>

namespace svclb::ctl {

[[nodiscard]] std::string protocol_text(std::uint8_t proto);       // "TCP"
[[nodiscard]] std::string family_text(std::uint8_t family);        // "IPv4"
[[nodiscard]] std::string frontend_kind_text(std::uint8_t kind);   // "clusterIP"
[[nodiscard]] std::string set_text(std::uint8_t set);              // "Cluster", as the API spells the policies
[[nodiscard]] std::string verdict_text(std::uint8_t verdict);      // "forward"
[[nodiscard]] std::string backend_state_text(std::uint8_t state);  // "ready"
[[nodiscard]] std::string flow_kind_text(std::uint8_t kind);       // "forward"

}  // namespace svclb::ctl
