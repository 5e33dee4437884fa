// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "object.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
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

constexpr std::size_t kVerifierLogSize = std::size_t{1} << 20;

// The first warning that libbpf prints during a load says which program or map it is about.
std::mutex warning_mutex;
std::string
    first_warning;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables): libbpf's callback has no context

int log_libbpf(libbpf_print_level level, const char* format, va_list arguments) {
    std::array<char, 1024> line{};
    const int length = std::vsnprintf(line.data(), line.size(), format, arguments);
    std::string_view text(line.data(), std::strlen(line.data()));
    while (text.ends_with('\n')) text.remove_suffix(1);
    if (text.starts_with("libbpf: ")) text.remove_prefix(8);
    if (level == LIBBPF_WARN) {
        const std::lock_guard lock(warning_mutex);
        if (first_warning.empty()) first_warning = text;
    }
    spdlog::debug("libbpf text=\"{}\"", text);
    return length;
}

std::string take_first_warning() {
    const std::lock_guard lock(warning_mutex);
    return std::exchange(first_warning, {});
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

Result<UniqueFd> program_fd(const bpf_object* object, const char* name) {
    const bpf_program* program = bpf_object__find_program_by_name(object, name);
    if (program == nullptr) return fail(Error::invalid(fmt::format("BPF object has no program {}", name)));
    return duplicate(bpf_program__fd(program), name);
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

// One of the embedded objects while it is loaded.
class Loading {
public:
    static Result<Loading> open(const char* name, std::span<const std::byte> bytes) {
        quieten_libbpf();
        Loading loading;
        bpf_object_open_opts opts{};
        opts.sz = sizeof(opts);
        opts.object_name = name;
        opts.kernel_log_buf = loading.verifier_log_.data();
        opts.kernel_log_size = loading.verifier_log_.size();
        loading.object_.reset(bpf_object__open_mem(bytes.data(), bytes.size(), &opts));
        if (!loading.object_) return fail_errno(errno, fmt::format("open the embedded BPF object {}", name));
        return loading;
    }

    [[nodiscard]] bpf_object* object() const { return object_.get(); }

    Status load(const svclb_settings& settings, const MapSet& reuse, const Entries& entries) {
        if (auto set = set_settings(object(), settings); !set) return set;
        if (auto set = set_up_maps(object(), reuse, entries); !set) return set;
        take_first_warning();
        if (const int error = bpf_object__load(object()); error != 0) {
            const std::string warning = take_first_warning();
            const std::string_view reason = last_reason(verifier_log_.data());
            return fail_errno(-error, fmt::format("load the BPF programs{}{}{}{}", warning.empty() ? "" : ": ", warning,
                                                  reason.empty() ? "" : "; the verifier says: ", reason));
        }
        return {};
    }

private:
    Loading() : verifier_log_(kVerifierLogSize) {}

    std::vector<char> verifier_log_;
    Object object_;
};

}  // namespace

Result<UniqueFd> duplicate(int fd, std::string_view what) {
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) return fail_errno(errno, fmt::format("duplicate the descriptor of {}", what));
    return UniqueFd(copy);
}

void quieten_libbpf() {
    libbpf_set_print(log_libbpf);
}

Result<Loaded> load_object(const svclb_settings& settings, const MapSet& reuse, const Entries& entries) {
    auto loading = Loading::open("svclb", std::span(svclb_object_begin, svclb_object_end));
    if (!loading) return fail(loading.error());
    bpf_object* object = loading->object();
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, object) {
        // Known to kernels with tcx only; a program without it may be attached as a tcx link and as a clsact filter.
        bpf_program__set_expected_attach_type(program, static_cast<bpf_attach_type>(0));
    }
    if (auto done = loading->load(settings, reuse, entries); !done) return fail(done.error());

    Loaded loaded;
    for (const auto& [name, place] : {std::pair{"from_pod", &loaded.programs.from_pod},
                                      {"to_pod", &loaded.programs.to_pod},
                                      {"from_host", &loaded.programs.from_host},
                                      {"from_uplink", &loaded.programs.from_uplink},
                                      {"to_uplink", &loaded.programs.to_uplink}}) {
        auto fd = program_fd(object, name);
        if (!fd) return fail(fd.error());
        *place = std::move(*fd);
    }
    auto maps = pinned_maps(object);
    if (!maps) return fail(maps.error());
    loaded.maps = std::move(*maps);
    const int barrier = bpf_object__find_map_fd_by_name(object, "barrier");
    if (barrier < 0) return fail(Error::invalid("BPF object has no map barrier"));
    auto copy = duplicate(barrier, "barrier");
    if (!copy) return fail(copy.error());
    loaded.barrier = std::move(*copy);
    return loaded;
}

Result<LoadedSockets> load_sockets(const svclb_settings& settings, const MapSet& reuse) {
    auto loading = Loading::open("svclb_sockets", std::span(svclb_sockets_begin, svclb_sockets_end));
    if (!loading) return fail(loading.error());
    if (auto done = loading->load(settings, reuse, {}); !done) return fail(done.error());
    LoadedSockets loaded;
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, loading->object()) {
        auto fd = duplicate(bpf_program__fd(program), bpf_program__name(program));
        if (!fd) return fail(fd.error());
        loaded.programs.emplace(bpf_program__name(program), std::move(*fd));
    }
    auto maps = pinned_maps(loading->object());
    if (!maps) return fail(maps.error());
    loaded.maps = std::move(*maps);
    return loaded;
}

}  // namespace svclb::datapath
