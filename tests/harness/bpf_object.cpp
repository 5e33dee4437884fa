// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "bpf_object.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <vector>

namespace svclb::test {
namespace {

std::string& warnings() {
    static std::string text;
    return text;
}

int keep_warnings(libbpf_print_level level, const char* format, va_list arguments) {
    if (level != LIBBPF_WARN) return 0;
    // A verifier's log is one message of many kilobytes.
    static std::array<char, 1U << 20U> line{};
    const int length = std::vsnprintf(line.data(), line.size(), format, arguments);
    warnings() += line.data();
    return length;
}

// libbpf puts the whole verifier log into one warning; the end of it holds the reason.
std::string last_warnings() {
    constexpr std::size_t kShown = 3000;
    const std::string& all = warnings();
    return all.size() > kShown ? "..." + all.substr(all.size() - kShown) : all;
}

void set_constants(const bpf_object* object, const std::map<std::string, std::span<const std::byte>>& constants) {
    if (constants.empty()) return;
    const btf* types = bpf_object__btf(object);
    bpf_map* rodata = nullptr;
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
        if (std::string_view(bpf_map__name(map)).ends_with(".rodata")) rodata = map;
    }
    const int section = types == nullptr ? -1 : btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC);
    if (rodata == nullptr || section < 0) throw std::runtime_error("BPF object without a described .rodata");
    std::size_t size = 0;
    auto* bytes = static_cast<std::byte*>(bpf_map__initial_value(rodata, &size));
    const btf_type* layout = btf__type_by_id(types, static_cast<__u32>(section));
    std::size_t found = 0;
    for (const btf_var_secinfo& variable : std::span(btf_var_secinfos(layout), btf_vlen(layout))) {
        const btf_type* type = btf__type_by_id(types, variable.type);
        const auto constant = constants.find(btf__name_by_offset(types, type->name_off));
        if (constant == constants.end()) continue;
        if (constant->second.size() != variable.size || variable.offset + variable.size > size) {
            throw std::runtime_error("constant " + constant->first + " has another size in the BPF object");
        }
        std::memcpy(bytes + variable.offset, constant->second.data(), variable.size);
        found++;
    }
    if (found != constants.size()) throw std::runtime_error("BPF object lacks a constant");
}

// Each loaded object holds dozens of descriptors, and a test binary that runs as a whole loads many.
void raise_descriptor_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

Object load(std::span<const std::byte> bytes, const ObjectOptions& options) {
    raise_descriptor_limit();
    libbpf_set_print(keep_warnings);
    warnings().clear();
    bpf_object_open_opts open_options{};
    open_options.sz = sizeof(open_options);
    open_options.object_name = "svclb_test";
    Object object(bpf_object__open_mem(bytes.data(), bytes.size(), &open_options));
    if (!object)
        throw std::runtime_error(std::string("open BPF object: ") + std::strerror(errno) + ' ' + last_warnings());

    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, object.get()) {
        // As the agent does: kernels before 6.6 know no tcx.
        if (bpf_program__type(program) == BPF_PROG_TYPE_SCHED_CLS)
            bpf_program__set_expected_attach_type(program, static_cast<bpf_attach_type>(0));
        options.each_program(program);
    }
    for (const auto& [name, entries] : options.max_entries) {
        bpf_map* map = bpf_object__find_map_by_name(object.get(), name.c_str());
        if (map == nullptr) throw std::runtime_error("BPF object has no map " + name);
        if (bpf_map__set_max_entries(map, entries) != 0) throw std::runtime_error("cannot size map " + name);
    }
    for (const auto& [name, fd] : options.maps) {
        bpf_map* map = bpf_object__find_map_by_name(object.get(), name.c_str());
        if (map == nullptr || bpf_map__reuse_fd(map, fd) != 0) throw std::runtime_error("cannot share map " + name);
    }
    set_constants(object.get(), options.constants);

    const int error = bpf_object__load(object.get());
    if (error == -EPERM) throw NotPermitted("loading BPF programs needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN");
    if (error != 0) {
        throw std::runtime_error(std::string("load BPF object: ") + std::strerror(-error) + "\n" + last_warnings());
    }
    return object;
}

int map_fd(const bpf_object* object, const char* name) {
    const int fd = bpf_object__find_map_fd_by_name(object, name);
    if (fd < 0) throw std::runtime_error(std::string("BPF object has no map ") + name);
    return fd;
}

int program_fd(const bpf_object* object, const char* name) {
    const bpf_program* program = bpf_object__find_program_by_name(object, name);
    if (program == nullptr) throw std::runtime_error(std::string("BPF object has no program ") + name);
    return bpf_program__fd(program);
}

MappedMap::MappedMap(int fd, std::size_t size)
    : memory_(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)), size_(size) {
    if (memory_ == MAP_FAILED) throw std::runtime_error(std::string("mmap a BPF map: ") + std::strerror(errno));
}

MappedMap::~MappedMap() {
    ::munmap(memory_, size_);
}

void MappedMap::clear() {
    std::memset(memory_, 0, size_);
}

}  // namespace svclb::test
