// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "prog_run.hpp"

#include <arpa/inet.h>
#include <bpf/bpf.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

extern "C" {
// Laid down by embedded_object.S.
extern const std::byte svclb_object_begin[];  // NOLINT(modernize-avoid-c-arrays): a symbol, its size is in the next one
extern const std::byte svclb_object_end[];    // NOLINT(modernize-avoid-c-arrays)
}

namespace svclb::test {
namespace {

constexpr std::uint32_t kServices = 8;
constexpr std::uint32_t kSlots = 8192;
constexpr std::uint32_t kBackends = 512;
// As in maps.bpf.h: only the programs know what it holds.
struct HeldKey {
    svclb_fragment_key of;
    std::uint32_t index;
};
constexpr std::uint32_t kTestRunChecksumComplete = 1u << 2;  // BPF_F_TEST_SKB_CHECKSUM_COMPLETE, since 6.11

Object load_object(const DatapathOptions& options, ObjectOptions& object, const char* program) {
    object.constants = {{"settings", std::as_bytes(std::span(&options.settings, 1))}};
    object.each_program = [program](bpf_program* each) {
        bpf_program__set_autoload(each, program != nullptr && std::string_view(program) == bpf_program__name(each));
    };
    return load({svclb_object_begin, static_cast<std::size_t>(svclb_object_end - svclb_object_begin)}, object);
}

Object load_maps(const DatapathOptions& options) {
    ObjectOptions object;
    object.max_entries = {{"frontends", 1024},
                          {"desired_frontends", 1},
                          {"services", kServices},
                          {"slots", kSlots},
                          {"backends", kBackends},
                          {"service_names", 1},
                          {"strings", 1},
                          {"established4", options.established},
                          {"established6", options.established},
                          {"transient4", options.transient},
                          {"transient6", options.transient},
                          {"affinity", 1024},
                          {"rejects", 1024},
                          {"fragments", 1024},
                          {"service_counters", kServices},
                          {"backend_counters", kBackends}};
    return load_object(options, object, nullptr);
}

// One program over the maps of the object that has them all.
Object load_program(const DatapathOptions& options, const bpf_object* maps, const char* name) {
    ObjectOptions object;
    const bpf_map* map = nullptr;
    bpf_object__for_each_map(map, maps) {
        if (!bpf_map__is_internal(map) && bpf_map__type(map) != BPF_MAP_TYPE_ARRAY_OF_MAPS)
            object.maps.emplace(bpf_map__name(map), bpf_map__fd(map));
    }
    return load_object(options, object, name);
}

std::size_t cpus() {
    static const int count = libbpf_num_possible_cpus();
    if (count <= 0) throw std::runtime_error("the number of CPUs is unknown");
    return static_cast<std::size_t>(count);
}

template <class Row>
Row sum_of(int fd, std::uint32_t index) {
    static_assert(sizeof(Row) % sizeof(std::uint64_t) == 0, "rows of numbers");
    constexpr std::size_t kWords = sizeof(Row) / sizeof(std::uint64_t);
    std::vector<std::uint64_t> words(cpus() * kWords);
    if (bpf_map_lookup_elem(fd, &index, words.data()) != 0) throw std::out_of_range("no such counter");
    std::array<std::uint64_t, kWords> sums{};
    for (std::size_t i = 0; i < words.size(); i++) sums[i % kWords] += words[i];
    Row row{};
    std::memcpy(&row, sums.data(), sizeof(row));
    return row;
}

template <class Row>
void zero_counter(int fd, std::uint32_t index) {
    const std::vector<Row> zeros(cpus());
    if (bpf_map_update_elem(fd, &index, zeros.data(), BPF_ANY) != 0) throw std::out_of_range("no such counter");
}

void set_addr(__be32* to, const Ip& address) {
    std::memcpy(to, address.bytes.data(), address.bytes.size());
}

Ip addr_of(const __be32* from) {
    Ip address;
    std::memcpy(address.bytes.data(), from, address.bytes.size());
    return address;
}

bool is_v4(const svclb_flow_key6& key) {
    return addr_of(key.saddr).v4();
}

svclb_flow_key4 narrow(const svclb_flow_key6& key) {
    return {.saddr = key.saddr[3],
            .daddr = key.daddr[3],
            .sport = key.sport,
            .dport = key.dport,
            .proto = key.proto,
            .direction = key.direction,
            .pad = 0};
}

svclb_flow_key6 widen(const svclb_flow_key4& key) {
    svclb_flow_key6 wide{};
    wide.saddr[2] = wide.daddr[2] = htonl(SVCLB_V4_MAPPED_PREFIX);
    wide.saddr[3] = key.saddr;
    wide.daddr[3] = key.daddr;
    wide.sport = key.sport;
    wide.dport = key.dport;
    wide.proto = key.proto;
    wide.direction = key.direction;
    return wide;
}

}  // namespace

svclb_flow_key6 flow_key(const Endpoint& from, const Endpoint& to, std::uint8_t proto, svclb_direction direction) {
    svclb_flow_key6 key{};
    set_addr(key.saddr, from.addr);
    set_addr(key.daddr, to.addr);
    key.sport = htons(from.port);
    key.dport = htons(to.port);
    key.proto = proto;
    key.direction = direction;
    return key;
}

Endpoint source_of(const svclb_flow_key6& key) {
    return {addr_of(key.saddr), ntohs(key.sport)};
}

Endpoint destination_of(const svclb_flow_key6& key) {
    return {addr_of(key.daddr), ntohs(key.dport)};
}

Endpoint target_of(const svclb_flow& flow) {
    return {addr_of(flow.addr), ntohs(flow.port)};
}

std::string DatapathOptions::key() const {
    static_assert(std::has_unique_object_representations_v<svclb_settings>);
    std::string bytes(sizeof(settings), '\0');
    std::memcpy(bytes.data(), &settings, sizeof(settings));
    return bytes + std::to_string(transient) + "," + std::to_string(established);
}

Datapath::Datapath(const DatapathOptions& options)
    : options_(options),
      maps_(load_maps(options)),
      work_area_(map("work_area")),
      services_(map("services"), std::size_t{kServices} * sizeof(svclb_service)),
      slots_(map("slots"), kSlots * sizeof(svclb_slot)),
      filters_(map("filters"), sizeof(svclb_filters)),
      service_cidrs_(map("service_cidrs"), sizeof(svclb_service_cidrs)),
      node_addresses_(map("node_addresses"), sizeof(svclb_node_addresses)),
      masquerade_(map("masquerade"), sizeof(svclb_masquerade)) {
    const bpf_map* work_area = bpf_object__find_map_by_name(maps_.get(), "work_area");
    const std::size_t row = (bpf_map__value_size(work_area) + 7) / 8 * 8;
    garbage_.assign(cpus() * row, 0xa5);
    (void)program("to_pod");  // the smallest one: may this process load programs at all?
}

int Datapath::program(const char* name) {
    auto found = programs_.find(name);
    if (found == programs_.end()) found = programs_.emplace(name, load_program(options_, maps_.get(), name)).first;
    return program_fd(found->second.get(), name);
}

void Datapath::poison_work_area() const {
    const std::uint32_t zero = 0;
    if (bpf_map_update_elem(work_area_, &zero, garbage_.data(), BPF_ANY) != 0) {
        throw std::runtime_error("cannot fill the work area");
    }
}

Run Datapath::run(const char* name, const Bytes& frame, const Gso& gso, std::uint32_t came_by) {
    const int program = this->program(name);
    poison_work_area();
    Run result;
    result.frame.resize(frame.size() + 256);
    __sk_buff context{};
    context.gso_size = gso.size;
    context.gso_segs = gso.segments;
    context.ingress_ifindex = came_by;
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = frame.data();
    options.data_out = result.frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.data_size_out = static_cast<__u32>(result.frame.size());
    options.repeat = 1;
    if (gso.size != 0 || came_by != 0) {
        options.ctx_in = &context;
        options.ctx_size_in = sizeof(context);
    }
    // The stack has checked the sum of what it forwards, and keeps none.
    const bool has_sum = std::string_view(name) != "from_wire" && came_by == 0;
    options.flags = has_sum && complete_checksums_ && kernel_can_complete_ ? kTestRunChecksumComplete : 0;
    int error = bpf_prog_test_run_opts(program, &options);
    if (error == -EINVAL && options.flags != 0) {
        options.flags = 0;
        kernel_can_complete_ = false;
        error = bpf_prog_test_run_opts(program, &options);
    }
    if (error == -EINVAL && came_by != 0) throw NotPermitted("the kernel's test-run takes no ingress_ifindex");
    if (error == -EBADMSG) throw std::runtime_error("the packet's sum (CHECKSUM_COMPLETE) is wrong after the program");
    if (error != 0) throw std::runtime_error(std::string("run the program: ") + std::strerror(-error));
    result.verdict = static_cast<std::int32_t>(options.retval);
    result.frame.resize(options.data_size_out);
    return result;
}

// The kernel's test-run takes the packet's sum from behind an Ethernet header that is not there.
Run Datapath::run_uplink(const char* direction, const Packet& packet, const Gso& gso, std::uint32_t came_by) {
    constexpr std::ptrdiff_t kHeader = 14;
    const Bytes frame = packet.frame();
    if (!bare_uplinks_) return run((std::string(direction) + "_uplink").c_str(), frame, gso, came_by);
    const bool complete = std::exchange(complete_checksums_, false);
    Run result =
        run((std::string(direction) + "_tunnel").c_str(), {frame.begin() + kHeader, frame.end()}, gso, came_by);
    complete_checksums_ = complete;
    // What is redirected has been given one.
    if (result.verdict != redirected) result.frame.insert(result.frame.begin(), frame.begin(), frame.begin() + kHeader);
    return result;
}

void Datapath::clear() {
    complete_checksums_ = true;
    bare_uplinks_ = false;
    services_.clear();
    slots_.clear();
    filters_.clear();
    service_cidrs_.clear();
    node_addresses_.clear();
    masquerade_.clear();
    const std::uint32_t zero = 0;
    static const std::vector<std::uint8_t> kUnmarked(sizeof(svclb_wire_filters));
    if (bpf_map_update_elem(map("wire_filters"), &zero, kUnmarked.data(), BPF_ANY) != 0)
        throw std::runtime_error("cannot clear the uplinks' filters");
    empty<std::uint32_t>(map("uplink_addresses"));
    empty<svclb_frontend_key>(map("frontends"));
    empty<std::uint32_t>(map("xdp_links"));
    for (std::uint32_t i = 0; i < SVCLB_XDP_ACTIONS; i++) zero_counter<svclb_xdp_counter>(map("xdp_counters"), i);
    empty<svclb_source_range>(map("source_ranges"));
    empty<std::uint32_t>(map("uplink_devices"));
    empty<svclb_path_key>(map("path_mtus"));
    empty<svclb_backend_key>(map("backends"));
    empty<svclb_flow_key4>(map("established4"));
    empty<svclb_flow_key4>(map("transient4"));
    empty<svclb_flow_key6>(map("established6"));
    empty<svclb_flow_key6>(map("transient6"));
    empty<svclb_affinity_key>(map("affinity"));
    empty<svclb_reject_key>(map("rejects"));
    empty<svclb_fragment_key>(map("fragments"));
    empty<HeldKey>(map("held_fragments"));
    for (std::uint32_t i = 0; i < kServices; i++) zero_counter<svclb_counter>(map("service_counters"), i);
    for (const std::uint32_t id : backends_) zero_counter<svclb_counter>(map("backend_counters"), id);
    backends_.clear();
    for (std::uint32_t i = 0; i < SVCLB_REASON_COUNT; i++) {
        zero_counter<svclb_drop_counter>(map("drop_counters"), i);
    }
}

std::vector<FlowEntry> Datapath::flows() const {
    std::vector<FlowEntry> entries;
    for (const bool established : {false, true}) {
        const int v4 = map(established ? "established4" : "transient4");
        for (const auto& key : keys_of<svclb_flow_key4>(v4)) {
            FlowEntry entry{.key = widen(key), .flow = {}, .established = established};
            if (bpf_map_lookup_elem(v4, &key, &entry.flow) == 0) entries.push_back(entry);
        }
        const int v6 = map(established ? "established6" : "transient6");
        for (const auto& key : keys_of<svclb_flow_key6>(v6)) {
            FlowEntry entry{.key = key, .flow = {}, .established = established};
            if (bpf_map_lookup_elem(v6, &key, &entry.flow) == 0) entries.push_back(entry);
        }
    }
    return entries;
}

std::optional<FlowEntry> Datapath::find_flow(const svclb_flow_key6& key) const {
    const svclb_flow_key4 narrowed = narrow(key);
    for (const bool established : {true, false}) {
        FlowEntry entry{.key = key, .flow = {}, .established = established};
        const int found =
            is_v4(key) ? bpf_map_lookup_elem(map(established ? "established4" : "transient4"), &narrowed, &entry.flow)
                       : bpf_map_lookup_elem(map(established ? "established6" : "transient6"), &key, &entry.flow);
        if (found == 0) return entry;
    }
    return std::nullopt;
}

void Datapath::put_flow(const FlowEntry& entry) {
    const svclb_flow_key4 narrowed = narrow(entry.key);
    const int error =
        is_v4(entry.key)
            ? bpf_map_update_elem(map(entry.established ? "established4" : "transient4"), &narrowed, &entry.flow, 0)
            : bpf_map_update_elem(map(entry.established ? "established6" : "transient6"), &entry.key, &entry.flow, 0);
    if (error != 0) throw std::runtime_error(std::string("store a flow: ") + std::strerror(-error));
}

void Datapath::remove_flow(const svclb_flow_key6& key, bool established) {
    const svclb_flow_key4 narrowed = narrow(key);
    const int error = is_v4(key) ? bpf_map_delete_elem(map(established ? "established4" : "transient4"), &narrowed)
                                 : bpf_map_delete_elem(map(established ? "established6" : "transient6"), &key);
    if (error != 0) throw std::runtime_error(std::string("remove a flow: ") + std::strerror(-error));
}

svclb_counter Datapath::service_counter(std::uint32_t index) const {
    return sum_of<svclb_counter>(map("service_counters"), index);
}

svclb_counter Datapath::backend_counter(std::uint32_t id) const {
    return sum_of<svclb_counter>(map("backend_counters"), id);
}

svclb_xdp_counter Datapath::xdp_counter(svclb_xdp_action action) const {
    return sum_of<svclb_xdp_counter>(map("xdp_counters"), action);
}

svclb_drop_counter Datapath::reason(svclb_reason reason) const {
    return sum_of<svclb_drop_counter>(map("drop_counters"), reason);
}

std::uint64_t Datapath::reasons() const {
    std::uint64_t packets = 0;
    for (std::uint32_t i = 0; i < SVCLB_REASON_COUNT; i++) packets += reason(static_cast<svclb_reason>(i)).packets;
    return packets;
}

}  // namespace svclb::test
