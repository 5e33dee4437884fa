// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A typed view of one map. Together with PerCpuRef and MappedArray it is the only user of bpf_map_*: everything else
// says what it wants by type.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "map_set.hpp"
#include "svclb/base/result.hpp"

namespace svclb::datapath {

inline Status check_row_sizes(const bpf_map_info& info, std::string_view name, std::size_t key, std::size_t value) {
    if (info.key_size == key && info.value_size == value) return {};
    return fail(Error::invalid(fmt::format("map {} has keys of {} and values of {} bytes instead of {} and {}", name,
                                           info.key_size, info.value_size, key, value)));
}

// How many rows a batch of `size` wrote. One that fails before its first row leaves the count as it was.
inline std::size_t rows_done(int error, std::uint32_t count, std::size_t size) {
    if (error == 0) return size;
    return count < size ? count : 0;
}

// Rows that one system call returned, and where the next one goes on.
template <class Key, class Value>
class BatchCursor {
public:
    explicit BatchCursor(std::uint32_t rows) : keys_(rows), values_(rows) {}

    [[nodiscard]] bool finished() const { return finished_; }
    [[nodiscard]] std::uint32_t count() const { return count_; }
    [[nodiscard]] const Key& key(std::uint32_t row) const { return keys_[row]; }
    [[nodiscard]] const Value& value(std::uint32_t row) const { return values_[row]; }

    Status next(int fd, std::string_view name) {
        bpf_map_batch_opts opts{};
        opts.sz = sizeof(opts);
        for (;;) {
            count_ = static_cast<std::uint32_t>(keys_.size());
            const int error = bpf_map_lookup_batch(fd, started_ ? position_.data() : nullptr, next_.data(),
                                                   keys_.data(), values_.data(), &count_, &opts);
            if (error == -ENOSPC) {  // one bucket alone holds more
                keys_.resize(keys_.size() * 2);
                values_.resize(keys_.size());
                continue;
            }
            if (error != 0 && error != -ENOENT) {
                count_ = 0;
                return fail_errno(-error, fmt::format("read map {}", name));
            }
            finished_ = error == -ENOENT;
            started_ = !finished_;
            position_ = next_;
            return {};
        }
    }

private:
    std::vector<Key> keys_;
    std::vector<Value> values_;
    // A bucket's number for hashes: it stays valid when the rows of a bucket are removed.
    std::array<std::byte, 64> position_{};
    std::array<std::byte, 64> next_{};
    std::uint32_t count_ = 0;
    bool started_ = false;
    bool finished_ = false;
};

// Does not own: the MapSet does.
template <class Key, class Value>
class MapRef {
    static_assert(std::has_unique_object_representations_v<Key>,
                  "keys are hashed byte by byte; padding would make equal keys differ");
    static_assert(std::is_trivially_copyable_v<Value>);

public:
    MapRef() = default;
    static Result<MapRef> open(const MapSet& maps, const char* name) {
        const auto info = map_info(maps.find(name), name);
        if (!info) return fail(info.error());
        if (auto sizes = check_row_sizes(*info, name, sizeof(Key), sizeof(Value)); !sizes) return fail(sizes.error());
        return MapRef(maps.find(name), name);
    }

    [[nodiscard]] Result<std::optional<Value>> get(const Key& key) const {
        Value value{};
        const int error = bpf_map_lookup_elem(fd_, &key, &value);
        if (error == -ENOENT) return std::optional<Value>();
        if (error != 0) return fail_errno(-error, fmt::format("read a row of map {}", name_));
        return std::optional<Value>(value);
    }

    Status put(const Key& key, const Value& value) const {
        const int error = bpf_map_update_elem(fd_, &key, &value, BPF_ANY);
        if (error == -E2BIG) return fail_errno(ENOSPC, fmt::format("map {} is full", name_));
        if (error != 0) return fail_errno(-error, fmt::format("write a row of map {}", name_));
        return {};
    }

    // `done`: how many were written, all of them or those before the first failure.
    Status put(std::span<const Key> keys, std::span<const Value> values, std::size_t& done) const {
        bpf_map_batch_opts opts{};
        opts.sz = sizeof(opts);
        auto count = static_cast<std::uint32_t>(keys.size());
        const int error = bpf_map_update_batch(fd_, keys.data(), values.data(), &count, &opts);
        done = rows_done(error, count, keys.size());
        if (error == -E2BIG) return fail_errno(ENOSPC, fmt::format("map {} is full", name_));
        if (error != 0) return fail_errno(-error, fmt::format("write rows of map {}", name_));
        return {};
    }

    // False: it was not there.
    Result<bool> remove(const Key& key) const {
        const int error = bpf_map_delete_elem(fd_, &key);
        if (error == -ENOENT) return false;
        if (error != 0) return fail_errno(-error, fmt::format("remove a row of map {}", name_));
        return true;
    }

    // Removes the row and returns it as it was at that moment; before Linux 5.14 as it was right before.
    Result<std::optional<Value>> take(const Key& key) const {
        constexpr int kNotSupported = 524;  // the kernel's own ENOTSUPP
        Value value{};
        const int error = bpf_map_lookup_and_delete_elem(fd_, &key, &value);
        if (error == 0) return std::optional<Value>(value);
        if (error == -ENOENT) return std::optional<Value>();
        if (error != -EINVAL && error != -kNotSupported && error != -EOPNOTSUPP)
            return fail_errno(-error, fmt::format("take a row of map {}", name_));
        auto row = get(key);
        if (!row || !*row) return row;
        const auto removed = remove(key);
        if (!removed) return fail(removed.error());
        return *removed ? row : std::optional<Value>();
    }

    // Unless something lies under the key by now.
    Status put_back(const Key& key, const Value& value) const {
        const int error = bpf_map_update_elem(fd_, &key, &value, BPF_NOEXIST);
        if (error != 0 && error != -EEXIST) return fail_errno(-error, fmt::format("write a row of map {}", name_));
        return {};
    }

    template <class Visit>
    Status each(const Visit& visit) const {
        BatchCursor<Key, Value> cursor(4096);
        do {
            if (auto read = cursor.next(fd_, name_); !read) return read;
            for (std::uint32_t row = 0; row < cursor.count(); ++row) visit(cursor.key(row), cursor.value(row));
        } while (!cursor.finished());
        return {};
    }

    // Of a map whose rows cannot be read many at once.
    template <class Visit>
    Status each_key(const Visit& visit) const {
        Key key{};
        Key next{};
        int error = bpf_map_get_next_key(fd_, nullptr, &next);
        for (; error == 0; error = bpf_map_get_next_key(fd_, &key, &next)) {
            key = next;
            visit(key);
        }
        if (error != -ENOENT) return fail_errno(-error, fmt::format("read map {}", name_));
        return {};
    }

    Status next(BatchCursor<Key, Value>& cursor) const { return cursor.next(fd_, name_); }

private:
    MapRef(int fd, const char* name) : fd_(fd), name_(name) {}

    int fd_ = -1;
    const char* name_ = "";
};

// An array with one value for each CPU, whose fields are counters: it is read as their sum.
template <class Value>
class PerCpuRef {
    static_assert(sizeof(Value) % sizeof(std::uint64_t) == 0, "the kernel rounds each CPU's value up to eight bytes");
    static constexpr std::size_t kFields = sizeof(Value) / sizeof(std::uint64_t);

public:
    PerCpuRef() = default;
    static Result<PerCpuRef> open(const MapSet& maps, const char* name) {
        const auto info = map_info(maps.find(name), name);
        if (!info) return fail(info.error());
        if (auto sizes = check_row_sizes(*info, name, sizeof(std::uint32_t), sizeof(Value)); !sizes) {
            return fail(sizes.error());
        }
        const int cpus = libbpf_num_possible_cpus();
        if (cpus < 0) return fail_errno(-cpus, "count the CPUs");
        return PerCpuRef(maps.find(name), name, info->max_entries, static_cast<std::size_t>(cpus));
    }

    [[nodiscard]] std::uint32_t size() const { return size_; }

    [[nodiscard]] Result<Value> sum(std::uint32_t index) const {
        std::vector<std::array<std::uint64_t, kFields>> values(cpus_);
        if (auto done = read(index, values.data()); !done) return fail(done.error());
        std::array<std::uint64_t, kFields> total{};
        for (const auto& value : values) {
            for (std::size_t field = 0; field < kFields; ++field) total[field] += value[field];
        }
        return std::bit_cast<Value>(total);
    }

    Status reset(std::uint32_t index) const {
        const std::vector<std::array<std::uint64_t, kFields>> zeros(cpus_);
        return write(index, zeros.data());
    }

    // `done`: how many were reset, all of them or those before the first failure.
    Status reset(std::span<const std::uint32_t> indices, std::size_t& done) const {
        const std::vector<std::array<std::uint64_t, kFields>> zeros(cpus_ * indices.size());
        bpf_map_batch_opts opts{};
        opts.sz = sizeof(opts);
        auto count = static_cast<std::uint32_t>(indices.size());
        const int error = bpf_map_update_batch(fd_, indices.data(), zeros.data(), &count, &opts);
        done = rows_done(error, count, indices.size());
        if (error != 0) return fail_errno(-error, fmt::format("reset entries of map {}", name_));
        return {};
    }

    // Into a map that has at least as many entries.
    Status copy_to(const PerCpuRef& to) const {
        std::uint32_t index = copy_batches_to(to);
        std::vector<std::array<std::uint64_t, kFields>> values(cpus_);
        for (; index < size_; ++index) {
            if (auto done = read(index, values.data()); !done) return done;
            if (auto done = to.write(index, values.data()); !done) return done;
        }
        return {};
    }

private:
    PerCpuRef(int fd, const char* name, std::uint32_t size, std::size_t cpus)
        : fd_(fd), name_(name), size_(size), cpus_(cpus) {}

    // How many of the first entries were copied: all of them, or none before Linux 5.13.
    std::uint32_t copy_batches_to(const PerCpuRef& to) const {
        constexpr std::uint32_t kEntries = 512;
        std::vector<std::uint32_t> indices(kEntries);
        std::vector<std::array<std::uint64_t, kFields>> values(cpus_ * kEntries);
        bpf_map_batch_opts opts{};
        opts.sz = sizeof(opts);
        std::uint32_t position = 0;
        for (std::uint32_t copied = 0;;) {
            std::uint32_t count = kEntries;
            const int error = bpf_map_lookup_batch(fd_, copied == 0 ? nullptr : &position, &position, indices.data(),
                                                   values.data(), &count, &opts);
            if (error != 0 && error != -ENOENT) return copied;
            const bool last = error == -ENOENT;
            if (count != 0 && bpf_map_update_batch(to.fd_, indices.data(), values.data(), &count, &opts) != 0)
                return copied;
            copied += count;
            if (last || copied >= size_) return copied;
        }
    }

    Status check(std::uint32_t index) const {
        if (index < size_) return {};
        return fail(Error::invalid(fmt::format("index {} is outside of map {} with {} entries", index, name_, size_)));
    }
    Status read(std::uint32_t index, void* values) const {
        if (auto inside = check(index); !inside) return inside;
        const int error = bpf_map_lookup_elem(fd_, &index, values);
        if (error != 0) return fail_errno(-error, fmt::format("read entry {} of map {}", index, name_));
        return {};
    }
    Status write(std::uint32_t index, const void* values) const {
        if (auto inside = check(index); !inside) return inside;
        const int error = bpf_map_update_elem(fd_, &index, values, BPF_ANY);
        if (error != 0) return fail_errno(-error, fmt::format("write entry {} of map {}", index, name_));
        return {};
    }

    int fd_ = -1;
    const char* name_ = "";
    std::uint32_t size_ = 0;
    std::size_t cpus_ = 0;
};

// An array that the kernel shares with us: a row costs a store.
template <class Value>
class MappedArray {
    static_assert(sizeof(Value) % 8 == 0, "the kernel rounds each entry up to eight bytes");

public:
    MappedArray() = default;
    MappedArray(MappedArray&& other) noexcept : rows_(std::exchange(other.rows_, {})) {}
    MappedArray& operator=(MappedArray&& other) noexcept {
        std::swap(rows_, other.rows_);
        return *this;
    }
    MappedArray(const MappedArray&) = delete;
    MappedArray& operator=(const MappedArray&) = delete;
    ~MappedArray() {
        if (!rows_.empty()) ::munmap(rows_.data(), rows_.size_bytes());
    }

    static Result<MappedArray> open(const MapSet& maps, const char* name, bool read_only = false) {
        const auto info = map_info(maps.find(name), name);
        if (!info) return fail(info.error());
        if (auto sizes = check_row_sizes(*info, name, sizeof(std::uint32_t), sizeof(Value)); !sizes) {
            return fail(sizes.error());
        }
        const std::size_t bytes = std::size_t{info->max_entries} * sizeof(Value);
        void* memory =
            ::mmap(nullptr, bytes, read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, maps.find(name), 0);
        if (memory == MAP_FAILED) return fail_errno(errno, fmt::format("map {} into memory", name));
        MappedArray mapped;
        mapped.rows_ = {static_cast<Value*>(memory), info->max_entries};
        return mapped;
    }

    [[nodiscard]] std::span<Value> rows() const { return rows_; }

private:
    std::span<Value> rows_;
};

// Opens one after the other and remembers the first failure.
class Opener {
public:
    template <class View>
    void into(View& view, Result<View> opened) {
        if (opened) {
            view = std::move(*opened);
        } else if (!error_) {
            error_ = opened.error();
        }
    }
    template <class T>
    [[nodiscard]] Result<T> finish(T value) const {
        if (error_) return fail(*error_);
        return value;
    }

private:
    std::optional<Error> error_;
};

}  // namespace svclb::datapath
