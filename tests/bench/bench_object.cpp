// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "bench_object.hpp"

#include <arpa/inet.h>
#include <bpf/bpf.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

extern "C" {
// Laid down by embedded_object.S.
extern const std::byte svclb_object_begin[];  // NOLINT(modernize-avoid-c-arrays): a symbol, its size is in the next one
extern const std::byte svclb_object_end[];    // NOLINT(modernize-avoid-c-arrays)
}

namespace svclb::bench {
namespace {

using test::Bytes;
using test::ip;
using test::map_fd;

constexpr std::uint32_t kServices = 16;
constexpr std::uint32_t kSlots = 16;
constexpr std::uint32_t kEstablished = 524288 + 1;  // one more than a power of two, as the agent has it
constexpr std::uint32_t kTransient = 65536;

test::Object load_programs() {
    test::ObjectOptions options;
    options.max_entries = {{"services", kServices},         {"slots", kSlots},
                           {"established4", kEstablished},  {"established6", kEstablished},
                           {"transient4", kTransient},      {"transient6", kTransient},
                           {"service_counters", kServices}, {"backend_counters", kServices}};
    options.each_program = [](bpf_program* program) {
        // The wrappers contain them.
        const std::string section = bpf_program__section_name(program);
        if (section.starts_with("tcx/")) bpf_program__set_autoload(program, false);
    };
    return test::load({svclb_object_begin, static_cast<std::size_t>(svclb_object_end - svclb_object_begin)}, options);
}

void set_addr(__be32* to, const test::Ip& address) {
    std::memcpy(to, address.bytes.data(), address.bytes.size());
}

std::uint32_t filter_index(const Endpoint& endpoint) {
    std::array<__be32, SVCLB_ADDR_WORDS> words{};
    set_addr(words.data(), endpoint.addr);
    return svclb_filter_index(words.data(), htons(endpoint.port));
}

std::uint32_t low_word(const svclb_flow_key4& key, bool source) {
    return ntohl(source ? key.saddr : key.daddr);
}
std::uint32_t low_word(const svclb_flow_key6& key, bool source) {
    return ntohl((source ? key.saddr : key.daddr)[SVCLB_ADDR_WORDS - 1]);
}

// Rises with the order in which entries are made: by flow, the reply's before the client's.
template <class Key>
std::uint64_t age_of(const Key& key) {
    const bool reply = key.direction == SVCLB_TO_POD;
    return std::uint64_t{low_word(key, !reply)} << 32 | std::uint64_t{ntohs(reply ? key.dport : key.sport)} << 1 |
           (reply ? 0 : 1);
}

// The last one first: a table takes its memory in the order in which it last got it back, so the next flows lie there
// as these did, in the order in which they are used. Any other order would be another measurement.
template <class Key>
void empty(int fd) {
    std::vector<Key> keys;
    Key key{};
    for (bool first = true; bpf_map_get_next_key(fd, first ? nullptr : &key, &key) == 0; first = false)
        keys.push_back(key);
    std::sort(keys.begin(), keys.end(), [](const Key& a, const Key& b) { return age_of(a) > age_of(b); });
    for (const Key& each : keys) bpf_map_delete_elem(fd, &each);
}

void must(int error, const char* what) {
    if (error != 0) throw std::runtime_error(std::string(what) + ": " + std::strerror(-error));
}

}  // namespace

Endpoint client(int family) {
    return {ip(family == 4 ? "10.128.0.0" : "fd00:128::"), 0};
}
Endpoint frontend(int family) {
    return {ip(family == 4 ? "10.96.0.10" : "fd00:96::10"), 80};
}
Endpoint backend(int family) {
    return {ip(family == 4 ? "10.244.2.20" : "fd00:244:2::20"), 8080};
}
Endpoint stranger(int family) {
    return {ip(family == 4 ? "192.0.2.7" : "2001:db8::7"), 443};
}

bench_step step_of(const Packet& packet, bool reply) {
    const Bytes frame = packet.frame();
    const std::size_t size = packet.source.v4() ? BENCH_HEADERS_V4 : BENCH_HEADERS_V6;
    bench_step step{};
    std::copy_n(frame.begin(), std::min(size, frame.size()), std::begin(step.headers));
    step.udp = std::holds_alternative<test::Udp>(packet.transport) ? 1 : 0;
    step.reply = reply ? 1 : 0;
    return step;
}

BenchObject::BenchObject()
    : object_(load_programs()),
      plan_(map_fd(object_.get(), "bench"), sizeof(bench_plan)),
      services_(map_fd(object_.get(), "services"), kServices * sizeof(svclb_service)),
      slots_(map_fd(object_.get(), "slots"), kSlots * sizeof(svclb_slot)),
      filters_(map_fd(object_.get(), "filters"), sizeof(svclb_filters)) {
    std::uint32_t index = 1;
    for (const int family : {4, 6}) {
        for (const int proto : {IPPROTO_TCP, IPPROTO_UDP})
            add_service(index++, family, static_cast<std::uint8_t>(proto));
    }
}

void BenchObject::add_service(std::uint32_t index, int family, std::uint8_t proto) {
    auto& filters = *filters_.rows<svclb_filters>();
    filters.frontend[filter_index({frontend(family).addr, 0})] = 1;
    filters.backend[filter_index(backend(family))] = 1;

    svclb_backend_key backend_key{};
    backend_key.service = index;
    set_addr(backend_key.addr, backend(family).addr);
    backend_key.port = htons(backend(family).port);
    const svclb_backend backend_row{.id = index,
                                    .node = SVCLB_NONE,
                                    .zone = SVCLB_NONE,
                                    .weight = 1,
                                    .state = SVCLB_BACKEND_READY,
                                    .flags = SVCLB_BACKEND_IN_CLUSTER | SVCLB_BACKEND_SERVING};
    must(bpf_map_update_elem(map_fd(object_.get(), "backends"), &backend_key, &backend_row, BPF_ANY),
         "store a backend");

    svclb_slot& slot = slots_.rows<svclb_slot>()[index];
    set_addr(slot.addr, backend(family).addr);
    slot.port = htons(backend(family).port);
    slot.generation = 1;
    slot.service = index;
    slot.backend = index;

    svclb_service& service = services_.rows<svclb_service>()[index];
    service.family = static_cast<std::uint8_t>(family);
    service.proto = proto;
    service.epoch = 1;
    service.runs[SVCLB_SET_CLUSTER] = svclb_run(index, 1, 1);

    svclb_frontend_key key{};
    set_addr(key.addr, frontend(family).addr);
    key.port = htons(frontend(family).port);
    key.proto = proto;
    svclb_frontend row{};
    row.service = index;
    row.kind = SVCLB_FRONTEND_CLUSTER_IP;
    must(bpf_map_update_elem(map_fd(object_.get(), "frontends"), &key, &row, BPF_ANY), "store a frontend");

    // Of the program for comparison: a counter of its own, and the one server.
    const std::array<std::uint32_t, 2> virtual_address{0, 4 + index % 4};
    must(bpf_map_update_elem(map_fd(object_.get(), "virtual_addresses"), &key, virtual_address.data(), BPF_ANY),
         "store a virtual address");
}

void BenchObject::plan(const std::vector<bench_step>& steps, std::uint32_t flow_mask, std::uint32_t first) {
    if (steps.empty() || steps.size() > BENCH_STEPS) throw std::invalid_argument("one to four steps");
    auto& plan = *plan_.rows<bench_plan>();
    plan = bench_plan{};
    std::copy(steps.begin(), steps.end(), std::begin(plan.steps));
    plan.step_count = static_cast<std::uint32_t>(steps.size());
    plan.flow_mask = flow_mask;
    plan.flow = first;
}

double BenchObject::run(const std::string& program, const Packet& packet, std::uint32_t times, std::int32_t verdict) {
    const Bytes frame = packet.frame();
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<__u32>(frame.size());
    options.repeat = static_cast<int>(times);
    must(bpf_prog_test_run_opts(test::program_fd(object_.get(), program.c_str()), &options), "run a program");
    if (static_cast<std::int32_t>(options.retval) != verdict) {
        throw std::runtime_error(program + ": verdict " + std::to_string(static_cast<std::int32_t>(options.retval)));
    }
    return options.duration;
}

std::uint64_t BenchObject::translated() const {
    const int fd = map_fd(object_.get(), "service_counters");
    std::vector<svclb_counter> rows(static_cast<std::size_t>(libbpf_num_possible_cpus()));
    std::uint64_t packets = 0;
    for (std::uint32_t i = 1; i <= 4; i++) {
        must(bpf_map_lookup_elem(fd, &i, rows.data()), "read a counter");
        for (const svclb_counter& row : rows) packets += row.packets;
    }
    return packets;
}

void BenchObject::forget_flows() {
    empty<svclb_flow_key4>(map_fd(object_.get(), "established4"));
    empty<svclb_flow_key4>(map_fd(object_.get(), "transient4"));
    empty<svclb_flow_key6>(map_fd(object_.get(), "established6"));
    empty<svclb_flow_key6>(map_fd(object_.get(), "transient6"));
    static_assert(sizeof(svclb_flow_key6) == 40, "as large as the key of the program for comparison");
    empty<svclb_flow_key6>(map_fd(object_.get(), "balanced_flows"));
}

}  // namespace svclb::bench
