// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A BPF object in memory, loaded into the kernel with plain libbpf: none of the agent's own loading code, so that the
// programs' tests run on any kernel, in any machine, with nothing but the two capabilities.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace svclb::test {

// The kernel does not let this process load programs.
class NotPermitted : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct ObjectDeleter {
    void operator()(bpf_object* object) const noexcept { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, ObjectDeleter>;

struct ObjectOptions {
    std::map<std::string, std::uint32_t> max_entries;                      // by map; the others as in the object
    std::map<std::string, int> maps;                                       // of another object's, used as they are
    std::map<std::string, std::span<const std::byte>> constants;           // by variable in .rodata
    std::function<void(bpf_program*)> each_program = [](bpf_program*) {};  // before the load
};

// Throws NotPermitted, or std::runtime_error with the verifier's last words.
Object load(std::span<const std::byte> bytes, const ObjectOptions& options);

int map_fd(const bpf_object* object, const char* name);
int program_fd(const bpf_object* object, const char* name);

template <class Key>
std::vector<Key> keys_of(int fd) {
    std::vector<Key> keys;
    Key key{};
    const Key* previous = nullptr;
    while (bpf_map_get_next_key(fd, previous, &key) == 0) {
        keys.push_back(key);
        previous = &keys.back();
    }
    return keys;
}

template <class Key>
void empty(int fd) {
    for (const Key& key : keys_of<Key>(fd)) bpf_map_delete_elem(fd, &key);
}

// A map with BPF_F_MMAPABLE, or the whole of it, in this process's memory.
class MappedMap {
public:
    MappedMap(int fd, std::size_t size);
    ~MappedMap();
    MappedMap(const MappedMap&) = delete;
    MappedMap& operator=(const MappedMap&) = delete;

    template <class Row>
    [[nodiscard]] Row* rows() const {
        return static_cast<Row*>(memory_);
    }
    void clear();

private:
    void* memory_;
    std::size_t size_;
};

}  // namespace svclb::test
