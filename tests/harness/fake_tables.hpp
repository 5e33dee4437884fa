// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// In-memory datapath::Tables, for tests of what writes rows. Every rule of the interface holds: indices and ids out of
// range are errors that name the map and its size, a failed write changes nothing.
//
//   FakeTables tables({.services = 64, .slots = 256, .backends = 256});
//   tables.fail_nth(3, ENOSPC);            // the third write from now fails, once
//   tables.stop_after(7);                  // seven more writes, then none takes effect: the agent has died
//   tables.resume();                       // ends that
//   tables.fault = [](const Write& w) { return w.op == Op::put_name ? E2BIG : 0; };   // any rule at all
//   tables.observe = [&](const Write& w) { ... };  // after each write that took effect
//   tables.keep_log = true;  ...  tables.log       // the writes that took effect, in order
//   tables.limits.frontends = 10;          // ENOSPC beyond
//   tables.grow_limits.slots = 1024;       // grow() beyond fails with ENOMEM
//
// The rows are public members: a test may damage or compare them.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "svclb/abi.h"
#include "svclb/base/result.hpp"
#include "svclb/datapath/tables.hpp"

namespace svclb::test {

enum class Op : std::uint8_t {
    put_frontend,
    remove_frontend,
    put_desired,
    remove_desired,
    put_backend,
    remove_backend,
    put_range,
    remove_range,
    put_name,
    remove_name,
    put_string,
    remove_string,
    write_slots,
    publish,
    reset_service_counter,
    reset_backend_counter,
};

// One write; only the fields of its operation are set.
struct Write {
    Op op;
    std::uint32_t index = 0;  // service, string id, backend id, or base of the slots
    svclb_frontend_key frontend_key{};
    svclb_frontend frontend{};
    svclb_backend_key backend_key{};
    svclb_backend backend{};
    svclb_source_range range{};
    svclb_service service{};
    std::vector<svclb_slot> slots{};
};

template <class Key>
struct BytesHash {
    std::size_t operator()(const Key& key) const noexcept {
        return std::hash<std::string_view>{}({reinterpret_cast<const char*>(&key), sizeof(key)});
    }
};
template <class Key>
struct BytesEqual {
    bool operator()(const Key& a, const Key& b) const noexcept { return std::memcmp(&a, &b, sizeof(a)) == 0; }
};
template <class Key, class Value>
using Rows = std::unordered_map<Key, Value, BytesHash<Key>, BytesEqual<Key>>;

class FakeTables final : public datapath::Tables {
public:
    struct Sizes {  // entries, entry 0 included
        std::uint32_t services = 1024;
        std::uint32_t slots = 4096;
        std::uint32_t backends = 4096;
    };
    struct Limits {  // rows
        std::size_t frontends = std::numeric_limits<std::size_t>::max();
        std::size_t desired = std::numeric_limits<std::size_t>::max();
        std::size_t backends = std::numeric_limits<std::size_t>::max();
        std::size_t ranges = std::numeric_limits<std::size_t>::max();
        std::size_t names = std::numeric_limits<std::size_t>::max();
        std::size_t strings = std::numeric_limits<std::size_t>::max();
    };

    explicit FakeTables(const Sizes& sizes)
        : service_rows(sizes.services), slot_rows(sizes.slots), backend_capacity(sizes.backends) {}
    FakeTables() : FakeTables(Sizes{}) {}

    std::function<int(const Write&)> fault;     // an errno makes the write fail, 0 lets it pass
    std::function<void(const Write&)> observe;  // after a write that took effect
    bool keep_log = false;
    std::vector<Write> log;
    std::uint64_t writes = 0;  // calls, failed ones included
    std::uint64_t grown = 0;   // calls of grow() that succeeded
    Limits limits;
    Sizes grow_limits{std::numeric_limits<std::uint32_t>::max(), std::numeric_limits<std::uint32_t>::max(),
                      std::numeric_limits<std::uint32_t>::max()};

    Rows<svclb_frontend_key, svclb_frontend> frontends;
    Rows<svclb_frontend_key, svclb_frontend> desired;
    Rows<svclb_backend_key, svclb_backend> backends;
    Rows<svclb_source_range, std::uint32_t> ranges;
    std::map<std::uint32_t, svclb_service_name> names;
    std::map<std::uint32_t, svclb_string> strings;
    std::vector<svclb_service> service_rows;
    std::vector<svclb_slot> slot_rows;
    std::uint32_t backend_capacity;
    std::unique_ptr<svclb_filters> filters = std::make_unique<svclb_filters>();

    void fail_nth(std::uint64_t nth, int error_number) { failing_ = {writes + nth, error_number}; }
    void stop_after(std::uint64_t more) { last_write_ = writes + more; }
    void resume() {
        last_write_.reset();
        failing_.reset();
    }
    [[nodiscard]] bool stopped() const { return last_write_ && writes > *last_write_; }
    // Forgets the log, not the rows.
    void clear_log() { log.clear(); }
    [[nodiscard]] std::size_t count(Op op) const {
        return static_cast<std::size_t>(
            std::count_if(log.begin(), log.end(), [&](const Write& w) { return w.op == op; }));
    }

    [[nodiscard]] std::uint32_t capacity(datapath::Sized map) const override {
        switch (map) {
            case datapath::Sized::services:
                return static_cast<std::uint32_t>(service_rows.size());
            case datapath::Sized::slots:
                return static_cast<std::uint32_t>(slot_rows.size());
            case datapath::Sized::backends:
                return backend_capacity;
        }
        return 0;
    }

    using Tables::grow;
    Status grow(std::span<const datapath::Room> rooms) override {
        if (last_write_ && writes >= *last_write_) return fail_errno(ECANCELED, "the agent has died");
        for (const auto& [map, entries] : rooms) {
            const auto limit = map == datapath::Sized::services ? grow_limits.services
                               : map == datapath::Sized::slots  ? grow_limits.slots
                                                                : grow_limits.backends;
            if (entries > limit) return fail_errno(ENOMEM, fmt::format("grow to {} entries", entries));
        }
        for (const auto& [map, entries] : rooms) {
            if (map == datapath::Sized::services)
                service_rows.resize(std::max<std::size_t>(service_rows.size(), entries));
            else if (map == datapath::Sized::slots)
                slot_rows.resize(std::max<std::size_t>(slot_rows.size(), entries));
            else
                backend_capacity = std::max(backend_capacity, entries);
        }
        ++grown;
        return {};
    }

    using Tables::put;
    Status put(const svclb_frontend_key& key, const svclb_frontend& value) override {
        return write({.op = Op::put_frontend, .frontend_key = key, .frontend = value},
                     [&] { return store(frontends, key, value, limits.frontends, "frontends"); });
    }
    Status remove(const svclb_frontend_key& key) override {
        return write({.op = Op::remove_frontend, .frontend_key = key}, [&] { return drop(frontends, key); });
    }
    using Tables::put_desired;
    Status put_desired(const svclb_frontend_key& key, const svclb_frontend& value) override {
        return write({.op = Op::put_desired, .frontend_key = key, .frontend = value},
                     [&] { return store(desired, key, value, limits.desired, "desired_frontends"); });
    }
    Status remove_desired(const svclb_frontend_key& key) override {
        return write({.op = Op::remove_desired, .frontend_key = key}, [&] { return drop(desired, key); });
    }
    Status put(const svclb_backend_key& key, const svclb_backend& value) override {
        return write({.op = Op::put_backend, .backend_key = key, .backend = value},
                     [&] { return store(backends, key, value, limits.backends, "backends"); });
    }
    Status remove(const svclb_backend_key& key) override {
        return write({.op = Op::remove_backend, .backend_key = key}, [&] { return drop(backends, key); });
    }
    Status put(const svclb_source_range& range) override {
        return write({.op = Op::put_range, .range = range},
                     [&] { return store(ranges, range, 1U, limits.ranges, "source_ranges"); });
    }
    Status remove(const svclb_source_range& range) override {
        return write({.op = Op::remove_range, .range = range}, [&] { return drop(ranges, range); });
    }
    Status put_name(std::uint32_t service, const svclb_service_name& value) override {
        return write({.op = Op::put_name, .index = service},
                     [&] { return store(names, service, value, limits.names, "service_names"); });
    }
    Status remove_name(std::uint32_t service) override {
        return write({.op = Op::remove_name, .index = service}, [&] { return drop(names, service); });
    }
    Status put_string(std::uint32_t id, const svclb_string& value) override {
        return write({.op = Op::put_string, .index = id},
                     [&] { return store(strings, id, value, limits.strings, "strings"); });
    }
    Status remove_string(std::uint32_t id) override {
        return write({.op = Op::remove_string, .index = id}, [&] { return drop(strings, id); });
    }

    Status write_slots(std::uint32_t base, std::span<const svclb_slot> rows) override {
        return write({.op = Op::write_slots, .index = base, .slots = {rows.begin(), rows.end()}}, [&]() -> Status {
            if (std::uint64_t{base} + rows.size() > slot_rows.size())
                return out_of_range("slots", base + rows.size() - 1, slot_rows.size());
            std::copy(rows.begin(), rows.end(), slot_rows.begin() + base);
            return {};
        });
    }
    Status publish(std::uint32_t service, const svclb_service& row) override {
        return write({.op = Op::publish, .index = service, .service = row}, [&]() -> Status {
            if (service == SVCLB_NONE || service >= service_rows.size())
                return out_of_range("services", service, service_rows.size());
            service_rows[service] = row;
            return {};
        });
    }
    void mark_frontend(const svclb_frontend_key& key, __u8 kind) override {
        if (!stopped()) svclb_mark_frontend(filters.get(), &key, kind);
    }
    // NOLINTNEXTLINE(modernize-avoid-c-arrays): the interface has the row's own type
    void mark_backend(const __be32 (&address)[SVCLB_ADDR_WORDS], __be16 port) override {
        if (!stopped()) filters->backend[svclb_filter_index(address, port)] = 1;
    }
    Status reset_service_counter(std::uint32_t service) override {
        return write({.op = Op::reset_service_counter, .index = service}, [&]() -> Status {
            if (service >= service_rows.size()) return out_of_range("service_counters", service, service_rows.size());
            return {};
        });
    }
    Status reset_backend_counter(std::uint32_t backend) override {
        return write({.op = Op::reset_backend_counter, .index = backend}, [&]() -> Status {
            if (backend >= backend_capacity) return out_of_range("backend_counters", backend, backend_capacity);
            return {};
        });
    }

    Status each_frontend(
        const std::function<void(const svclb_frontend_key&, const svclb_frontend&)>& visit) const override {
        return each(frontends, visit);
    }
    Status each_desired(
        const std::function<void(const svclb_frontend_key&, const svclb_frontend&)>& visit) const override {
        return each(desired, visit);
    }
    Status each_backend(
        const std::function<void(const svclb_backend_key&, const svclb_backend&)>& visit) const override {
        return each(backends, visit);
    }
    Status each_range(const std::function<void(const svclb_source_range&)>& visit) const override {
        for (const auto& [range, one] : ranges) visit(range);
        return {};
    }
    Status each_name(const std::function<void(std::uint32_t, const svclb_service_name&)>& visit) const override {
        return each(names, visit);
    }
    Status each_string(const std::function<void(std::uint32_t, const svclb_string&)>& visit) const override {
        return each(strings, visit);
    }
    [[nodiscard]] std::span<const svclb_service> services() const override { return service_rows; }
    [[nodiscard]] std::span<const svclb_slot> slots() const override { return slot_rows; }

private:
    static Status out_of_range(const char* map, std::uint64_t index, std::uint64_t size) {
        return fail_errno(E2BIG, fmt::format("{}: entry {} of {}", map, index, size));
    }
    template <class Map, class Key, class Value>
    static Status store(Map& map, const Key& key, const Value& value, std::size_t limit, const char* name) {
        if (map.size() >= limit && !map.contains(key))
            return fail_errno(ENOSPC, fmt::format("{}: {} rows", name, map.size()));
        map.insert_or_assign(key, value);
        return {};
    }
    template <class Map, class Key>
    static Status drop(Map& map, const Key& key) {
        map.erase(key);
        return {};
    }
    template <class Map, class Visit>
    static Status each(const Map& map, const Visit& visit) {
        for (const auto& [key, value] : map) visit(key, value);
        return {};
    }

    template <class Effect>
    Status write(Write&& row, const Effect& effect) {
        ++writes;
        if (stopped()) return fail_errno(ECANCELED, "the agent has died");
        if (failing_ && writes == failing_->first) return fail_errno(failing_->second, "injected");
        if (fault) {
            if (const int error_number = fault(row); error_number != 0) return fail_errno(error_number, "injected");
        }
        auto done = effect();
        if (!done) return done;
        if (observe) observe(row);
        if (keep_log) log.push_back(std::move(row));
        return {};
    }

    std::optional<std::pair<std::uint64_t, int>> failing_;  // which write, errno
    std::optional<std::uint64_t> last_write_;
};

}  // namespace svclb::test
