// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Tables over the kernel's maps.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "map_ref.hpp"
#include "map_set.hpp"
#include "svclb/abi.h"
#include "svclb/datapath/tables.hpp"

namespace svclb::datapath {

// The hash maps that the agent writes; Pinned reads the same ones.
struct RowMaps {
    MapRef<svclb_frontend_key, svclb_frontend> frontends;
    MapRef<svclb_frontend_key, svclb_frontend> desired;
    MapRef<svclb_backend_key, svclb_backend> backends;
    MapRef<std::uint32_t, svclb_service_name> names;
    MapRef<std::uint32_t, svclb_string> strings;

    static Result<RowMaps> open(const MapSet& maps);
};

// The arrays that live in shared memory.
struct MappedRows {
    MappedArray<svclb_service> services;
    MappedArray<svclb_slot> slots;
    MappedArray<svclb_filters> filters;

    static Result<MappedRows> open(const MapSet& maps, bool read_only);
};

class KernelTables final : public Tables {
public:
    using Grow = std::function<Status(std::span<const Room>)>;

    // `maps` must outlive the result; `grow` puts another KernelTables in the place of this one.
    static Result<KernelTables> open(const MapSet& maps, Grow grow);

    // In doubt, it is.
    [[nodiscard]] bool is_serving(std::uint32_t service, const __be32 (&address)[SVCLB_ADDR_WORDS], __be16 port) const;

    void set_grow(Grow grow) { grow_ = std::move(grow); }

    [[nodiscard]] std::uint32_t capacity(Sized map) const override;
    using Tables::grow;
    Status grow(std::span<const Room> rooms) override;
    Status put(const svclb_frontend_key& key, const svclb_frontend& value) override;
    Status remove(const svclb_frontend_key& key) override;
    Status put_desired(const svclb_frontend_key& key, const svclb_frontend& value) override;
    Status remove_desired(const svclb_frontend_key& key) override;
    Status put(const svclb_backend_key& key, const svclb_backend& value) override;
    Status remove(const svclb_backend_key& key) override;
    Batch put(std::span<const svclb_frontend_key> keys, std::span<const svclb_frontend> values) override;
    Batch put_desired(std::span<const svclb_frontend_key> keys, std::span<const svclb_frontend> values) override;
    Batch put_names(std::span<const std::uint32_t> services, std::span<const svclb_service_name> values) override;
    Batch put(std::span<const svclb_backend_key> keys, std::span<const svclb_backend> values) override;
    Batch reset_backend_counters(std::span<const std::uint32_t> backends) override;
    Status put(const svclb_source_range& range) override;
    Status remove(const svclb_source_range& range) override;
    Status put_name(std::uint32_t service, const svclb_service_name& value) override;
    Status remove_name(std::uint32_t service) override;
    Status put_string(std::uint32_t id, const svclb_string& value) override;
    Status remove_string(std::uint32_t id) override;
    Status write_slots(std::uint32_t base, std::span<const svclb_slot> slots) override;
    Status publish(std::uint32_t service, const svclb_service& row) override;
    void mark_frontend(const svclb_frontend_key& key, __u8 kind) override;
    void mark_backend(const __be32 (&address)[SVCLB_ADDR_WORDS], __be16 port) override;
    Status reset_service_counter(std::uint32_t service) override;
    Status reset_backend_counter(std::uint32_t backend) override;
    Status each_frontend(
        const std::function<void(const svclb_frontend_key&, const svclb_frontend&)>& visit) const override;
    Status each_desired(
        const std::function<void(const svclb_frontend_key&, const svclb_frontend&)>& visit) const override;
    Status each_backend(
        const std::function<void(const svclb_backend_key&, const svclb_backend&)>& visit) const override;
    Status each_range(const std::function<void(const svclb_source_range&)>& visit) const override;
    Status each_name(const std::function<void(std::uint32_t, const svclb_service_name&)>& visit) const override;
    Status each_string(const std::function<void(std::uint32_t, const svclb_string&)>& visit) const override;
    [[nodiscard]] std::span<const svclb_service> services() const override { return mapped_.services.rows(); }
    [[nodiscard]] std::span<const svclb_slot> slots() const override { return mapped_.slots.rows(); }

private:
    KernelTables() = default;

    RowMaps rows_;
    MappedRows mapped_;
    MapRef<svclb_source_range, std::uint32_t> ranges_;
    PerCpuRef<svclb_counter> service_counters_;
    PerCpuRef<svclb_counter> backend_counters_;
    Grow grow_;
};

// Copies the rows of one of the maps that grow into its larger successor, which no program uses yet.
Status copy_rows(const char* name, const MapSet& from, const MapSet& to);

}  // namespace svclb::datapath
