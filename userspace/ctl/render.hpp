// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Items as tables for people and as JSON for programs. The JSON keys are a contract: add, never rename. Pure.
#pragma once

#include <vector>

#include "output.hpp"
#include "verify.hpp"
#include "view.hpp"

namespace svclb::ctl {

[[nodiscard]] Table services_table(const std::vector<ServiceItem>& items, bool wide);
[[nodiscard]] Table backends_table(const std::vector<BackendItem>& items, bool wide);
[[nodiscard]] Table flows_table(const std::vector<FlowItem>& items, bool wide);
[[nodiscard]] Table affinity_table(const std::vector<AffinityItem>& items, bool wide);
[[nodiscard]] Table links_table(const std::vector<datapath::AttachedLink>& items);
[[nodiscard]] Table maps_table(const std::vector<datapath::MapInfo>& items);

// {"items": [...]}
[[nodiscard]] Json services_json(const std::vector<ServiceItem>& items);
[[nodiscard]] Json backends_json(const std::vector<BackendItem>& items);
[[nodiscard]] Json flows_json(const std::vector<FlowItem>& items);
[[nodiscard]] Json affinity_json(const std::vector<AffinityItem>& items);
[[nodiscard]] Json links_json(const std::vector<datapath::AttachedLink>& items);
[[nodiscard]] Json maps_json(const std::vector<datapath::MapInfo>& items);

// {"differences": [{"object", "map", "wanted", "found"}]}
[[nodiscard]] Json differences_json(const std::vector<Difference>& differences);
// One line for each difference, or the one that says there is none.
[[nodiscard]] std::string differences_text(const Snapshot& snapshot, const std::vector<Difference>& differences);

}  // namespace svclb::ctl
