// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "tables_fixture.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

namespace svclb::ctl::test {
namespace {

constexpr std::uint32_t kSlots = 16;
constexpr std::uint8_t kInBoth = SVCLB_BACKEND_IN_CLUSTER | SVCLB_BACKEND_IN_LOCAL | SVCLB_BACKEND_SERVING;
constexpr std::uint8_t kInCluster = SVCLB_BACKEND_IN_CLUSTER | SVCLB_BACKEND_SERVING;

std::uint32_t filter_index(const Address& address, std::uint16_t port) {
    std::array<__be32, SVCLB_ADDR_WORDS> words{};
    std::memcpy(words.data(), address.bytes.data(), sizeof words);
    return svclb_filter_index(words.data(), htons(port));
}

svclb_service service(std::uint8_t family, std::uint8_t proto, std::uint64_t cluster, std::uint64_t local) {
    svclb_service row{};
    row.runs[SVCLB_SET_CLUSTER] = cluster;
    row.runs[SVCLB_SET_LOCAL] = local;
    row.family = family;
    row.proto = proto;
    for (const int set : {SVCLB_SET_CLUSTER, SVCLB_SET_LOCAL})
        row.verdicts[set] = svclb_run_count(row.runs[set]) > 0 ? SVCLB_VERDICT_FORWARD : SVCLB_VERDICT_REJECT;
    return row;
}

FrontendRow frontend(std::string_view text, std::uint16_t port, std::uint8_t proto, std::uint32_t owner,
                     svclb_frontend_kind kind = SVCLB_FRONTEND_CLUSTER_IP, svclb_set set = SVCLB_SET_CLUSTER) {
    return {.address = address(text),
            .port = port,
            .proto = proto,
            .service = owner,
            .kind = static_cast<std::uint8_t>(kind),
            .set = static_cast<std::uint8_t>(set),
            .outside_set = static_cast<std::uint8_t>(set)};
}

FrontendRow whole_address(std::string_view text) {
    return frontend(text, 0, 0, SVCLB_NONE, SVCLB_FRONTEND_CLUSTER_IP_ADDRESS);
}

BackendRow backend(std::uint32_t owner, std::string_view text, std::uint16_t port, std::uint32_t id,
                   svclb_backend_state state, std::uint8_t flags, std::uint16_t weight = 1) {
    return {.service = owner,
            .address = address(text),
            .port = port,
            .id = id,
            .node = 1,
            .zone = id == 21 ? 2U : SVCLB_NONE,
            .weight = weight,
            .state = static_cast<std::uint8_t>(state),
            .flags = flags};
}

FlowRow flow(std::string_view client, std::string_view to, std::string_view backend_address) {
    return {.client = address(client),
            .frontend = address(to),
            .backend = address(backend_address),
            .client_port = 40000,
            .frontend_port = 80,
            .backend_port = 8080,
            .translated_port = 40000,
            .service = kWeb4,
            .backend_id = 11,
            .idle_s = 3,
            .proto = IPPROTO_TCP,
            .kind = SVCLB_FLOW_FORWARD,
            .state = FlowState::established};
}

}  // namespace

Address address(std::string_view text) {
    const auto parsed = model::parse_address(text);
    if (!parsed) throw std::invalid_argument(std::string(text));
    return *parsed;
}

svclb_slot slot(std::uint32_t owner, std::string_view text, std::uint16_t port, std::uint32_t id,
                std::uint16_t generation) {
    svclb_slot row{};
    const Address where = address(text);
    std::memcpy(row.addr, where.bytes.data(), sizeof row.addr);
    row.port = htons(port);
    row.generation = generation;
    row.service = owner;
    row.backend = id;
    return row;
}

BackendRow& backend_of(Snapshot& snapshot, std::string_view text) {
    const auto found = std::ranges::find(snapshot.backends, address(text), &BackendRow::address);
    if (found == snapshot.backends.end()) throw std::invalid_argument(std::string(text));
    return *found;
}

FrontendRow& frontend_of(Snapshot& snapshot, std::string_view text, std::uint16_t port) {
    const auto found = std::ranges::find_if(
        snapshot.frontends, [&](const FrontendRow& row) { return row.address == address(text) && row.port == port; });
    if (found == snapshot.frontends.end()) throw std::invalid_argument(std::string(text));
    return *found;
}

void mark_filters(Snapshot& snapshot) {
    snapshot.filters.assign(1, {});
    auto& filters = snapshot.filters.front();
    for (const FrontendRow& row : snapshot.frontends) {
        svclb_frontend_key key{};
        std::memcpy(key.addr, row.address.bytes.data(), sizeof key.addr);
        key.port = htons(row.port);
        svclb_mark_frontend(&filters, &key, row.kind);
    }
    for (const BackendRow& row : snapshot.backends) filters.backend[filter_index(row.address, row.port)] = 1;
}

Snapshot tables() {
    Snapshot out;
    out.bpf_dir = "/sys/fs/bpf/svclb";
    out.services.resize(8);
    out.slots.resize(kSlots);
    // web over IPv4: two members, the second of twice the weight; both sets share the run, Local is its first slot.
    out.services[kWeb4] = service(4, IPPROTO_TCP, svclb_run(4, 3, 7), svclb_run(4, 1, 7));
    out.slots[4] = slot(kWeb4, "10.1.0.1", 8080, 11, 7);
    out.slots[5] = slot(kWeb4, "10.1.0.2", 8080, 12, 7);
    out.slots[6] = slot(kWeb4, "10.1.0.2", 8080, 12, 7);
    out.services[kWeb4].affinity_s = 10800;
    // web over IPv6: one member, none here.
    out.services[kWeb6] = service(6, IPPROTO_TCP, svclb_run(8, 1, 1), svclb_run(0, 0, 0));
    out.services[kWeb6].verdicts[SVCLB_SET_LOCAL] = SVCLB_VERDICT_DROP;
    out.services[kWeb6].affinity_s = 10800;
    out.slots[8] = slot(kWeb6, "fd00:1::1", 8080, 21, 1);
    // DNS: nobody is ready.
    out.services[kDns4] = service(4, IPPROTO_UDP, svclb_run(0, 0, 0), svclb_run(0, 0, 0));
    out.services[kDns4].internal_set = SVCLB_SET_LOCAL;

    out.names = {
        {kWeb4, {"default", "web", "http"}}, {kWeb6, {"default", "web", "http"}}, {kDns4, {"kube-system", "dns", ""}}};
    out.strings = {{1, "node-a"}, {2, "zone-1"}};
    out.frontends = {frontend("10.96.0.10", 80, IPPROTO_TCP, kWeb4),
                     frontend("192.0.2.7", 80, IPPROTO_TCP, kWeb4, SVCLB_FRONTEND_EXTERNAL_IP, SVCLB_SET_LOCAL),
                     frontend("fd00:96::10", 80, IPPROTO_TCP, kWeb6),
                     frontend("10.96.0.53", 53, IPPROTO_UDP, kDns4, SVCLB_FRONTEND_CLUSTER_IP, SVCLB_SET_LOCAL)};
    out.desired = out.frontends;
    for (const char* text : {"10.96.0.10", "fd00:96::10", "10.96.0.53"}) out.frontends.push_back(whole_address(text));
    out.backends = {backend(kWeb4, "10.1.0.1", 8080, 11, SVCLB_BACKEND_READY, kInBoth),
                    backend(kWeb4, "10.1.0.2", 8080, 12, SVCLB_BACKEND_READY, kInCluster, 2),
                    backend(kWeb4, "10.1.0.3", 8080, 13, SVCLB_BACKEND_DRAINING, SVCLB_BACKEND_SERVING),
                    backend(kWeb6, "fd00:1::1", 8080, 21, SVCLB_BACKEND_READY, kInCluster),
                    backend(kDns4, "10.1.0.9", 53, 31, SVCLB_BACKEND_NOT_READY, 0)};
    out.maps = {{"backend_counters", "percpu_array", 64, 64, 8192},
                {"frontends", "hash", 7, 64, 4096},
                {"services", "array", 8, 8, 4096},
                {"slots", "array", 16, 16, 4096}};
    out.links = {{3, "veth1", datapath::LinkKind::pod, {{"tc ingress", "tcx"}, {"tc egress", "tcx"}}}};
    std::ranges::sort(out.frontends);
    std::ranges::sort(out.desired);
    std::ranges::sort(out.backends);
    mark_filters(out);
    return out;
}

Snapshot busy_node() {
    Snapshot out = tables();
    FlowRow second = flow("10.1.0.8", "10.96.0.10", "10.1.0.2");
    second.translated_port = 1024;
    second.backend_id = 12;
    second.state = FlowState::closed;
    FlowRow direct = flow("10.1.0.8", "::", "10.1.0.2");
    direct.kind = SVCLB_FLOW_DIRECT;
    direct.service = SVCLB_NONE;
    direct.frontend_port = 0;
    FlowRow dns = flow("fd00:1::8", "fd00:96::53", "fd00:1::9");
    dns.proto = IPPROTO_UDP;
    dns.state = FlowState::unreplied;
    dns.service = 7;  // a Service that is gone: the flow outlives it
    out.flows = {flow("10.1.0.7", "10.96.0.10", "10.1.0.1"), second, direct, dns};
    out.connections = 2;
    out.service_connections = {{kWeb4, 1}, {7, 1}};
    out.backend_connections = {{11, 1}};
    out.service_counters = {{kWeb4, {2, 10, 1000}}, {kWeb6, {1, 5, 500}}};
    out.backend_counters = {{11, {1, 8, 900}}};
    out.affinity = {{address("10.1.0.7"), kWeb4, address("10.1.0.1"), 8080, 100},
                    {address("10.1.0.8"), kWeb4, address("10.1.0.2"), 8080, 20000}};
    out.drops = {{"NO_BACKEND_REJECTED", "no usable backend: rejected", true, 3, 180},
                 {"NO_FLOW", "TCP packet in mid-connection without an entry: passed", false, 0, 0}};
    out.agent.abi_version = SVCLB_ABI_VERSION;
    out.agent.pid = 4711;
    out.agent.sockets_attached = 1;
    std::strcpy(out.agent.pod_sockets, "3 of 3 pod links");  // NOLINT(clang-analyzer-security.insecureAPI.strcpy)
    std::strcpy(out.agent.sockets, "/sys/fs/cgroup");        // NOLINT(clang-analyzer-security.insecureAPI.strcpy)
    std::strcpy(out.agent.host_packets, "to 10.96.0.0/12");  // NOLINT(clang-analyzer-security.insecureAPI.strcpy)
    out.xdp_text = "native on eth0";
    out.xdp[SVCLB_XDP_FORWARDED] = {.packets = 12, .bytes = 1200};
    out.xdp[SVCLB_XDP_DROPPED].packets = 7;
    out.xdp[SVCLB_XDP_PASSED].packets = 30;
    out.agent.started_ns = 1'700'000'000'000'000'000;
    out.agent.synced_ns = 1'700'000'058'000'000'000;
    out.agent.passes = 4;
    out.agent.writes = 40;
    out.agent.last_writes = 2;
    out.agent.collected = 9;
    out.agent.services = 2;
    out.agent.endpoint_slices = 3;
    out.agent.invalid_objects = 1;
    out.agent.complete = 1;
    out.agent.source_connected = 1;
    out.agent.conflicts = 1;
    out.agent.problems = 1;
    out.problems = {{"Service kube-system/dns", "FrontendConflict", "default/web has it"}};
    std::strcpy(out.agent.node, "node-a");
    std::strcpy(out.agent.source, "manifests /etc/svclb");
    std::strcpy(out.agent.error, "web.yaml:3: Service default/x: spec.ports[0].port: \x1b[31m");
    out.agent_running = true;
    out.now_ns = 1'700'000'060'500'000'000;
    return out;
}

}  // namespace svclb::ctl::test
