// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What the tables hold, as the reconciler knows it; what Reconciler::State is made of.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "frontends.hpp"
#include "ids.hpp"
#include "port.hpp"
#include "runs.hpp"
#include "strings.hpp"
#include "svclb/datapath/tables.hpp"

namespace svclb::reconcile {

struct Programmed {
    explicit Programmed(datapath::Tables& programmed_tables) : tables(programmed_tables) {}
    Programmed(const Programmed&) = delete;
    Programmed& operator=(const Programmed&) = delete;
    Programmed(Programmed&&) = delete;
    Programmed& operator=(Programmed&&) = delete;
    ~Programmed() = default;

    datapath::Tables& tables;
    std::map<model::ServicePortId, std::unique_ptr<Port>> ports;
    // Indices found in use at adoption without a usable name and row, by the Service that the name tells ("" = none).
    std::multimap<model::ObjectKey, std::unique_ptr<Port>> strays;
    std::vector<Port*> by_index;
    std::vector<std::uint16_t> generations;  // last one used, by index; outlives the owner of the index
    IdPool indices{1};
    IdPool backend_ids{1};
    // The table is a hash: its ids have no limit of their own.
    IdPool string_ids{UINT32_MAX};
    Strings strings;
    RunAllocator runs{1};
    Frontends frontends{by_index};
    // Rows of an index that the services table does not have, and strings whose id nothing may name.
    std::vector<svclb_backend_key> lost_backends;
    std::vector<svclb_source_range> lost_ranges;
    std::vector<std::uint32_t> lost_names;
    std::vector<std::uint32_t> lost_strings;
};

// Reads everything back. Writes nothing.
[[nodiscard]] Result<std::unique_ptr<Programmed>> read_back(datapath::Tables& tables);

}  // namespace svclb::reconcile
