// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The rows that the agent writes, behind one abstract door: reconcile sees this and abi.h, never libbpf. The kernel's
// maps are one implementation (kernel_tables), an in-memory one in the tests is the other.
// An index or id that is out of range is an error that names the map and its size; a failed write changes nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "svclb/abi.h"
#include "svclb/base/result.hpp"

namespace svclb::datapath {

// Maps addressed by index, which can be made larger while traffic flows.
enum class Sized : std::uint8_t { services, slots, backends };
struct Room {
    Sized map = Sized::services;
    std::uint32_t entries = 0;
};

class Tables {
public:
    virtual ~Tables() = default;

    // Entries, the unusable entry 0 included. `backends` is the size of backend_counters: ids are below it.
    [[nodiscard]] virtual std::uint32_t capacity(Sized map) const = 0;
    // At least so many entries in each map afterwards, in one step; a map that is large enough stays. Traffic goes on
    // meanwhile; no other write may run during the call.
    virtual Status grow(std::span<const Room> rooms) = 0;
    Status grow(Sized map, std::uint32_t entries) {
        const Room room{map, entries};
        return grow(std::span(&room, 1));
    }

    // Hash rows. Removing a row that is not there is no error.
    virtual Status put(const svclb_frontend_key& key, const svclb_frontend& value) = 0;
    virtual Status remove(const svclb_frontend_key& key) = 0;
    // The agent's own record of the frontends it wants, which the programs never read: `svclb-ctl verify` compares.
    virtual Status put_desired(const svclb_frontend_key& key, const svclb_frontend& value) = 0;
    virtual Status remove_desired(const svclb_frontend_key& key) = 0;
    virtual Status put(const svclb_backend_key& key, const svclb_backend& value) = 0;
    virtual Status remove(const svclb_backend_key& key) = 0;
    virtual Status put(const svclb_source_range& range) = 0;
    virtual Status remove(const svclb_source_range& range) = 0;
    virtual Status put_name(std::uint32_t service, const svclb_service_name& value) = 0;
    virtual Status remove_name(std::uint32_t service) = 0;
    virtual Status put_string(std::uint32_t id, const svclb_string& value) = 0;
    virtual Status remove_string(std::uint32_t id) = 0;

    // Array rows, written through shared memory.
    // The run must not be reachable by any published service row.
    virtual Status write_slots(std::uint32_t base, std::span<const svclb_slot> slots) = 0;
    // Stores each 64-bit run with release order, after the plain fields; epoch last.
    virtual Status publish(std::uint32_t service, const svclb_service& row) = 0;
    // Sets filter bytes; see svclb_filters.
    virtual void mark_frontend(const svclb_frontend_key& key, __u8 kind) = 0;
    virtual void mark_backend(const __be32 (&address)[SVCLB_ADDR_WORDS], __be16 port) = 0;
    // Zeroes counters of an index or id before it is given to a new owner.
    virtual Status reset_service_counter(std::uint32_t service) = 0;
    virtual Status reset_backend_counter(std::uint32_t backend) = 0;

    // Many at once. Stops at the first failure: `done` is how many took effect before it.
    struct Batch {
        std::size_t done = 0;
        Status status;
    };
    virtual Batch put(std::span<const svclb_frontend_key> keys, std::span<const svclb_frontend> values) {
        return each_of(keys.size(), [&](std::size_t at) { return put(keys[at], values[at]); });
    }
    virtual Batch put_desired(std::span<const svclb_frontend_key> keys, std::span<const svclb_frontend> values) {
        return each_of(keys.size(), [&](std::size_t at) { return put_desired(keys[at], values[at]); });
    }
    virtual Batch put(std::span<const svclb_backend_key> keys, std::span<const svclb_backend> values) {
        return each_of(keys.size(), [&](std::size_t at) { return put(keys[at], values[at]); });
    }
    virtual Batch put_names(std::span<const std::uint32_t> services, std::span<const svclb_service_name> values) {
        return each_of(services.size(), [&](std::size_t at) { return put_name(services[at], values[at]); });
    }
    virtual Batch reset_backend_counters(std::span<const std::uint32_t> backends) {
        return each_of(backends.size(), [&](std::size_t at) { return reset_backend_counter(backends[at]); });
    }

    // Reading back, for adoption at start and for checks. Order is not defined.
    virtual Status each_frontend(
        const std::function<void(const svclb_frontend_key&, const svclb_frontend&)>& visit) const = 0;
    virtual Status each_desired(
        const std::function<void(const svclb_frontend_key&, const svclb_frontend&)>& visit) const = 0;
    virtual Status each_backend(
        const std::function<void(const svclb_backend_key&, const svclb_backend&)>& visit) const = 0;
    virtual Status each_range(const std::function<void(const svclb_source_range&)>& visit) const = 0;
    virtual Status each_name(const std::function<void(std::uint32_t, const svclb_service_name&)>& visit) const = 0;
    virtual Status each_string(const std::function<void(std::uint32_t, const svclb_string&)>& visit) const = 0;
    // Valid until the next grow().
    [[nodiscard]] virtual std::span<const svclb_service> services() const = 0;
    [[nodiscard]] virtual std::span<const svclb_slot> slots() const = 0;

protected:
    // One after the other, as a batch.
    template <class Write>
    static Batch each_of(std::size_t count, const Write& write) {
        Batch batch;
        for (; batch.done < count; ++batch.done)
            if (batch.status = write(batch.done); !batch.status) break;
        return batch;
    }
};

}  // namespace svclb::datapath
