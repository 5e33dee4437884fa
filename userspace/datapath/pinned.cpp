// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "svclb/datapath/pinned.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <net/if.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <fstream>
#include <string_view>
#include <utility>

#include "bpf_dir.hpp"
#include "collect.hpp"
#include "kernel_tables.hpp"
#include "links.hpp"
#include "map_ref.hpp"
#include "map_set.hpp"
#include "sockets.hpp"

namespace svclb::datapath {
namespace {

// What the kernel charges for the map; 0 when it does not tell.
std::uint64_t memory_of(int fd) {
    std::ifstream info(fmt::format("/proc/self/fdinfo/{}", fd));
    std::string field;
    std::uint64_t bytes = 0;
    while (info >> field) {
        if (field == "memlock:" && info >> bytes) return bytes;
    }
    return 0;
}

bool is_hash(std::uint32_t type) {
    return type == BPF_MAP_TYPE_HASH || type == BPF_MAP_TYPE_LRU_HASH;
}

// Counts without knowing the types.
Result<std::uint32_t> rows_in(int fd, const bpf_map_info& info, const std::string& name) {
    constexpr std::uint32_t kRows = 4096;
    std::vector<char> keys(std::size_t{kRows} * info.key_size);
    std::vector<char> values(std::size_t{kRows} * info.value_size);
    std::array<char, 64> position{};
    std::array<char, 64> next{};
    std::uint32_t total = 0;
    for (bool first = true;; first = false) {
        bpf_map_batch_opts opts{};
        opts.sz = sizeof(opts);
        std::uint32_t count = kRows;
        const int error = bpf_map_lookup_batch(fd, first ? nullptr : position.data(), next.data(), keys.data(),
                                               values.data(), &count, &opts);
        if (error != 0 && error != -ENOENT) return fail_errno(-error, fmt::format("count the rows of map {}", name));
        total += count;
        if (error == -ENOENT) return total;
        position = next;
    }
}

template <class Key, class Wanted>
Result<std::uint64_t> flush_family(const FlowMaps<Key>& maps, const Wanted& wanted) {
    std::vector<std::pair<Key, svclb_flow>> found;
    const auto visit = [&](const Key& key, const svclb_flow& flow) {
        if (wanted(FlowKey(key), flow)) found.emplace_back(key, flow);
    };
    if (auto done = maps.established.each(visit); !done) return fail(done.error());
    if (auto done = maps.transient.each(visit); !done) return fail(done.error());
    std::uint64_t flows = 0;
    for (const auto& [key, flow] : found) {
        const auto partner = maps.find_partner(key, flow);
        if (!partner) return fail(partner.error());
        const auto removed = maps.remove(key);
        if (!removed) return fail(removed.error());
        if (!*removed) continue;  // as the other half of an earlier one
        ++flows;
        if (!*partner) continue;
        if (auto other = maps.remove(*partner_key(key, flow)); !other) return fail(other.error());
    }
    return flows;
}

void end_strings(svclb_agent_status& status) {
    for (auto* text :
         {&status.node, &status.source, &status.error, &status.sockets, &status.host_packets, &status.pod_sockets})
        (*text)[SVCLB_STRING_SIZE - 1] = '\0';
}

}  // namespace

struct Pinned::State {
    BpfDir dir;
    MapSet maps;
    RowMaps rows;
    MappedRows mapped;
    FlowMaps<svclb_flow_key4> flows4;
    FlowMaps<svclb_flow_key6> flows6;
    MapRef<svclb_affinity_key, svclb_affinity> affinity;
    PerCpuRef<svclb_counter> service_counters;
    PerCpuRef<svclb_counter> backend_counters;
    PerCpuRef<svclb_drop_counter> drop_counters;
};

Pinned::Pinned(std::unique_ptr<State> state) : state_(std::move(state)) {}
Pinned::Pinned(Pinned&&) noexcept = default;
Pinned& Pinned::operator=(Pinned&&) noexcept = default;
Pinned::~Pinned() = default;

Result<Pinned> Pinned::open(const std::filesystem::path& bpf_dir) {
    quieten_libbpf();
    auto state = std::make_unique<State>();
    state->dir = {bpf_dir};
    auto maps = MapSet::open(state->dir, true);
    if (!maps) return fail(maps.error());
    state->maps = std::move(*maps);
    if (state->maps.find("agent") < 0) {
        return fail(Error::invalid(
            fmt::format("{} holds no maps of svclb: no agent has run with this --bpf-dir", bpf_dir.string())));
    }
    if (auto version = check_abi_version(state->maps, state->dir); !version) return fail(version.error());
    // The kernel shares memory through a writable descriptor only; the mapping itself is for reading.
    const auto writable = MapSet::open(state->dir, false);
    if (!writable) return fail(writable.error());
    Opener opener;
    opener.into(state->rows, RowMaps::open(state->maps));
    opener.into(state->mapped, MappedRows::open(*writable, true));
    opener.into(state->flows4, FlowMaps<svclb_flow_key4>::open(state->maps, "established4", "transient4"));
    opener.into(state->flows6, FlowMaps<svclb_flow_key6>::open(state->maps, "established6", "transient6"));
    opener.into(state->affinity, decltype(state->affinity)::open(state->maps, "affinity"));
    opener.into(state->service_counters, PerCpuRef<svclb_counter>::open(state->maps, "service_counters"));
    opener.into(state->backend_counters, PerCpuRef<svclb_counter>::open(state->maps, "backend_counters"));
    opener.into(state->drop_counters, PerCpuRef<svclb_drop_counter>::open(state->maps, "drop_counters"));
    auto opened = opener.finish(std::move(state));
    if (!opened) return fail(opened.error().within(bpf_dir.string()));
    return Pinned(std::move(*opened));
}

bool Pinned::agent_runs() const {
    return is_held(state_->dir);
}

svclb_agent_status Pinned::agent() const {
    // The row of another release may be shorter or longer.
    svclb_agent_status copy{};
    const int fd = state_->maps.find("agent");
    const auto info = map_info(fd, "agent");
    std::vector<char> row(info ? info->value_size : 0);
    const std::uint32_t index = 0;
    if (!row.empty() && bpf_map_lookup_elem(fd, &index, row.data()) == 0)
        std::memcpy(&copy, row.data(), std::min(row.size(), sizeof(copy)));
    end_strings(copy);
    return copy;
}

std::span<const svclb_service> Pinned::services() const {
    return state_->mapped.services.rows();
}
std::span<const svclb_slot> Pinned::slots() const {
    return state_->mapped.slots.rows();
}
const svclb_filters& Pinned::filters() const {
    return state_->mapped.filters.rows()[0];
}

Status Pinned::each_frontend(const std::function<void(const svclb_frontend_key&, const svclb_frontend&)>& visit) const {
    return state_->rows.frontends.each(visit);
}
Status Pinned::each_desired(const std::function<void(const svclb_frontend_key&, const svclb_frontend&)>& visit) const {
    return state_->rows.desired.each(visit);
}
Status Pinned::each_range(const std::function<void(const svclb_source_range&)>& visit) const {
    if (state_->maps.find("source_ranges") < 0) return {};
    const auto map = MapRef<svclb_source_range, std::uint32_t>::open(state_->maps, "source_ranges");
    return map ? map->each_key(visit) : fail(map.error());
}
Status Pinned::each_backend(const std::function<void(const svclb_backend_key&, const svclb_backend&)>& visit) const {
    return state_->rows.backends.each(visit);
}
Status Pinned::each_name(const std::function<void(std::uint32_t, const svclb_service_name&)>& visit) const {
    return state_->rows.names.each(visit);
}
Status Pinned::each_problem(const std::function<void(std::uint32_t, const svclb_problem&)>& visit) const {
    if (state_->maps.find("problems") < 0) return {};
    const auto map = MapRef<std::uint32_t, svclb_problem>::open(state_->maps, "problems");
    return map ? map->each(visit) : fail(map.error());
}
Status Pinned::each_string(const std::function<void(std::uint32_t, const svclb_string&)>& visit) const {
    return state_->rows.strings.each(visit);
}

Status Pinned::each_flow(
    const std::function<void(const FlowKey& key, const svclb_flow& flow, bool established)>& visit) const {
    const auto walk = [&visit](const auto& maps) -> Status {
        const auto as = [&visit](bool established) {
            return [&visit, established](const auto& key, const svclb_flow& flow) {
                visit(FlowKey(key), flow, established);
            };
        };
        if (auto done = maps.established.each(as(true)); !done) return done;
        return maps.transient.each(as(false));
    };
    if (auto done = walk(state_->flows4); !done) return done;
    return walk(state_->flows6);
}

Status Pinned::each_affinity(const std::function<void(const svclb_affinity_key&, const svclb_affinity&)>& visit) const {
    return state_->affinity.each(visit);
}

Result<svclb_counter> Pinned::service_counter(std::uint32_t service) const {
    return state_->service_counters.sum(service);
}
Result<svclb_counter> Pinned::backend_counter(std::uint32_t backend) const {
    return state_->backend_counters.sum(backend);
}
Result<svclb_drop_counter> Pinned::drop_counter(svclb_reason reason) const {
    const auto index = static_cast<std::uint32_t>(reason);
    // The release that made the map may have known fewer reasons.
    return index < state_->drop_counters.size() ? state_->drop_counters.sum(index) : svclb_drop_counter{};
}

Result<svclb_xdp_counter> Pinned::xdp_counter(svclb_xdp_action action) const {
    if (state_->maps.find("xdp_counters") < 0) return svclb_xdp_counter{};
    const auto counters = PerCpuRef<svclb_xdp_counter>::open(state_->maps, "xdp_counters");
    if (!counters) return fail(counters.error());
    const auto index = static_cast<std::uint32_t>(action);
    // As with the reasons.
    return index < counters->size() ? counters->sum(index) : svclb_xdp_counter{};
}

Result<std::map<std::string, std::string>> Pinned::xdp_modes() const {
    std::map<std::string, std::string> modes;
    if (state_->maps.find("uplink_devices") < 0) return modes;
    const auto uplinks = MapRef<std::uint32_t, std::uint32_t>::open(state_->maps, "uplink_devices");
    if (!uplinks) return fail(uplinks.error());
    std::map<std::uint32_t, svclb_xdp_mode> served;
    const auto note = [&](std::uint32_t ifindex, const svclb_xdp_link& link) {
        served[ifindex] = static_cast<svclb_xdp_mode>(link.mode);
    };
    if (auto read = each_xdp_link(note); !read) return fail(read.error());
    const auto name = [&](std::uint32_t ifindex, std::uint32_t) {
        std::array<char, IF_NAMESIZE> text{};
        if (::if_indextoname(ifindex, text.data()) == nullptr) return;  // it has just gone
        const auto found = served.find(ifindex);
        modes[text.data()] = found == served.end() ? "off" : name_of(found->second);
    };
    if (auto read = uplinks->each(name); !read) return fail(read.error());
    return modes;
}

std::string Pinned::xdp_text() const {
    svclb_string row{};
    const std::uint32_t index = 0;
    const int fd = state_->maps.find("xdp_text");
    if (fd < 0 || bpf_map_lookup_elem(fd, &index, &row) != 0) return {};
    row.text[sizeof(row.text) - 1] = '\0';
    return row.text;
}

Status Pinned::each_xdp_link(const std::function<void(std::uint32_t ifindex, const svclb_xdp_link&)>& visit) const {
    if (state_->maps.find("xdp_links") < 0) return {};
    const auto map = MapRef<std::uint32_t, svclb_xdp_link>::open(state_->maps, "xdp_links");
    return map ? map->each(visit) : fail(map.error());
}

Result<std::vector<MapInfo>> Pinned::maps(bool count_rows) const {
    std::vector<MapInfo> maps;
    for (const auto& [name, fd] : state_->maps.all()) {
        const auto info = map_info(fd.get(), name);
        if (!info) return fail(info.error());
        const char* type = libbpf_bpf_map_type_str(static_cast<bpf_map_type>(info->type));
        MapInfo map{.name = name,
                    .type = type == nullptr ? "unknown" : type,
                    .entries = info->max_entries,
                    .max_entries = info->max_entries,
                    .bytes = memory_of(fd.get())};
        if (is_hash(info->type)) {
            const auto rows = count_rows ? rows_in(fd.get(), *info, name) : 0;
            if (!rows) return fail(rows.error());
            map.entries = *rows;
        }
        maps.push_back(std::move(map));
    }
    return maps;
}

Result<std::vector<AttachedLink>> Pinned::links() const {
    const auto links = Links::find(state_->dir, true);
    if (!links) return fail(links.error());
    auto attached = links->attached();
    auto hooks = attached_socket_hooks(state_->dir);
    if (!hooks) return fail(hooks.error());
    if (!hooks->empty()) attached.push_back({.ifindex = 0, .name = "", .kind = LinkKind::cgroup, .hooks = *hooks});
    return attached;
}

Result<std::uint64_t> Pinned::flush_flows(
    const std::function<bool(const FlowKey& key, const svclb_flow& flow)>& wanted) {
    // The descriptors that we look through do not allow it.
    const auto writable = MapSet::open(state_->dir, false);
    if (!writable) return fail(writable.error());
    std::uint64_t flushed = 0;
    const auto flush = [&](const auto& maps) -> Status {
        if (!maps) return fail(maps.error());
        auto removed = flush_family(*maps, wanted);
        if (!removed) return fail(removed.error());
        flushed += *removed;
        return {};
    };
    if (auto done = flush(FlowMaps<svclb_flow_key4>::open(*writable, "established4", "transient4")); !done)
        return fail(done.error());
    if (auto done = flush(FlowMaps<svclb_flow_key6>::open(*writable, "established6", "transient6")); !done)
        return fail(done.error());
    return flushed;
}

}  // namespace svclb::datapath
