// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "kernel_tables.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <string_view>

namespace svclb::datapath {
namespace {

Status out_of_range(const char* map, std::uint64_t index, std::size_t entries) {
    return fail(Error::invalid(fmt::format("index {} is outside of map {} with {} entries", index, map, entries)));
}

// Removing what is not there is no error.
Status removed(const Result<bool>& result) {
    return result ? Status{} : fail(result.error());
}

template <class Key, class Value>
Tables::Batch put_all(const MapRef<Key, Value>& map, std::span<const Key> keys, std::span<const Value> values) {
    Tables::Batch batch;
    batch.status = map.put(keys, values, batch.done);
    return batch;
}

template <class Key, class Value>
Status copy_hash(const char* name, const MapSet& from, const MapSet& to) {
    const auto source = MapRef<Key, Value>::open(from, name);
    if (!source) return fail(source.error());
    const auto target = MapRef<Key, Value>::open(to, name);
    if (!target) return fail(target.error());
    Status written;
    auto read = source->each([&](const Key& key, const Value& value) {
        if (written) written = target->put(key, value);
    });
    return read ? written : read;
}

template <class Value>
Status copy_mapped(const char* name, const MapSet& from, const MapSet& to) {
    const auto source = MappedArray<Value>::open(from, name, true);
    if (!source) return fail(source.error());
    const auto target = MappedArray<Value>::open(to, name);
    if (!target) return fail(target.error());
    std::copy(source->rows().begin(), source->rows().end(), target->rows().begin());
    return {};
}

Status copy_counters(const char* name, const MapSet& from, const MapSet& to) {
    const auto source = PerCpuRef<svclb_counter>::open(from, name);
    if (!source) return fail(source.error());
    const auto target = PerCpuRef<svclb_counter>::open(to, name);
    if (!target) return fail(target.error());
    return source->copy_to(*target);
}

}  // namespace

Result<RowMaps> RowMaps::open(const MapSet& maps) {
    RowMaps rows;
    Opener opener;
    opener.into(rows.frontends, decltype(rows.frontends)::open(maps, "frontends"));
    opener.into(rows.desired, decltype(rows.desired)::open(maps, "desired_frontends"));
    opener.into(rows.backends, decltype(rows.backends)::open(maps, "backends"));
    opener.into(rows.names, decltype(rows.names)::open(maps, "service_names"));
    opener.into(rows.strings, decltype(rows.strings)::open(maps, "strings"));
    return opener.finish(rows);
}

Result<MappedRows> MappedRows::open(const MapSet& maps, bool read_only) {
    MappedRows rows;
    Opener opener;
    opener.into(rows.services, decltype(rows.services)::open(maps, "services", read_only));
    opener.into(rows.slots, decltype(rows.slots)::open(maps, "slots", read_only));
    opener.into(rows.filters, decltype(rows.filters)::open(maps, "filters", read_only));
    return opener.finish(std::move(rows));
}

Result<KernelTables> KernelTables::open(const MapSet& maps, Grow grow) {
    KernelTables tables;
    Opener opener;
    opener.into(tables.rows_, RowMaps::open(maps));
    opener.into(tables.mapped_, MappedRows::open(maps, false));
    opener.into(tables.ranges_, decltype(tables.ranges_)::open(maps, "source_ranges"));
    opener.into(tables.service_counters_, PerCpuRef<svclb_counter>::open(maps, "service_counters"));
    opener.into(tables.backend_counters_, PerCpuRef<svclb_counter>::open(maps, "backend_counters"));
    tables.grow_ = std::move(grow);
    return opener.finish(std::move(tables));
}

std::uint32_t KernelTables::capacity(Sized map) const {
    switch (map) {
        case Sized::services:
            return static_cast<std::uint32_t>(mapped_.services.rows().size());
        case Sized::slots:
            return static_cast<std::uint32_t>(mapped_.slots.rows().size());
        case Sized::backends:
            break;
    }
    return backend_counters_.size();
}

Status KernelTables::grow(std::span<const Room> rooms) {
    if (std::ranges::all_of(rooms, [this](const Room& room) { return room.entries <= capacity(room.map); })) return {};
    // The call ends with another object in the place of this one, and with it another function.
    const Grow replace_this = grow_;
    return replace_this(rooms);
}

Status KernelTables::put(const svclb_frontend_key& key, const svclb_frontend& value) {
    return rows_.frontends.put(key, value);
}
Status KernelTables::remove(const svclb_frontend_key& key) {
    return removed(rows_.frontends.remove(key));
}
Status KernelTables::put_desired(const svclb_frontend_key& key, const svclb_frontend& value) {
    return rows_.desired.put(key, value);
}
Status KernelTables::remove_desired(const svclb_frontend_key& key) {
    return removed(rows_.desired.remove(key));
}
Status KernelTables::put(const svclb_backend_key& key, const svclb_backend& value) {
    return rows_.backends.put(key, value);
}
Status KernelTables::remove(const svclb_backend_key& key) {
    return removed(rows_.backends.remove(key));
}
Tables::Batch KernelTables::put(std::span<const svclb_frontend_key> keys, std::span<const svclb_frontend> values) {
    return put_all(rows_.frontends, keys, values);
}
Tables::Batch KernelTables::put_desired(std::span<const svclb_frontend_key> keys,
                                        std::span<const svclb_frontend> values) {
    return put_all(rows_.desired, keys, values);
}
Tables::Batch KernelTables::put(std::span<const svclb_backend_key> keys, std::span<const svclb_backend> values) {
    return put_all(rows_.backends, keys, values);
}
Tables::Batch KernelTables::put_names(std::span<const std::uint32_t> services,
                                      std::span<const svclb_service_name> values) {
    return put_all(rows_.names, services, values);
}
Tables::Batch KernelTables::reset_backend_counters(std::span<const std::uint32_t> backends) {
    Batch batch;
    batch.status = backend_counters_.reset(backends, batch.done);
    if (batch.status) return batch;
    // Arrays of one value a CPU take many at once since 5.13; what is left is reset one by one.
    const auto rest = backends.subspan(batch.done);
    const auto one_by_one = each_of(rest.size(), [&](std::size_t at) { return backend_counters_.reset(rest[at]); });
    return {.done = batch.done + one_by_one.done, .status = one_by_one.status};
}
Status KernelTables::put(const svclb_source_range& range) {
    return ranges_.put(range, 1);
}
Status KernelTables::remove(const svclb_source_range& range) {
    return removed(ranges_.remove(range));
}
Status KernelTables::put_name(std::uint32_t service, const svclb_service_name& value) {
    return rows_.names.put(service, value);
}
Status KernelTables::remove_name(std::uint32_t service) {
    return removed(rows_.names.remove(service));
}
Status KernelTables::put_string(std::uint32_t id, const svclb_string& value) {
    return rows_.strings.put(id, value);
}
Status KernelTables::remove_string(std::uint32_t id) {
    return removed(rows_.strings.remove(id));
}

Status KernelTables::write_slots(std::uint32_t base, std::span<const svclb_slot> slots) {
    const auto rows = mapped_.slots.rows();
    if (base > rows.size() || slots.size() > rows.size() - base) {
        return out_of_range("slots", std::uint64_t{base} + slots.size(), rows.size());
    }
    std::copy(slots.begin(), slots.end(), rows.begin() + base);
    return {};
}

Status KernelTables::publish(std::uint32_t service, const svclb_service& row) {
    const auto rows = mapped_.services.rows();
    if (service >= rows.size()) return out_of_range("services", service, rows.size());
    svclb_service& live = rows[service];
    live.affinity_s = row.affinity_s;
    std::copy(std::begin(row.verdicts), std::end(row.verdicts), std::begin(live.verdicts));
    live.family = row.family;
    live.proto = row.proto;
    live.internal_set = row.internal_set;
    live.external_set = row.external_set;
    live.algorithm = row.algorithm;
    // A program that sees the run sees its slots and the fields above as well; one that sees the epoch sees all.
    for (std::size_t set = 0; set < SVCLB_SETS; ++set) {
        std::atomic_ref(live.runs[set]).store(row.runs[set], std::memory_order_release);
    }
    std::atomic_ref(live.epoch).store(row.epoch, std::memory_order_release);
    std::atomic_ref(live.epoch_due).store(row.epoch_due, std::memory_order_release);
    return {};
}

bool KernelTables::is_serving(std::uint32_t service, const __be32 (&address)[SVCLB_ADDR_WORDS], __be16 port) const {
    svclb_backend_key key{};
    key.service = service;
    std::copy(std::begin(address), std::end(address), std::begin(key.addr));
    key.port = port;
    const auto row = rows_.backends.get(key);
    return !row || (*row && ((*row)->flags & SVCLB_BACKEND_SERVING) != 0);
}

void KernelTables::mark_frontend(const svclb_frontend_key& key, __u8 kind) {
    svclb_mark_frontend(mapped_.filters.rows().data(), &key, kind);
}

void KernelTables::mark_backend(const __be32 (&address)[SVCLB_ADDR_WORDS], __be16 port) {
    mapped_.filters.rows()[0].backend[svclb_filter_index(address, port)] = 1;
}

Status KernelTables::reset_service_counter(std::uint32_t service) {
    return service_counters_.reset(service);
}
Status KernelTables::reset_backend_counter(std::uint32_t backend) {
    return backend_counters_.reset(backend);
}

Status KernelTables::each_frontend(
    const std::function<void(const svclb_frontend_key&, const svclb_frontend&)>& visit) const {
    return rows_.frontends.each(visit);
}
Status KernelTables::each_desired(
    const std::function<void(const svclb_frontend_key&, const svclb_frontend&)>& visit) const {
    return rows_.desired.each(visit);
}
Status KernelTables::each_backend(
    const std::function<void(const svclb_backend_key&, const svclb_backend&)>& visit) const {
    return rows_.backends.each(visit);
}
Status KernelTables::each_range(const std::function<void(const svclb_source_range&)>& visit) const {
    return ranges_.each_key(visit);
}
Status KernelTables::each_name(const std::function<void(std::uint32_t, const svclb_service_name&)>& visit) const {
    return rows_.names.each(visit);
}
Status KernelTables::each_string(const std::function<void(std::uint32_t, const svclb_string&)>& visit) const {
    return rows_.strings.each(visit);
}

Status copy_rows(const char* name, const MapSet& from, const MapSet& to) {
    const std::string_view map = name;
    if (map == "services") return copy_mapped<svclb_service>(name, from, to);
    if (map == "slots") return copy_mapped<svclb_slot>(name, from, to);
    if (map == "backends") return copy_hash<svclb_backend_key, svclb_backend>(name, from, to);
    if (map == "service_names") return copy_hash<std::uint32_t, svclb_service_name>(name, from, to);
    return copy_counters(name, from, to);
}

}  // namespace svclb::datapath
