// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "wire_life.hpp"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <net/if.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace svclb::test {
namespace {

constexpr std::uint32_t kLong = 1'000'000;  // seconds: longer than every timeout
constexpr std::uint32_t kEntry = 1;         // test-run's packets come in by the loopback device
constexpr std::size_t kEthernet = 14;
constexpr std::array<std::uint16_t, 4> kClientPorts{40000, 40001, 40002, 61007};
constexpr std::array<std::uint8_t, 3> kProtocols{IPPROTO_UDP, IPPROTO_TCP, IPPROTO_SCTP};
constexpr std::size_t kRecent = 24;  // conversations that most packets belong to

// Ports, by their place in ports_.
enum Place : std::uint32_t { kEverywhere, kLocal, kGuarded, kClusterIp };

constexpr std::array kEarly{SVCLB_REASON_CLUSTER_IP_FROM_OUTSIDE, SVCLB_REASON_UNALLOCATED_DROPPED,
                            SVCLB_REASON_SOURCE_RANGE_DROPPED, SVCLB_REASON_NO_LOCAL_BACKEND_DROPPED};
using EarlyCounts = std::array<std::uint64_t, kEarly.size()>;

EarlyCounts early_counts(const Datapath& datapath) {
    EarlyCounts counts{};
    for (std::size_t i = 0; i < kEarly.size(); i++) counts.at(i) = datapath.reason(kEarly.at(i)).packets;
    return counts;
}

EarlyCounts operator-(EarlyCounts after, const EarlyCounts& before) {
    for (std::size_t i = 0; i < after.size(); i++) after.at(i) -= before.at(i);
    return after;
}

void put_xdp_link(const Datapath& datapath, std::uint32_t ifindex, const Mac& mac) {
    svclb_xdp_link row{};
    std::copy(mac.begin(), mac.end(), row.mac);
    row.mode = SVCLB_XDP_NATIVE;
    if (bpf_map_update_elem(datapath.map("xdp_links"), &ifindex, &row, BPF_ANY) != 0)
        throw std::runtime_error("store an uplink of XDP's");
}

void set_range(svclb_cidr& range, const Ip& address, std::uint32_t last_mask) {
    std::memcpy(range.addr, address.bytes.data(), sizeof(range.addr));
    std::memset(range.mask, 0xff, sizeof(range.mask));
    range.mask[3] = htonl(last_mask);
}

// Of those that XDP reads.
bool is_plain(const Packet& packet) {
    return packet.ttl > 1 && packet.vlans.empty() && packet.ip_options.empty() && packet.extensions.empty();
}

// What one hop less adds to the checksum of IPv4's header. The transport's stays, which may be absent.
void take_hop_from_sum(Bytes& frame) {
    constexpr std::size_t kAt = kEthernet + 10;
    const unsigned sum = (static_cast<unsigned>(frame.at(kAt)) << 8 | frame.at(kAt + 1)) + 0x100;
    frame.at(kAt) = static_cast<std::uint8_t>((sum + (sum >> 16)) >> 8);
    frame.at(kAt + 1) = static_cast<std::uint8_t>(sum + (sum >> 16));
}

bool has_source(const Bytes& frame, const Ip& source) {
    const std::size_t size = source.v4() ? 4 : 16;
    const auto at = frame.begin() + static_cast<std::ptrdiff_t>(kEthernet + (source.v4() ? 12 : 8));
    return std::equal(source.bytes.end() - static_cast<std::ptrdiff_t>(size), source.bytes.end(), at);
}

}  // namespace

WireTotals& WireTotals::operator+=(const WireTotals& more) {
    packets += more.packets;
    forwarded += more.forwarded;
    dropped += more.dropped;
    return *this;
}

WireLife::WireLife(Datapath& datapath, std::uint64_t seed)
    : datapath_(datapath), proto_(kProtocols[seed % kProtocols.size()]), v4_(seed / kProtocols.size() % 2 != 0) {
    const auto net = [this](const char* four, const char* six) { return ip(v4_ ? four : six); };
    datapath_.clear();
    put_xdp_link(datapath_, kEntry, Packet{}.to_mac);
    put_xdp_link(datapath_, ::if_nametoindex("uplink"), kUplink);
    node_ = net("10.0.0.1", "fd00:77::1");
    std::memcpy(v4_ ? datapath_.node_addresses().v4 : datapath_.node_addresses().v6, node_.bytes.data(), 16);
    const Ip pod = net("10.244.2.20", "fd00:244:2::20");
    for (std::uint32_t i = 0; i < 4; i++) backends_.push_back({pod + i, 8080});
    const Ip client = net("192.0.2.50", "2001:db8::50");
    for (std::uint32_t i = 0; i < 4; i++) clients_.push_back(client + i);
    const Ip external = net("203.0.113.10", "2001:db8:203::10");
    const Ip cluster_ip = net("10.96.0.10", "fd00:96::10");
    others_ = {{node_, 30099},       {node_, 61007},     {external, 81}, {cluster_ip, 9}, {cluster_ip + 7, 80},
               {cluster_ip + 7, 81}, {external + 9, 80}, backends_[0],   backends_[1]};
    svclb_service_cidrs& cidrs = datapath_.service_cidrs();
    set_range(cidrs.cidr[0], net("10.96.0.0", "fd00:96::"), 0xffff0000);
    cidrs.used = 1U << 16;
    // One of the clients is the cluster's own, in some lives.
    if (seed / 6 % 2 != 0) {
        set_range(v4_ ? datapath_.masquerade().v4 : datapath_.masquerade().v6, clients_[3], 0xffffffff);
        (v4_ ? datapath_.masquerade().has_v4 : datapath_.masquerade().has_v6) = 1;
    }
    ports_.resize(4);
    ports_[kEverywhere].frontends = {{node_, 30080}, {external, 80}};
    ports_[kLocal].frontends = {{node_, 30081}, {external + 1, 80}};
    ports_[kLocal].options.outside_set = SVCLB_SET_LOCAL;
    ports_[kGuarded].frontends = {{external + 2, 80}};
    ports_[kGuarded].options.source_ranges = true;
    ports_[kClusterIp].frontends = {{cluster_ip, 80}};
    for (std::uint32_t i = 0; i < ports_.size(); i++) {
        Port& port = ports_[i];
        if (i != kClusterIp) port.options.kind = SVCLB_FRONTEND_NODE_PORT;
        port.rows = std::make_unique<ServiceFixture>(datapath_, i + 1, port.frontends[0], proto_,
                                                     std::vector{backends_[0], backends_[1]}, port.options);
        for (const Endpoint& frontend : port.frontends) port.rows->add_frontend(frontend);
    }
    mark_cluster_ip(datapath_, cluster_ip);
}

std::string WireLife::live(const std::vector<Step>& steps) {
    for (const Step& step : steps) {
        lived_++;
        happen(step);
        if (!wrong_.empty()) break;
    }
    return wrong_;
}

void WireLife::happen(const Step& step) {
    const std::uint32_t what = step[0] % 100;
    if (what < 30) return dial(step);
    if (what < 60) return client_speaks(step);
    if (what < 90) return backend_speaks(step);
    if (what < 93) return change_endpoints(step);
    if (what < 96) return change_ranges(step);
    if (what < 98) return grow_old(step);
    answer_of_the_node(step);
}

void WireLife::dial(const Step& step) {
    std::vector<Endpoint> dialled = others_;
    for (const Port& port : ports_) {
        for (int i = 0; i < 3; i++) dialled.insert(dialled.end(), port.frontends.begin(), port.frontends.end());
    }
    const Endpoint from{clients_[step[1] % clients_.size()], kClientPorts[step[2] % kClientPorts.size()]};
    meet(packet_of(step[4] / 16 * 16 + (step[4] % 8 == 0 ? 15 : 8), from, dialled[step[3] % dialled.size()]));
}

void WireLife::client_speaks(const Step& step) {
    if (const auto* of = some_conversation(step[1])) meet(packet_of(step[4], of->client, of->dialled));
}

void WireLife::backend_speaks(const Step& step) {
    if (const auto* of = some_conversation(step[1])) meet(packet_of(step[4], of->backend, of->node));
}

void WireLife::change_endpoints(const Step& step) {
    Port& port = ports_[step[1] % ports_.size()];
    std::vector<Endpoint> set;
    for (std::size_t i = 0; i < backends_.size(); i++) {
        if ((step[2] >> i & 1) != 0) set.push_back(backends_[i]);
    }
    if (step[3] % 4 == 0) set.clear();
    const auto which = port.options.outside_set.value_or(SVCLB_SET_CLUSTER);
    say("endpoints of " + std::to_string(port.rows->index()) + ": " + std::to_string(set.size()) + " usable");
    port.rows->publish(set, which);
    datapath_.service(port.rows->index()).verdicts[which] =
        step[4] % 2 != 0 && which == SVCLB_SET_LOCAL ? SVCLB_VERDICT_DROP : SVCLB_VERDICT_REJECT;
    for (std::size_t i = 0; i < backends_.size(); i++) {
        if (std::find(set.begin(), set.end(), backends_[i]) == set.end() && (step[4] >> (i + 1) & 1) != 0)
            port.rows->remove_backend(backends_[i]);
    }
}

void WireLife::change_ranges(const Step& step) {
    svclb_source_range key{};
    key.prefix = SVCLB_SOURCE_RANGE_SERVICE_BITS + 128;
    key.service = kGuarded + 1;
    const Ip& client = clients_[step[1] % clients_.size()];
    std::memcpy(key.addr, client.bytes.data(), sizeof(key.addr));
    const std::uint32_t one = 1;
    const bool on = step[2] % 2 != 0;
    say(to_string(client) + (on ? " may" : " may not") + " dial");
    if (on)
        bpf_map_update_elem(datapath_.map("source_ranges"), &key, &one, BPF_ANY);
    else
        bpf_map_delete_elem(datapath_.map("source_ranges"), &key);
}

void WireLife::grow_old(const Step& step) {
    const auto* of = some_conversation(step[1]);
    if (of == nullptr) return;
    for (const auto& key : {flow_key(of->client, of->dialled, proto_, SVCLB_FROM_WIRE),
                            flow_key(of->backend, of->client, proto_, SVCLB_TO_WIRE),
                            flow_key(of->client, of->backend, proto_, SVCLB_TO_WIRE),
                            flow_key(of->backend, of->node, proto_, SVCLB_FROM_WIRE)}) {
        auto entry = datapath_.find_flow(key);
        if (!entry) continue;
        entry->flow.seen_s -= kLong;
        entry->flow.tick -= kLong;
        datapath_.put_flow(*entry);
    }
    say("silence: " + to_string(of->client) + " -> " + to_string(of->dialled));
}

// To a flow of its own, by way of the catch-all.
void WireLife::answer_of_the_node(const Step& step) {
    const Endpoint from = backends_[step[1] % backends_.size()];
    const Endpoint to{node_, step[2] % 2 == 0 ? std::uint16_t{30081} : std::uint16_t{61007}};
    FlowEntry entry{.key = flow_key(from, to, proto_, SVCLB_TO_POD), .flow = {}, .established = step[3] % 2 != 0};
    entry.flow.kind = SVCLB_FLOW_REPLY;
    entry.flow.host = 1;
    datapath_.put_flow(entry);
    say("the node has asked " + to_string(from));
    meet(packet_of(step[4] % 4 == 0 ? step[4] / 16 * 16 + 8 : step[4], from, to));
    datapath_.remove_flow(entry.key, entry.established);
}

bool WireLife::has_flow(const Packet& packet) const {
    const auto at = [&](svclb_direction direction) {
        const auto key = flow_key(packet.source_endpoint(), packet.destination_endpoint(), proto_, direction);
        return datapath_.find_flow(key).has_value();
    };
    return at(SVCLB_FROM_WIRE) || at(SVCLB_TO_POD);
}

void WireLife::meet(const Packet& packet) {
    const Bytes frame = packet.frame();
    totals_.packets++;
    const bool known = has_flow(packet);
    const auto before = early_counts(datapath_);
    const Run early = datapath_.from_wire(frame);
    const auto at_xdp = early_counts(datapath_) - before;
    datapath_.with_complete_checksums(false);  // packet tests have them
    const Run in = datapath_.from_uplink(packet);
    const auto at_tc = early_counts(datapath_) - before - at_xdp;
    say(to_string(packet.source_endpoint()) + " -> " + to_string(packet.destination_endpoint()) + ": XDP " +
        std::to_string(early.verdict) + ", tc " + std::to_string(in.verdict));

    Run out;
    if ((in.verdict == next || in.verdict == redirected) && in.frame != frame && has_source(in.frame, packet.source)) {
        out = datapath_.to_uplink(in.frame);
        if (out.verdict == next) remember(packet, in, out);
    }
    const bool changes_nothing = early.verdict == xdp_pass || early.verdict == xdp_drop;
    if (changes_nothing && early.frame != frame) return wrong(packet, "XDP changes what it does not forward");
    if (early.verdict == xdp_pass) {
        if (at_xdp != EarlyCounts{}) return wrong(packet, "XDP counts a drop, and drops nothing");
        if (!known && at_tc != EarlyCounts{} && in.verdict == dropped && is_plain(packet))
            wrong(packet, "XDP leaves a drop to tc");
    } else if (early.verdict == xdp_drop) {
        totals_.dropped++;
        if (in.verdict != dropped || at_tc != at_xdp || at_tc == EarlyCounts{})
            wrong(packet, "XDP drops what tc does not, or by another rule");
    } else if (early.verdict == xdp_redirect) {
        totals_.forwarded++;
        judge_forwarded(packet, early, in, out);
    } else {
        wrong(packet, "no verdict of XDP's");
    }
}

// The stack between tc's two steps takes a hop, unless it was passed by, and sends to the gateway.
void WireLife::judge_forwarded(const Packet& packet, const Run& early, const Run& in, const Run& out) {
    if (out.verdict != next) return wrong(packet, "XDP forwards what tc does not");
    Bytes expected = out.frame;
    std::copy(kGateway.begin(), kGateway.end(), expected.begin());
    std::copy(kUplink.begin(), kUplink.end(), expected.begin() + 6);
    if (in.verdict == next) {
        expected.at(kEthernet + (v4_ ? 8 : 7))--;
        if (v4_) take_hop_from_sum(expected);
    }
    if (early.frame != expected) wrong(packet, "XDP forwards it otherwise: " + difference(expected, early.frame));
}

void WireLife::remember(const Packet& packet, const Run& in, const Run& out) {
    const auto at = [&](const Conversation& of) {
        return of.client == packet.source_endpoint() && of.dialled == packet.destination_endpoint() &&
               of.backend == destination_of(in.frame) && of.node == source_of(out.frame);
    };
    // An answer's receiver is no backend.
    if (std::find(backends_.begin(), backends_.end(), destination_of(in.frame)) == backends_.end()) return;
    if (std::find_if(conversations_.rbegin(), conversations_.rend(), at) != conversations_.rend()) return;
    conversations_.push_back(
        {packet.source_endpoint(), packet.destination_endpoint(), destination_of(in.frame), source_of(out.frame)});
}

// Now and then an odd one, whatever its kind.
Packet WireLife::packet_of(std::uint32_t kind, const Endpoint& from, const Endpoint& to) const {
    Packet packet = some_packet(proto_, kind, from, to);
    packet.tos = static_cast<std::uint8_t>(kind >> 24);
    switch (kind >> 16 & 0x3f) {
        case 0:
            packet.ttl = kind >> 8 & 3;
            break;
        case 1:
            if (v4_)
                packet.ip_options = {0x94, 0x04, 0, 0};
            else
                packet.extensions = {{IPPROTO_HOPOPTS, Bytes(6)}};
            break;
        case 2:
            packet.vlans = {7};
            break;
        case 3:
            packet.to_mac[5] ^= 1;
            break;
        case 4:
            packet.trailer = 9;
            break;
        case 5:
        case 6:
            if (auto* tcp = std::get_if<Tcp>(&packet.transport)) tcp->flags = static_cast<std::uint8_t>(kind >> 8);
            if (auto* udp = std::get_if<Udp>(&packet.transport)) udp->without_checksum = true;
            break;
        default:
            break;
    }
    return packet;
}

const WireLife::Conversation* WireLife::some_conversation(std::uint32_t number) const {
    if (conversations_.empty()) return nullptr;
    const std::size_t from = number % 8 == 0 ? conversations_.size() : std::min(conversations_.size(), kRecent);
    return &conversations_[conversations_.size() - 1 - number / 8 % from];
}

void WireLife::wrong(const Packet& packet, const std::string& what) {
    wrong_ = to_string(packet.source_endpoint()) + " -> " + to_string(packet.destination_endpoint()) + ": " + what;
}

void WireLife::say(const std::string& line) {
    if (logging_) log_.push_back(line);
}

}  // namespace svclb::test
