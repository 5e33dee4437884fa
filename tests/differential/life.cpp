// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "life.hpp"

#include <bpf/bpf.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace svclb::test {
namespace {

constexpr std::uint32_t kLong = 1'000'000;  // seconds: longer than every timeout
constexpr std::array<std::uint16_t, 4> kClientPorts{40000, 40001, 40002, 8080};
constexpr std::size_t kRecent = 24;  // conversations that most packets belong to

constexpr std::array<std::uint8_t, 3> kProtocols{IPPROTO_UDP, IPPROTO_TCP, IPPROTO_SCTP};

std::string flags_text(const Packet& packet) {
    if (const auto* sctp = std::get_if<Sctp>(&packet.transport)) return "chunk " + std::to_string(sctp->chunk);
    const auto* tcp = std::get_if<Tcp>(&packet.transport);
    if (tcp == nullptr) return "datagram";
    std::string text;
    for (const auto& [flag, letter] : {std::pair{syn, 'S'}, {ack, 'A'}, {psh, 'P'}, {fin, 'F'}, {rst, 'R'}}) {
        if ((tcp->flags & static_cast<unsigned>(flag)) != 0) text += letter;
    }
    return text;
}

}  // namespace

Totals& Totals::operator+=(const Totals& more) {
    packets += more.packets;
    begun += more.begun;
    ports_changed += more.ports_changed;
    errors += more.errors;
    datagrams += more.datagrams;
    return *this;
}

DatapathOptions Life::options() {
    DatapathOptions options;
    options.settings.reject_per_s = 1U << 30;
    options.transient = 8192;
    return options;
}

Life::Life(Datapath& datapath, std::uint64_t seed)
    : datapath_(datapath), proto_(kProtocols[seed % kProtocols.size()]), model_(proto_) {
    const bool v4 = seed / kProtocols.size() % 2 != 0;
    const auto net = [v4](const char* four, const char* six) { return ip(v4 ? four : six); };
    datapath_.clear();
    const Ip pod = net("10.244.2.20", "fd00:244:2::20");
    for (std::uint32_t i = 0; i < 4; i++) backends_.push_back({pod + i, 8080});
    // Two pods that serve nothing and two that do.
    const Ip client = net("10.244.1.10", "fd00:244:1::10");
    clients_ = {client, client + 1, pod, pod + 1};
    const Ip frontend = net("10.96.0.10", "fd00:96::10");
    ports_.resize(3);
    for (std::uint32_t i = 0; i < ports_.size(); i++) {
        Port& port = ports_[i];
        port.index = i + 1;
        port.frontends = {{frontend + i, 80}};
    }
    ports_[0].frontends.push_back({frontend + 7, 80});
    ports_[2].options.affinity_s = 10800;
    ports_[2].model.sticky = true;
    for (Port& port : ports_) create(port, {backends_[0], backends_[1]});
}

std::string Life::live(const std::vector<Step>& steps) {
    for (const Step& step : steps) {
        lived_++;
        happen(step);
        if (!wrong_.empty()) break;
    }
    return wrong_;
}

Totals Life::totals() const {
    return {packets_, model_.judged_new(), model_.judged_translated_port(), errors_, datagrams_};
}

void Life::happen(const Step& step) {
    const std::uint32_t what = step[0] % 100;
    if (what < 30) return dial(step);
    if (what < 58) return client_speaks(step);
    if (what < 62) return send_fragments(step);
    if (what < 88) return backend_speaks(step);
    if (what < 92) return report_error(step);
    if (what < 96) return change_endpoints(step);
    if (what < 97) return forget_affinity(step);
    if (what < 98) return collect(step);
    if (what < 99) return evict(step);
    grow_old(step);
}

void Life::dial(const Step& step) {
    const Endpoint from{clients_[step[1] % clients_.size()], kClientPorts[step[2] % kClientPorts.size()]};
    std::vector<Endpoint> dialled = backends_;
    for (const Port& port : ports_) {
        // Twice as likely as each backend.
        for (int i = 0; i < 2; i++) dialled.insert(dialled.end(), port.frontends.begin(), port.frontends.end());
    }
    const Endpoint to = dialled[step[3] % dialled.size()];
    if (from.addr == to.addr) return;  // never leaves the pod
    send(packet_of(step[4] % 8 == 0 ? 15 : 8, from, to));
}

void Life::client_speaks(const Step& step) {
    if (const Flow flow = some_flow(step[1])) send(packet_of(step[4], flow->client, flow->dialled));
}

void Life::backend_speaks(const Step& step) {
    const Flow flow = some_flow(step[1]);
    // A hairpin's two ends are one pod, and a pod never sends to itself by its link.
    if (flow) send(packet_of(step[4], flow->backend, flow->presented));
}

// A router's or the receiver's, about a packet that has come far enough to be met by somebody else.
void Life::report_error(const Step& step) {
    const Flow flow = some_flow(step[1]);
    if (!flow || flow->hairpin()) return;
    const bool to_pod = step[2] % 2 == 0;
    const Packet quoted =
        to_pod ? packet_of(step[4], flow->presented, flow->backend) : packet_of(step[4], flow->dialled, flow->client);
    const Ip router = flow->client.addr + 100;
    const Ip from = !to_pod ? flow->client.addr : step[3] % 2 == 0 ? router : flow->backend.addr;
    const Packet error = NatModel::error_about(from, quoted);
    packets_++;
    errors_++;
    datapath_.with_complete_checksums(true);
    const Run run = to_pod ? datapath_.to_pod(error) : datapath_.from_pod(error);
    say((to_pod ? "  to_pod   " : "from_pod   ") + to_string(quoted.source_endpoint()) + " -> " +
        to_string(quoted.destination_endpoint()) + ": error of " + to_string(from));
    wrong_ = model_.judge_error(from, quoted, to_pod, run);
}

void Life::change_endpoints(const Step& step) {
    Port& port = ports_[step[1] % ports_.size()];
    std::vector<Endpoint> set;
    for (std::size_t i = 0; i < backends_.size(); i++) {
        if ((step[2] >> i & 1) != 0) set.push_back(backends_[i]);
    }
    if (!port.rows) return create(port, set);
    if (step[3] % 6 == 0) return remove(port);
    if (step[3] % 6 == 1) set.clear();
    say("endpoints of " + std::to_string(port.index) + ": " + std::to_string(set.size()) + " usable");
    // What leaves the set drains or goes at once.
    std::vector<Endpoint> leaving;
    for (const Endpoint& backend : port.model.serving) {
        if (std::find(set.begin(), set.end(), backend) == set.end()) leaving.push_back(backend);
    }
    port.rows->publish(set);
    port.model.set = {set.begin(), set.end()};
    port.model.serving.insert(set.begin(), set.end());
    model_.backends.insert(set.begin(), set.end());
    for (std::size_t i = 0; i < leaving.size(); i++) {
        if ((step[4] >> i & 1) != 0) {
            port.rows->drain(leaving[i]);
        } else {
            port.rows->remove_backend(leaving[i]);
            port.model.serving.erase(leaving[i]);
        }
        say("  " + to_string(leaving[i]) + ((step[4] >> i & 1) != 0 ? " drains" : " is gone"));
    }
}

void Life::create(Port& port, const std::vector<Endpoint>& set) {
    say("service " + std::to_string(port.index) + " is made with " + std::to_string(set.size()) + " backends");
    port.rows = std::make_unique<ServiceFixture>(datapath_, port.index, port.frontends[0], proto_, set, port.options);
    for (const Endpoint& frontend : port.frontends) {
        port.rows->add_frontend(frontend);
        model_.frontends[frontend] = &port.model;
    }
    port.model.set = {set.begin(), set.end()};
    port.model.serving = port.model.set;
    model_.backends.insert(set.begin(), set.end());
}

void Life::remove(Port& port) {
    say("service " + std::to_string(port.index) + " is deleted");
    for (const Endpoint& frontend : port.frontends) {
        port.rows->remove_frontend(frontend);
        model_.frontends.erase(frontend);
    }
    port.rows->remove();
    port.rows.reset();
    port.model.set.clear();
    port.model.serving.clear();
}

void Life::forget_affinity(const Step& step) {
    Port& port = ports_[2];
    const Ip client = clients_[step[1] % clients_.size()];
    svclb_affinity_key key{};
    std::memcpy(key.client, client.bytes.data(), client.bytes.size());
    key.service = port.index;
    svclb_affinity row{};
    if (bpf_map_lookup_elem(datapath_.map("affinity"), &key, &row) != 0) return;
    row.seen_s -= port.options.affinity_s;
    bpf_map_update_elem(datapath_.map("affinity"), &key, &row, BPF_ANY);
    port.model.remembered.erase(client);
    say("affinity of " + to_string(client) + " ends");
}

svclb_flow_key6 Life::key_of(const Tuple& tuple) const {
    return flow_key(tuple.from, tuple.to, proto_, tuple.to_pod ? SVCLB_TO_POD : SVCLB_FROM_POD);
}

void Life::grow_old(const Step& step) {
    const Flow flow = some_flow(step[1]);
    if (!flow || flow->moved) return;
    for (const Tuple& tuple : {flow->out(), flow->back()}) {
        auto entry = datapath_.find_flow(key_of(tuple));
        // The tuple may be another flow's by now.
        if (!entry || target_of(entry->flow) != (tuple == flow->out() ? flow->backend : flow->dialled)) continue;
        entry->flow.seen_s -= kLong;
        entry->flow.tick -= kLong;
        datapath_.put_flow(*entry);
    }
    flow->idle = true;
    say("silence: " + to_string(flow->client) + " -> " + to_string(flow->dialled));
}

// As the agent does with what is closed or old.
void Life::collect(const Step& step) {
    const Flow flow = some_flow(step[1]);
    if (!flow || flow->moved || flow->direct || !(flow->closed() || flow->idle)) return;
    for (const Tuple& tuple : {flow->out(), flow->back()}) {
        const auto entry = datapath_.find_flow(key_of(tuple));
        if (entry) datapath_.remove_flow(entry->key, entry->established);
        model_.lost(tuple);
    }
    flow->moved = true;
    say("collected: " + to_string(flow->client) + " -> " + to_string(flow->dialled));
}

// As the LRU tables do, one entry alone.
void Life::evict(const Step& step) {
    const Flow flow = some_flow(step[1]);
    if (!flow || flow->moved || flow->direct) return;
    const bool out = step[2] % 2 == 0;
    const Tuple tuple = out ? flow->out() : flow->back();
    const auto entry = datapath_.find_flow(key_of(tuple));
    if (!entry || entry->established || entry->flow.kind == SVCLB_FLOW_DIRECT) return;
    datapath_.remove_flow(entry->key, false);
    model_.lost(tuple);
    say(std::string("evicted: the ") + (out ? "client's" : "backend's") + " entry of " + to_string(flow->client) +
        " -> " + to_string(flow->dialled));
}

Packet Life::packet_of(std::uint32_t kind, const Endpoint& from, const Endpoint& to) const {
    return some_packet(proto_, kind, from, to);
}

Flow Life::some_flow(std::uint32_t number) const {
    const auto& begun = model_.begun();
    if (begun.empty()) return nullptr;
    const std::size_t from = number % 8 == 0 ? begun.size() : std::min(begun.size(), kRecent);
    return begun[begun.size() - 1 - number / 8 % from];
}

Run Life::meet(const Packet& packet, bool to_pod) {
    packets_++;
    // A SYN with options that is refused is cut, and the kernel itself forgets the packet's sum then.
    datapath_.with_complete_checksums(flags_text(packet).find('S') == std::string::npos);
    Run run;
    try {
        run = to_pod ? datapath_.to_pod(packet) : datapath_.from_pod(packet);
    } catch (const std::runtime_error& error) {
        say(std::string(to_pod ? "  to_pod   " : "from_pod   ") + to_string(packet.source_endpoint()) + " -> " +
            to_string(packet.destination_endpoint()) + ' ' + flags_text(packet));
        wrong_ = error.what();
        return run;
    }
    if (logging_) {
        std::string line = (to_pod ? "  to_pod   " : "from_pod   ") + to_string(packet.source_endpoint()) + " -> " +
                           to_string(packet.destination_endpoint()) + ' ' + flags_text(packet) + ": ";
        if (run.verdict != next) line += run.verdict == redirected ? "sent back " : "dropped ";
        line += to_string(source_of(run.frame)) + " -> " + to_string(destination_of(run.frame));
        say(line);
    }
    wrong_ = model_.judge(packet, to_pod, run);
    return run;
}

// All the way: the sender's link, then the receiver's if it gets there.
void Life::send(const Packet& packet) {
    const Run sent = meet(packet, false);
    if (!wrong_.empty() || sent.verdict != next) return;
    meet(with_source(with_destination(packet, destination_of(sent.frame)), source_of(sent.frame)), true);
}

void Life::say(const std::string& line) {
    if (logging_) log_.push_back(line);
}

}  // namespace svclb::test
