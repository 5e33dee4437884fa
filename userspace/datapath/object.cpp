// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "object.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

extern "C" {
// Laid down by embedded_object.S.
extern const std::byte svclb_object_begin[];  // NOLINT(modernize-avoid-c-arrays): a symbol, its size is in the next one
extern const std::byte svclb_object_end[];    // NOLINT(modernize-avoid-c-arrays)
extern const std::byte svclb_sockets_begin[];  // NOLINT(modernize-avoid-c-arrays)
extern const std::byte svclb_sockets_end[];    // NOLINT(modernize-avoid-c-arrays)
}

namespace svclb::datapath {
namespace {

struct ObjectDeleter {
    void operator()(bpf_object* object) const noexcept { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, ObjectDeleter>;

constexpr __u32 kXdpHasFrags = 1U << 5U;  // BPF_F_XDP_HAS_FRAGS, since 5.18
constexpr std::size_t kVerifierLogSize = std::size_t{1} << 20;

// The first warning that libbpf prints during a load, on the thread that loads, says which program or map it is about.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): libbpf's callback has no context
thread_local std::string first_warning;

int log_libbpf(libbpf_print_level level, const char* format, va_list arguments) {
    std::array<char, 1024> line{};
    const int length = std::vsnprintf(line.data(), line.size(), format, arguments);
    std::string_view text(line.data(), std::strlen(line.data()));
    while (text.ends_with('\n')) text.remove_suffix(1);
    if (text.starts_with("libbpf: ")) text.remove_prefix(8);
    if (level == LIBBPF_WARN && first_warning.empty()) first_warning = text;
    spdlog::debug("libbpf text=\"{}\"", text);
    return length;
}

// The verifier's reason: the last line before its statistics.
std::string_view last_reason(std::string_view log) {
    std::string_view reason;
    while (!log.empty()) {
        const std::string_view line = log.substr(0, log.find('\n'));
        log.remove_prefix(std::min(log.size(), line.size() + 1));
        if (!line.empty() && !line.starts_with("processed ") && !line.starts_with("verification time ") &&
            !line.starts_with("stack depth ")) {
            reason = line;
        }
    }
    return reason;
}

Status set_settings(const bpf_object* object, const svclb_settings& settings) {
    const btf* types = bpf_object__btf(object);
    const int section = types == nullptr ? -ENOENT : btf__find_by_name_kind(types, ".rodata", BTF_KIND_DATASEC);
    bpf_map* rodata = nullptr;
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
        if (bpf_map__is_internal(map) && std::string_view(bpf_map__name(map)).ends_with(".rodata")) rodata = map;
    }
    if (section < 0 || rodata == nullptr)
        return fail(Error::invalid("BPF object has no .rodata with type information"));

    std::size_t size = 0;
    auto* bytes = static_cast<std::byte*>(bpf_map__initial_value(rodata, &size));
    const btf_type* layout = btf__type_by_id(types, static_cast<__u32>(section));
    for (const btf_var_secinfo& variable : std::span(btf_var_secinfos(layout), btf_vlen(layout))) {
        const btf_type* type = btf__type_by_id(types, variable.type);
        if (std::string_view(btf__name_by_offset(types, type->name_off)) != "settings") continue;
        if (variable.size != sizeof(settings) || variable.offset + sizeof(settings) > size) break;
        std::memcpy(bytes + variable.offset, &settings, sizeof(settings));
        return {};
    }
    return fail(Error::invalid("BPF object has no 'settings' of the size in abi.h"));
}

Status reuse_map(bpf_map* map, const std::string& name, int fd) {
    const auto info = map_info(fd, name);
    if (!info) return fail(info.error());
    if (info->type != bpf_map__type(map)) {
        return fail(Error::invalid(fmt::format("pinned map {} is of type {} instead of {}", name,
                                               libbpf_bpf_map_type_str(static_cast<bpf_map_type>(info->type)),
                                               libbpf_bpf_map_type_str(bpf_map__type(map)))));
    }
    if (info->key_size != bpf_map__key_size(map) || info->value_size != bpf_map__value_size(map)) {
        return fail(Error::invalid(
            fmt::format("pinned map {} has keys of {} and values of {} bytes instead of {} and {}", name,
                        info->key_size, info->value_size, bpf_map__key_size(map), bpf_map__value_size(map))));
    }
    if (info->map_flags != bpf_map__map_flags(map)) {
        return fail(Error::invalid(fmt::format("pinned map {} has flags {:#x} instead of {:#x}", name, info->map_flags,
                                               bpf_map__map_flags(map))));
    }
    if (const int error = bpf_map__reuse_fd(map, fd); error != 0) {
        return fail_errno(-error, fmt::format("reuse pinned map {}", name));
    }
    return {};
}

bool is_pinned(const bpf_map* map) {
    return !bpf_map__is_internal(map) && bpf_map__type(map) != BPF_MAP_TYPE_ARRAY_OF_MAPS;
}

Status set_up_maps(bpf_object* object, const MapSet& reuse, const Entries& entries) {
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
        if (!is_pinned(map)) continue;
        const std::string name = bpf_map__name(map);
        if (const int fd = reuse.find(name); fd >= 0) {
            if (auto reused = reuse_map(map, name, fd); !reused) return reused;
        } else if (const auto found = entries.find(name); found != entries.end()) {
            if (const int error = bpf_map__set_max_entries(map, found->second); error != 0) {
                return fail_errno(-error, fmt::format("size map {}", name));
            }
        }
    }
    return {};
}

Result<MapSet> pinned_maps(const bpf_object* object) {
    MapSet maps;
    const bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
        if (!is_pinned(map)) continue;
        auto fd = duplicate(bpf_map__fd(map), bpf_map__name(map));
        if (!fd) return fail(fd.error());
        maps.put(bpf_map__name(map), std::move(*fd));
    }
    return maps;
}

// One of the objects that are embedded in this program.
struct Embedded {
    const char* name;
    std::span<const std::byte> bytes;
};

Embedded packet_object() {
    return {"svclb", {svclb_object_begin, svclb_object_end}};
}

Embedded socket_object() {
    return {"svclb_sockets", {svclb_sockets_begin, svclb_sockets_end}};
}

// One of them while it is loaded.
class Loading {
public:
    static Result<Loading> open(const Embedded& embedded) {
        quieten_libbpf();
        Loading loading;
        bpf_object_open_opts opts{};
        opts.sz = sizeof(opts);
        opts.object_name = embedded.name;
        opts.kernel_log_buf = loading.verifier_log_.get();
        opts.kernel_log_size = kVerifierLogSize;
        loading.object_.reset(bpf_object__open_mem(embedded.bytes.data(), embedded.bytes.size(), &opts));
        if (!loading.object_) return fail_errno(errno, fmt::format("open the embedded BPF object {}", embedded.name));
        bpf_program* program = nullptr;
        bpf_object__for_each_program(program, loading.object()) {
            bpf_program__set_autoload(program, false);
            // Known to kernels with tcx only; a program without it may be attached as a tcx link and as a clsact
            // filter.
            if (bpf_program__type(program) == BPF_PROG_TYPE_SCHED_CLS)
                bpf_program__set_expected_attach_type(program, static_cast<bpf_attach_type>(0));
        }
        return loading;
    }

    [[nodiscard]] bpf_object* object() const { return object_.get(); }

    // The maps, and the programs that were chosen.
    Status load(const MapSet& reuse, const Entries& entries) {
        if (auto set = set_up_maps(object(), reuse, entries); !set) return set;
        first_warning.clear();
        if (const int error = bpf_object__load(object()); error != 0) {
            const std::string warning = std::exchange(first_warning, {});
            const std::string_view reason = last_reason(verifier_log_.get());
            return fail_errno(-error, fmt::format("load the BPF programs{}{}{}{}", warning.empty() ? "" : ": ", warning,
                                                  reason.empty() ? "" : "; the verifier says: ", reason));
        }
        return {};
    }

private:
    // Memory that is only touched where a load fails.
    Loading() : verifier_log_(std::make_unique_for_overwrite<char[]>(kVerifierLogSize)) { verifier_log_[0] = '\0'; }

    std::unique_ptr<char[]> verifier_log_;  // NOLINT(modernize-avoid-c-arrays): a vector would zero it
    Object object_;
};

// Programs are loaded in groups, by several threads: all in one is twice the time on two CPUs.
constexpr std::size_t kGroups = 4;
struct Group {
    std::size_t instructions = 0;
    std::vector<std::string> names;
    bool xdp = false;
};

// Of about the same size, the longest programs first; XDP's on their own, which want a flag. No name = an error.
Result<std::vector<Group>> groups_of(const bpf_object* object, const ProgramNames& names) {
    std::vector<const bpf_program*> programs;
    std::vector<Group> groups;
    for (const auto& name : names) {
        const auto* program = bpf_object__find_program_by_name(object, name.c_str());
        if (program == nullptr) return fail(Error::invalid(fmt::format("BPF object has no program {}", name)));
        if (bpf_program__type(program) == BPF_PROG_TYPE_XDP)
            groups.push_back({.names = {name}, .xdp = true});
        else
            programs.push_back(program);
    }
    std::ranges::stable_sort(programs, std::greater{}, bpf_program__insn_cnt);
    const auto first = groups.insert(groups.end(), std::min(kGroups, programs.size()), {});
    for (const auto* next : programs) {
        auto& smallest = *std::min_element(
            first, groups.end(), [](const Group& a, const Group& b) { return a.instructions < b.instructions; });
        smallest.instructions += bpf_program__insn_cnt(next);
        smallest.names.emplace_back(bpf_program__name(next));
    }
    return groups;
}

Result<Programs> load_together(const Embedded& embedded, const svclb_settings& settings, const MapSet& maps,
                               const std::vector<std::string>& names, __u32 flags) {
    auto loading = Loading::open(embedded);
    if (!loading) return fail(loading.error());
    std::vector<bpf_program*> programs;
    for (const auto& name : names) {
        programs.push_back(bpf_object__find_program_by_name(loading->object(), name.c_str()));
        bpf_program__set_autoload(programs.back(), true);
        bpf_program__set_flags(programs.back(), flags);
    }
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, loading->object()) {
        if (!is_pinned(map) && !bpf_map__is_internal(map)) bpf_map__set_autocreate(map, false);  // no program uses it
    }
    if (auto set = set_settings(loading->object(), settings); !set) return fail(set.error());
    if (auto done = loading->load(maps, {}); !done) return fail(done.error());
    Programs loaded;
    for (const bpf_program* program : programs) {
        auto fd = duplicate(bpf_program__fd(program), bpf_program__name(program));
        if (!fd) return fail(fd.error());
        loaded.emplace(bpf_program__name(program), std::move(*fd));
    }
    return loaded;
}

// XDP's takes frames in several pieces, where the kernel has such: or else drivers refuse it where frames are large.
Result<Programs> load_group(const Embedded& embedded, const svclb_settings& settings, const MapSet& maps,
                            const Group& group) {
    if (group.xdp) {
        if (auto loaded = load_together(embedded, settings, maps, group.names, kXdpHasFrags)) return loaded;
    }
    return load_together(embedded, settings, maps, group.names, 0);
}

Result<Programs> load_groups(const Embedded& embedded, const svclb_settings& settings, const MapSet& maps,
                             const std::vector<Group>& groups) {
    std::vector<std::future<Result<Programs>>> loads;
    loads.reserve(groups.size());
    // Without a thread to be had, one after the other below.
    for (const auto& group : groups)
        loads.push_back(std::async(std::launch::async | std::launch::deferred,
                                   [&] { return load_group(embedded, settings, maps, group); }));
    Programs all;
    std::optional<Error> failure;
    for (auto& load : loads) {
        auto loaded = load.get();
        if (loaded)
            all.merge(*loaded);
        else if (!failure)
            failure = loaded.error();
    }
    if (failure) return fail(*failure);
    return all;
}

// No names = all that the object has.
Result<Programs> load_programs_of(const Embedded& embedded, const svclb_settings& settings, const MapSet& maps,
                                  std::optional<ProgramNames> names) {
    const auto unloaded = Loading::open(embedded);
    if (!unloaded) return fail(unloaded.error());
    if (!names) {
        names.emplace();
        bpf_program* program = nullptr;
        bpf_object__for_each_program(program, unloaded->object()) names->emplace(bpf_program__name(program));
    }
    const auto groups = groups_of(unloaded->object(), *names);
    if (!groups) return fail(groups.error());
    return load_groups(embedded, settings, maps, *groups);
}

Result<MadeMaps> make_maps_of(const Embedded& embedded, const MapSet& reuse, const Entries& entries) {
    auto loading = Loading::open(embedded);
    if (!loading) return fail(loading.error());
    if (auto done = loading->load(reuse, entries); !done) return fail(done.error());
    auto maps = pinned_maps(loading->object());
    if (!maps) return fail(maps.error());
    MadeMaps made;
    made.maps = std::move(*maps);
    if (const int barrier = bpf_object__find_map_fd_by_name(loading->object(), "barrier"); barrier >= 0) {
        auto copy = duplicate(barrier, "barrier");
        if (!copy) return fail(copy.error());
        made.barrier = std::move(*copy);
    }
    return made;
}

}  // namespace

ProgramNames names_of(const Programs& programs) {
    ProgramNames names;
    for (const auto& [name, fd] : programs) names.insert(name);
    return names;
}

int program_in(const Programs& programs, std::string_view name) {
    const auto found = programs.find(name);
    return found == programs.end() ? -1 : found->second.get();
}

Result<UniqueFd> duplicate(int fd, std::string_view what) {
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return fail_errno(errno, fmt::format("duplicate the descriptor of {}", what));
    return UniqueFd(copy);
}

void quieten_libbpf() {
    libbpf_set_print(log_libbpf);
}

Result<MadeMaps> make_maps(const MapSet& reuse, const Entries& entries) {
    auto made = make_maps_of(packet_object(), reuse, entries);
    if (made && !made->barrier) return fail(Error::invalid("BPF object has no map barrier"));
    return made;
}

Result<Programs> load_programs(const svclb_settings& settings, const MapSet& maps, const ProgramNames& names) {
    if (names.empty()) return Programs{};
    return load_programs_of(packet_object(), settings, maps, names);
}

Result<LoadedSockets> load_sockets(const svclb_settings& settings, const MapSet& reuse) {
    auto made = make_maps_of(socket_object(), reuse, {});
    if (!made) return fail(made.error());
    auto programs = load_programs_of(socket_object(), settings, made->maps, std::nullopt);
    if (!programs) return fail(programs.error());
    return LoadedSockets{.programs = std::move(*programs), .maps = std::move(made->maps)};
}

}  // namespace svclb::datapath
