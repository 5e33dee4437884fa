// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The endpoints of one service port and the two sets among them: behaviour rows 1.9 to 1.15.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "svclb/model/build.hpp"

namespace svclb::model {

// A slice whose addresses are read once, for all ports of the Service. Does not own the slice.
struct SliceView {
    const EndpointSlice* slice = nullptr;
    std::uint16_t weight = 1;
    std::vector<std::optional<Address>> addresses;  // of each endpoint; nothing where it has no usable one
};

// The slices that count for this Service, by name, so that their order in `slices` makes no difference.
[[nodiscard]] std::vector<SliceView> slices_of(const Service& service, std::span<const EndpointSlice* const> slices,
                                               std::vector<Problem>& problems);

// Which of the two sets some client can use.
struct WantedSets {
    bool cluster = false;
    bool local = false;
};

struct ChosenBackends {
    std::vector<Backend> backends;  // as in ServicePortState
    bool any_usable = false;        // somewhere, as far as the wanted sets see it
};

[[nodiscard]] ChosenBackends chosen_backends(std::span<const SliceView> slices, const ServicePort& port, Family family,
                                             const NodeView& node, WantedSets wanted);

}  // namespace svclb::model
