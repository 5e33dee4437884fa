// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Opening: create or adopt, load, pin, put the programs into what is attached. A crash between any two steps leaves a
// directory that the next open() adopts.
#include "svclb/datapath/datapath.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "adopt.hpp"
#include "catch_all.hpp"
#include "serve_sockets.hpp"
#include "serve_xdp.hpp"

namespace svclb::datapath {
namespace {

// An update of a map-in-map returns after an RCU grace period, which is all that it is for.
class Barrier {
public:
    static Result<Barrier> open(UniqueFd map_in_map) {
        UniqueFd inner(bpf_map_create(BPF_MAP_TYPE_ARRAY, "svclb_barrier", sizeof(std::uint32_t), sizeof(std::uint32_t),
                                      1, nullptr));
        if (!inner) return fail_errno(errno, "create the inner map of the barrier");
        return Barrier(std::move(map_in_map), std::move(inner));
    }

    Status wait() const {
        const std::uint32_t index = 0;
        const int inner = inner_.get();
        if (const int error = bpf_map_update_elem(outer_.get(), &index, &inner, BPF_ANY); error != 0) {
            return fail_errno(-error, "wait for a grace period");
        }
        return {};
    }

private:
    Barrier(UniqueFd outer, UniqueFd inner) : outer_(std::move(outer)), inner_(std::move(inner)) {}

    UniqueFd outer_;
    UniqueFd inner_;
};

// Per family. Both tables together take about 310 bytes an entry: less than one percent of the memory. One more than a
// power of two: the kernel has twice the buckets then, and half as many lookups pass another flow's entry first.
std::uint32_t default_established() {
    const auto bytes =
        static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(std::bit_floor(bytes / 32768), 65536, 1048576)) + 1;
}

// Maps that are indexed alike: the last one's size counts, the others have to be at least as large. After a first start
// that was cut short the others may be there without it.
void size_together(Entries& entries, const MapSet& pinned, std::initializer_list<const char*> names,
                   std::uint32_t wanted) {
    std::optional<std::uint32_t> size;
    if (const char* leader = *(names.end() - 1); pinned.find(leader) >= 0) {
        size = pinned.entries(leader);
    } else {
        for (const char* name : names) {
            if (pinned.find(name) >= 0) size = std::min(size.value_or(UINT32_MAX), pinned.entries(name));
        }
    }
    for (const char* name : names) entries[name] = size.value_or(wanted);
}

Entries entries_for(const Sizes& sizes, const MapSet& pinned) {
    const std::uint32_t established = sizes.established != 0 ? sizes.established : default_established();
    const std::uint32_t transient = sizes.transient != 0 ? sizes.transient : std::max(established / 8, 16384U);
    Entries entries = {
        {"frontends", sizes.frontends}, {"desired_frontends", sizes.frontends}, {"slots", sizes.slots},
        {"established4", established},  {"established6", established},          {"transient4", transient},
        {"transient6", transient},      {"affinity", sizes.affinity},
    };
    size_together(entries, pinned, {"service_counters", "service_names", "services"}, sizes.services);
    size_together(entries, pinned, {"backends", "backend_counters"}, sizes.backends);
    return entries;
}

Result<bool> choose_tcx(AttachMode mode) {
    if (mode == AttachMode::clsact) return false;
    const bool tcx = has_tcx();
    if (mode == AttachMode::tcx && !tcx) {
        return fail(Error::invalid("this kernel has no tcx (it came with 6.6): use attach mode automatic or clsact"));
    }
    return tcx;
}

// Without XDP's, which may be refused.
ProgramNames wanted_at_once(const Options& options, const Links& links) {
    auto names = links.in_use();
    names.erase(kFromWire);
    for (const LinkKind kind : options.expected) names.merge(programs_for(kind));
    return names;
}

// Where a former agent has attached it; false: there is none to go on with.
bool load_xdp(const svclb_settings& settings, const MapSet& maps, const Links& links, Programs& programs) {
    if (links.xdp().all().empty()) return false;
    auto loaded = load_programs(settings, maps, {kFromWire});
    if (loaded) programs.merge(*loaded);
    return loaded.has_value();
}

// Settings that are the kernel's or the process's to tell.
svclb_settings complete(svclb_settings settings) {
    settings.netns_cookie = own_netns_cookie();
    settings.hooks_set_errno = hooks_set_errno() ? 1 : 0;
    return settings;
}

}  // namespace

struct Datapath::State {
    Core core;
    SocketState sockets;
    Barrier barrier;  // of the first load: waiting goes on from another thread while a map grows
    UniqueFd held;    // while the agent runs
};

Datapath::Datapath(std::unique_ptr<State> state) : state_(std::move(state)) {}
Datapath::Datapath(Datapath&&) noexcept = default;
Datapath& Datapath::operator=(Datapath&&) noexcept = default;
Datapath::~Datapath() = default;

Result<Datapath> Datapath::open(const Options& options) {
    const BpfDir dir{options.bpf_dir};
    const auto tcx = choose_tcx(options.mode);
    if (!tcx) return fail(tcx.error());
    if (auto prepared = prepare(dir); !prepared) return fail(prepared.error());
    auto pinned = adopt_maps(dir);
    if (!pinned) return fail(pinned.error());

    const auto settings = complete(options.settings);
    auto made = make_maps(*pinned, entries_for(options.sizes, *pinned));
    if (!made) return fail(made.error());
    auto links = Links::find(dir, false);
    if (!links) return fail(links.error());
    auto programs = load_programs(settings, made->maps, wanted_at_once(options, *links));
    if (!programs) return fail(programs.error());
    const bool keep_xdp = options.xdp != XdpMode::off && load_xdp(settings, made->maps, *links, *programs);
    auto barrier = Barrier::open(std::move(made->barrier));
    if (!barrier) return fail(barrier.error());
    auto tables = KernelTables::open(made->maps, nullptr);
    if (!tables) return fail(tables.error());
    auto collector = Collector::open(made->maps);
    if (!collector) return fail(collector.error());
    auto agent = MappedArray<svclb_agent_status>::open(made->maps, "agent");
    if (!agent) return fail(agent.error());
    auto service_cidrs = MappedArray<svclb_service_cidrs>::open(made->maps, "service_cidrs");
    if (!service_cidrs) return fail(service_cidrs.error());
    auto node_addresses = MappedArray<svclb_node_addresses>::open(made->maps, "node_addresses");
    if (!node_addresses) return fail(node_addresses.error());
    auto masquerade = MappedArray<svclb_masquerade>::open(made->maps, "masquerade");
    if (!masquerade) return fail(masquerade.error());
    auto uplink_devices = UplinkDevices::open(made->maps);
    if (!uplink_devices) return fail(uplink_devices.error());
    std::atomic_ref(agent->rows()[0].abi_version).store(SVCLB_ABI_VERSION, std::memory_order_release);
    if (auto done = pin_maps(dir, made->maps, *pinned); !done) return fail(done.error());

    if (auto kept = uplink_devices->keep(links->attached()); !kept) return fail(kept.error());
    if (auto adopted = adopt_xdp(made->maps, links->xdp(), keep_xdp); !adopted) return fail(adopted.error());
    if (auto replaced = links->replace_programs(*programs, nullptr); !replaced) return fail(replaced.error());

    auto state = std::make_unique<State>(State{.core = {.dir = dir,
                                                        .settings = settings,
                                                        .tcx = *tcx,
                                                        .maps = std::move(made->maps),
                                                        .programs = std::move(*programs),
                                                        .serving = !pinned->all().empty(),
                                                        .programs_due = false,
                                                        .ahead = {},
                                                        .foreseen = {},
                                                        .links = std::move(*links),
                                                        .agent = std::move(*agent),
                                                        .service_cidrs = std::move(*service_cidrs),
                                                        .node_addresses = std::move(*node_addresses),
                                                        .masquerade = std::move(*masquerade),
                                                        .uplink_devices = *uplink_devices,
                                                        .tables = std::move(*tables),
                                                        .collector = std::move(*collector),
                                                        .sockets = {},
                                                        .udp_sockets = {},
                                                        .pods = {},
                                                        .xdp = options.xdp,
                                                        .without_xdp = {}},
                                               .sockets = {},
                                               .barrier = std::move(*barrier),
                                               .held = {}});
    Core& core = state->core;
    show_sizes(core);
    state->sockets = open_sockets(core, options.sockets, *pinned);
    core.tables.set_grow([&core](std::span<const Room> rooms) { return grow(core, rooms); });
    state->held = hold(dir);  // last: until the agent writes its own row, there is the former one's
    spdlog::info("datapath open bpf_dir={} adopted_maps={} attached={} mode={}", dir.root.string(),
                 pinned->all().size(), core.links.attached().size(), core.tcx ? "tcx" : "clsact");
    return Datapath(std::move(state));
}

Tables& Datapath::tables() {
    return state_->core.tables;
}

svclb_agent_status& Datapath::status() {
    return state_->core.agent.rows()[0];
}

void Datapath::foresee(std::span<const Room> rooms) {
    svclb::datapath::foresee(state_->core, rooms);
}

Status Datapath::serve() {
    auto& core = state_->core;
    if (auto finished = finish_loading(core); !finished) return finished;
    core.foreseen = {};
    core.serving = true;
    return {};
}

Status Datapath::attach(int ifindex, const std::string& name, LinkKind kind, bool hardware) {
    if (auto ready = serve(); !ready) return ready;
    auto& core = state_->core;
    if (auto loaded = load_missing(core, programs_for(kind)); !loaded) return loaded;
    if (auto attached = core.links.attach(ifindex, name, kind, core.tcx, core.programs); !attached) return attached;
    const bool uplink = kind == LinkKind::uplink;
    if (auto set = core.uplink_devices.set(ifindex, uplink); !set) return set;
    return serve_xdp(core, {.ifindex = ifindex, .name = name, .uplink = uplink, .hardware = hardware});
}

void Datapath::set_node_addresses(const svclb_node_addresses& addresses) {
    auto& row = state_->core.node_addresses.rows()[0];
    if (std::memcmp(&row, &addresses, sizeof(row)) != 0) row = addresses;
}

Status Datapath::set_uplink_addresses(const std::map<int, svclb_node_addresses>& addresses) {
    const auto map = MapRef<std::uint32_t, svclb_node_addresses>::open(state_->core.maps, "uplink_addresses");
    if (!map) return fail(map.error());
    std::map<std::uint32_t, svclb_node_addresses> rows;
    for (const auto& [ifindex, row] : addresses) rows.emplace(static_cast<std::uint32_t>(ifindex), row);
    if (!rows.empty()) rows.emplace(0, svclb_node_addresses{});
    std::vector<std::uint32_t> stale;
    auto read = map->each([&](std::uint32_t key, const svclb_node_addresses& row) {
        const auto wanted = rows.find(key);
        if (wanted == rows.end())
            stale.push_back(key);
        else if (std::memcmp(&wanted->second, &row, sizeof(row)) == 0)
            rows.erase(wanted);
    });
    if (!read) return read;
    for (const auto& [key, row] : rows)
        if (auto written = map->put(key, row); !written) return written;
    for (const auto key : stale)
        if (auto removed = map->remove(key); !removed) return fail(removed.error());
    return {};
}

void Datapath::set_masquerade(const svclb_masquerade& masquerade) {
    auto& row = state_->core.masquerade.rows()[0];
    if (std::memcmp(&row, &masquerade, sizeof(row)) != 0) row = masquerade;
}

Result<std::string> Datapath::catch_host_packets() {
    auto catch_all = CatchAll::open();
    if (!catch_all) return fail(catch_all.error());
    const auto device = catch_all->prepare();
    if (!device) return fail(device.error());
    if (auto attached = attach(*device, kProgramSide, LinkKind::host); !attached) return fail(attached.error());
    std::set<int> uplinks;
    std::set<int> pod_links;
    for (const auto& link : attached()) {
        if (link.kind == LinkKind::uplink || link.kind == LinkKind::tunnel) uplinks.insert(link.ifindex);
        if (link.kind == LinkKind::pod) pod_links.insert(link.ifindex);
    }
    const svclb_service_cidrs& row = state_->core.service_cidrs.rows()[0];
    return catch_all->route(std::span(row.cidr).subspan(row.used & 0xffff, row.used >> 16), uplinks, pod_links);
}

Status Datapath::leave_host_packets() {
    auto catch_all = CatchAll::open();
    if (!catch_all) return fail(catch_all.error());
    for (const auto& link : attached()) {
        if (link.kind != LinkKind::host) continue;
        if (auto detached = detach(link.ifindex); !detached) return detached;
    }
    return catch_all->remove();
}

Status Datapath::detach(int ifindex) {
    auto& core = state_->core;
    if (auto unset = core.uplink_devices.set(ifindex, false); !unset) return unset;
    if (auto left = leave_xdp(core, ifindex); !left) return left;
    return core.links.detach(ifindex);
}

std::vector<AttachedLink> Datapath::attached() const {
    return state_->core.links.attached();
}

const SocketState& Datapath::sockets() const {
    return state_->sockets;
}

Result<bool> Datapath::follow_pod_sockets() {
    return follow_pods(state_->core, state_->sockets);
}

Result<EndStep> Datapath::end_stale_sockets(std::uint32_t messages) {
    return end_stale(state_->core, messages);
}

Status Datapath::wait_grace_period() const {
    return state_->barrier.wait();
}

Status Datapath::set_service_cidrs(std::span<const svclb_cidr> cidrs) {
    if (cidrs.size() > SVCLB_SERVICE_CIDRS) {
        return fail(Error::invalid(
            fmt::format("{} ranges of ClusterIPs, at most {} can be in force", cidrs.size(), SVCLB_SERVICE_CIDRS)));
    }
    svclb_service_cidrs& row = state_->core.service_cidrs.rows()[0];
    const std::uint32_t first = (row.used & 0xffff) == 0 ? 0 : SVCLB_SERVICE_CIDRS;
    const auto same = [](const svclb_cidr& a, const svclb_cidr& b) { return std::memcmp(&a, &b, sizeof(a)) == 0; };
    if (row.used >> 16 == cidrs.size() && std::equal(cidrs.begin(), cidrs.end(), &row.cidr[first], same)) return {};
    const std::uint32_t other = SVCLB_SERVICE_CIDRS - first;
    std::copy(cidrs.begin(), cidrs.end(), &row.cidr[other]);
    const auto used = other | static_cast<std::uint32_t>(cidrs.size()) << 16;
    std::atomic_ref(row.used).store(used, std::memory_order_release);
    return {};
}

Status Datapath::show_problems(std::span<const svclb_problem> problems) {
    const auto map = MapRef<std::uint32_t, svclb_problem>::open(state_->core.maps, "problems");
    if (!map) return fail(map.error());
    problems = problems.first(std::min<std::size_t>(problems.size(), SVCLB_PROBLEMS));
    std::vector<std::uint32_t> stale;
    std::vector<bool> shown(problems.size());
    auto read = map->each([&](std::uint32_t number, const svclb_problem& row) {
        if (number >= problems.size())
            stale.push_back(number);
        else
            shown[number] = std::memcmp(&row, &problems[number], sizeof(row)) == 0;
    });
    if (!read) return read;
    for (std::uint32_t number = 0; number < problems.size(); ++number) {
        if (shown[number]) continue;
        if (auto written = map->put(number, problems[number]); !written) return written;
    }
    for (const auto number : stale)
        if (auto removed = map->remove(number); !removed) return fail(removed.error());
    return {};
}

Result<CollectStep> Datapath::collect(const FlowTimeouts& timeouts, std::uint64_t now_s, std::uint32_t budget) {
    return state_->core.collector.step(timeouts, now_s, budget);
}

}  // namespace svclb::datapath
