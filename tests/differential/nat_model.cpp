// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "nat_model.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <utility>

namespace svclb::test {
namespace {

// What an SCTP packet's chunk would be in TCP.
unsigned flags_of(const Packet& packet) {
    if (const auto* tcp = std::get_if<Tcp>(&packet.transport)) return tcp->flags;
    const auto* sctp = std::get_if<Sctp>(&packet.transport);
    if (sctp == nullptr) return 0;
    switch (sctp->chunk) {
        case sctp_init:
            return syn;
        case sctp_init_ack:
            return syn | ack;
        case sctp_abort:
            return rst;
        case sctp_shutdown:
        case sctp_shutdown_ack:
        case sctp_shutdown_complete:
            return fin | ack;
        default:
            return ack;
    }
}

bool is_first_syn(const Packet& packet) {
    return (flags_of(packet) & (syn | ack | rst)) == syn;
}

Packet between(const Packet& packet, const Endpoint& from, const Endpoint& to) {
    return with_source(with_destination(packet, to), from);
}

std::string expect(const Run& got, std::int32_t verdict, const Packet& packet) {
    if (got.verdict != verdict) {
        return "verdict " + std::to_string(got.verdict) + " instead of " + std::to_string(verdict) + '\n';
    }
    return difference(packet.frame(), got.frame);
}

std::string expect_unchanged(const Run& got, const Packet& sent) {
    return expect(got, next, sent);
}

// What the client's packet, and the backend's, becomes. A hairpin goes back to where it came from.
std::string expect_translated(const Run& got, const Packet& sent, const Endpoint& from, const Endpoint& to,
                              bool hairpin) {
    Packet packet = between(sent, from, to);
    if (hairpin) std::swap(packet.to_mac, packet.from_mac);
    return expect(got, hairpin ? redirected : next, packet);
}

std::string expect_out(const Run& got, const Packet& sent, const ModelFlow& flow) {
    return expect_translated(got, sent, flow.presented, flow.backend, flow.hairpin());
}

std::string expect_back(const Run& got, const Packet& sent, const ModelFlow& flow) {
    return expect_translated(got, sent, flow.dialled, flow.client, flow.hairpin());
}

// A connection is over with a RST, but not if it goes on: then the RST was forged.
void note_end(ModelFlow& flow, unsigned flags, bool& own_fin) {
    flow.idle = false;
    if ((flags & rst) != 0) {
        flow.reset = true;
        return;
    }
    if ((flags & fin) != 0) own_fin = true;
    if ((flags & syn) == 0) flow.reset = false;
}

std::string describe(const Flow& flow) {
    if (!flow) return "nobody's\n";
    std::string text = to_string(flow->client) + " -> " + to_string(flow->dialled);
    for (const auto& [is, word] : {std::pair{flow->direct, " direct"},
                                   {flow->answered, " answered"},
                                   {flow->client_fin, " client's FIN"},
                                   {flow->backend_fin, " backend's FIN"},
                                   {flow->reset, " reset"},
                                   {flow->idle, " idle"},
                                   {flow->moved, " moved"}}) {
        if (is) text += word;
    }
    return text + '\n';
}

// The answer to what nobody serves: from where it was sent to, and all its checksums right.
std::string expect_refused(const Run& got, const Packet& sent) {
    if (got.verdict != redirected) return "verdict " + std::to_string(got.verdict) + " where a refusal was due\n";
    if (const std::string wrong = wrong_checksums(got.frame); !wrong.empty()) return wrong;
    if (!std::holds_alternative<Tcp>(sent.transport)) return {};  // an ICMP error
    if (source_of(got.frame) == sent.destination_endpoint() && destination_of(got.frame) == sent.source_endpoint())
        return {};
    return "the refusal goes from " + to_string(source_of(got.frame)) + " to " + to_string(destination_of(got.frame));
}

}  // namespace

bool NatModel::serves(const ModelFlow& flow) const {
    if (flow.service == nullptr) return true;
    const auto found = frontends.find(flow.dialled);
    return found != frontends.end() && found->second == flow.service && flow.service->serving.contains(flow.backend);
}

Flow NatModel::owner(const Tuple& back) const {
    const auto found = back_.find(back);
    return found == back_.end() ? nullptr : found->second;
}

NatModel::Free NatModel::is_free(const Tuple& back, const Endpoint& client, const Endpoint& dialled) const {
    const Flow holder = owner(back);
    if (!holder) return Free::yes;
    // Direct conversations are not followed packet by packet: whether an old one has been seen since depends.
    if (holder->direct) return holder->idle ? Free::maybe : Free::no;
    if (holder->moved || holder->unclear) return Free::maybe;
    const bool own = holder->client == client && holder->dialled == dialled;
    if (holder->closed()) {
        // A backend that closed first remembers the connection for a minute, and takes no other's SYN for a new one.
        const bool remembers = proto_ == IPPROTO_TCP && !holder->reset && holder->backend_closed_first;
        return remembers && !own && !holder->idle ? Free::no : Free::yes;
    }
    // A client that begins anew has given its own old connection up; the backend's end may still be open.
    if (own) return tcp() && holder->client_fin ? (holder->idle ? Free::maybe : Free::no) : Free::yes;
    return holder->idle ? Free::yes : Free::no;
}

void NatModel::take(const Flow& flow) {
    if (const Flow old = owner(flow->back()); old && old != flow) {
        old->moved = true;
        if (const auto entry = out_.find(old->out()); entry != out_.end() && entry->second == old) out_.erase(entry);
    }
    back_[flow->back()] = flow;
}

std::string NatModel::cross(const ModelFlow& flow) {
    const Tuple across{flow.presented, flow.backend, true};
    const Flow holder = owner(across);
    if (!holder) return {};
    const Free free = is_free(across, {}, {});
    if (free == Free::no)
        return "presented as " + to_string(flow.presented) + ", in use the other way round: " + describe(holder);
    holder->moved = true;
    holder->unclear = true;  // which of its packets count for its end is open, if it has been over only perhaps
    if (free == Free::maybe) return {};
    if (const auto entry = out_.find(holder->out()); entry != out_.end() && entry->second == holder) out_.erase(entry);
    back_.erase(across);
    return {};
}

void NatModel::open(const Flow& flow) {
    take(flow);
    begun_.push_back(flow);
    if (flow->direct) return;
    Flow& place = out_[flow->out()];
    if (place && place != flow) place->moved = true;
    place = flow;
}

std::string NatModel::judge(const Packet& sent, bool to_pod, const Run& got) {
    if (!to_pod) return judge_from_pod(sent, got);
    const Flow flow = owner({sent.source_endpoint(), sent.destination_endpoint(), true});
    return flow ? judge_backend(sent, flow, got) : expect_unchanged(got, sent);
}

std::string NatModel::judge_from_pod(const Packet& sent, const Run& got) {
    const Tuple tuple{sent.source_endpoint(), sent.destination_endpoint(), false};
    if (const Flow flow = owner(tuple)) return judge_backend(sent, flow, got);
    const auto found = out_.find(tuple);
    Flow flow = found == out_.end() ? nullptr : found->second;
    const auto frontend = frontends.find(tuple.to);

    if (const auto late = restored_.extract(tuple); !flow && !late.empty()) {
        for (const Flow& old : late.mapped()) {
            if (owner(old->back()) != old || (!tcp() && !serves(*old))) continue;
            if (!expect_out(got, sent, *old).empty()) continue;
            old->moved = false;
            old->unclear = true;
            out_[tuple] = old;
            // Or it was a new choice that fell on the same backend.
            if (frontend != frontends.end()) frontend->second->remembered.erase(tuple.from.addr);
            return judge_client(sent, old, got);
        }
    }

    if (flow && owner(flow->back()) != flow) {
        // It goes on if nobody else has got its tuple since it lost the entry for its answers.
        const Free free = is_free(flow->back(), flow->client, flow->dialled);
        if (free == Free::no || (free == Free::maybe && !expect_out(got, sent, *flow).empty())) {
            flow->moved = true;
            out_.erase(tuple);
            flow = nullptr;
        }
    }
    if (flow) {
        const bool goes_on = tcp() ? !is_first_syn(sent) : serves(*flow);
        const bool repeated =
            tcp() && !flow->unclear && !flow->closed() && !flow->client_fin && !flow->idle && serves(*flow);
        if (goes_on || repeated) return judge_client(sent, flow, got);
        // It may stay as well, as long as nothing has ended it; or begin anew with the same backend.
        if (tcp() && (flow->unclear || (!flow->closed() && !flow->client_fin)) &&
            expect_out(got, sent, *flow).empty()) {
            flow->unclear = true;
            if (frontend != frontends.end()) frontend->second->remembered.erase(tuple.from.addr);
            return judge_client(sent, flow, got);
        }
    } else if (tcp() && !is_first_syn(sent)) {
        // The answer to one who dials from a backend's port: a direct conversation, unless it is known as a flow's.
        if ((flags_of(sent) & (syn | ack)) == (syn | ack) && backends.contains(tuple.to) &&
            frontend == frontends.end() && !owner({tuple.from, tuple.to, true}))
            return judge_answer(sent, got);
        return expect_unchanged(got, sent);
    }
    // Whatever comes out, the old conversation is over for the client.
    if (flow) {
        flow->moved = true;
        out_.erase(tuple);
    }
    if (frontend != frontends.end()) return judge_new(sent, *frontend->second, got);
    return judge_direct(sent, got);
}

std::string NatModel::judge_new(const Packet& sent, ModelService& service, const Run& got) {
    const Endpoint client = sent.source_endpoint();
    const Endpoint dialled = sent.destination_endpoint();
    if (service.set.empty()) return expect_refused(got, sent);
    if (got.verdict != next && got.verdict != redirected) return "verdict " + std::to_string(got.verdict) + '\n';

    judged_new_++;
    const auto flow = std::make_shared<ModelFlow>();
    flow->client = client;
    flow->dialled = dialled;
    flow->backend = destination_of(got.frame);
    flow->presented = source_of(got.frame);
    flow->service = &service;
    if (!service.set.contains(flow->backend)) return "sent to " + to_string(flow->backend) + ", no usable backend\n";
    if (const auto last = service.remembered.find(client.addr); service.sticky && last != service.remembered.end() &&
                                                                service.set.contains(last->second) &&
                                                                last->second != flow->backend)
        return "sent to " + to_string(flow->backend) + ", not to " + to_string(last->second) + " that it knows\n";
    const Ip as = flow->hairpin() ? dialled.addr : client.addr;
    if (flow->presented.addr != as) return "presented as " + to_string(flow->presented) + '\n';
    if (std::string wrong = expect_out(got, sent, *flow); !wrong.empty()) return wrong;

    if (is_free(flow->back(), client, dialled) == Free::no)
        return "the tuple " + to_string(flow->backend) + " -> " + to_string(flow->presented) +
               " is in use: " + describe(owner(flow->back()));
    if (std::string wrong = cross(*flow); !wrong.empty()) return wrong;
    const Endpoint own{as, client.port};
    if (flow->presented != own) {
        judged_translated_port_++;
        // What passes for an answer of another flow's backend is not free either.
        const Tuple across{own, flow->backend, true};
        if (const Tuple back{flow->backend, own, !flow->hairpin()};
            is_free(back, client, dialled) == Free::yes && is_free(across, {}, {}) == Free::yes)
            return "another source port, though the client's own was free: " + describe(owner(back));
    }
    service.remembered[client.addr] = flow->backend;
    open(flow);
    return {};
}

std::string NatModel::judge_direct(const Packet& sent, const Run& got) {
    const Endpoint client = sent.source_endpoint();
    const Endpoint dialled = sent.destination_endpoint();
    if (!backends.contains(dialled)) return expect_unchanged(got, sent);
    // Of datagrams nobody knows which is an answer, but for those of a flow's backend.
    const Flow asked = proto_ == IPPROTO_UDP ? owner({client, dialled, true}) : nullptr;
    if (asked && !asked->direct && !asked->moved) return expect_unchanged(got, sent);

    const auto flow = std::make_shared<ModelFlow>();
    flow->client = client;
    flow->dialled = dialled;
    flow->backend = dialled;
    flow->presented = client;
    flow->direct = true;
    const Flow holder = owner(flow->back());
    const bool own = holder && holder->direct && !holder->backend_fin;
    const bool maybe_asked = asked && !asked->direct;
    if (own && !maybe_asked) holder->idle = false;
    const Free free = own ? Free::yes : holder && holder->direct ? Free::yes : is_free(flow->back(), {}, {});
    if (free == Free::yes || (free == Free::maybe && expect_unchanged(got, sent).empty())) {
        flow->idle = maybe_asked;
        if (!own) open(flow);
        return expect_unchanged(got, sent);
    }
    flow->direct = false;
    flow->presented = source_of(got.frame);
    judged_translated_port_++;
    if (flow->presented.port == client.port) return "its tuple is in use, and it was not translated\n";
    if (flow->presented.addr != client.addr) return "presented as " + to_string(flow->presented) + '\n';
    if (is_free(flow->back(), client, dialled) == Free::no)
        return "the tuple " + to_string(flow->backend) + " -> " + to_string(flow->presented) +
               " is in use: " + describe(owner(flow->back()));
    if (std::string wrong = cross(*flow); !wrong.empty()) return wrong;
    if (std::string wrong = expect_out(got, sent, *flow); !wrong.empty()) return wrong;
    open(flow);
    return {};
}

std::string NatModel::judge_answer(const Packet& sent, const Run& got) {
    const auto flow = std::make_shared<ModelFlow>();
    flow->client = flow->presented = sent.source_endpoint();
    flow->dialled = flow->backend = sent.destination_endpoint();
    flow->direct = true;
    const Flow holder = owner(flow->back());
    if (holder && holder->direct && !holder->backend_fin)
        holder->idle = false;
    else if (!holder || holder->direct || is_free(flow->back(), {}, {}) == Free::yes)
        open(flow);
    else if (is_free(flow->back(), {}, {}) == Free::maybe)
        holder->moved = true;
    return expect_unchanged(got, sent);
}

std::string NatModel::judge_client(const Packet& sent, const Flow& flow, const Run& got) {
    if (std::string wrong = expect_out(got, sent, *flow); !wrong.empty()) return wrong;
    take(flow);
    const unsigned flags = flags_of(sent);
    note_end(*flow, flags, flow->client_fin);
    return {};
}

std::string NatModel::judge_backend(const Packet& sent, const Flow& flow, const Run& got) {
    const unsigned flags = flags_of(sent);
    if (flow->direct) {
        if ((flags & (fin | rst)) != 0) flow->backend_fin = true;
        return expect_unchanged(got, sent);
    }
    if (flow->moved && expect_unchanged(got, sent).empty()) return {};
    if (std::string wrong = expect_back(got, sent, *flow); !wrong.empty()) return wrong;
    if (flow->moved) {
        restored_[flow->out()].push_back(flow);
        return {};
    }
    if ((flags & fin) != 0 && (flags & rst) == 0 && !flow->backend_fin && !flow->client_fin)
        flow->backend_closed_first = true;
    note_end(*flow, flags, flow->backend_fin);
    if (!tcp() || (flags & (syn | rst)) == syn) flow->answered = true;
    return {};
}

Packet NatModel::error_about(const Ip& from, const Packet& quoted) {
    constexpr std::size_t kEthernet = 14;
    const Bytes frame = quoted.frame();
    const Icmp message = from.v4() ? Icmp{3, 4, 1400} : Icmp{2, 0, 1400};  // it does not fit
    return icmp(from, quoted.source, message, {frame.begin() + kEthernet, frame.end()});
}

std::string NatModel::judge_error(const Ip& from, const Packet& quoted, bool to_pod, const Run& got) {
    const Packet sent = error_about(from, quoted);
    const Endpoint sender = quoted.source_endpoint();
    const Endpoint receiver = quoted.destination_endpoint();
    // As the one who reads the error has sent the packet that it quotes.
    const auto expect_of = [&](const ModelFlow& flow) {
        const Packet own =
            to_pod ? between(quoted, flow.client, flow.dialled) : between(quoted, flow.backend, flow.presented);
        // A backend is not known to its client, nor a pod to itself.
        const bool hides = flow.hairpin() || (to_pod && from == flow.backend.addr);
        Packet error = error_about(hides ? flow.dialled.addr : from, own);
        if (flow.hairpin()) std::swap(error.to_mac, error.from_mac);
        return expect(got, flow.hairpin() ? redirected : next, error);
    };
    if (to_pod) {
        const Flow flow = owner({receiver, sender, true});
        if (!flow || flow->direct || (flow->moved && expect_unchanged(got, sent).empty()))
            return expect_unchanged(got, sent);
        return expect_of(*flow);
    }
    const Tuple out{receiver, sender, false};
    if (const auto late = restored_.find(out); late != restored_.end()) {
        for (const Flow& flow : late->second) {
            if (expect_of(*flow).empty()) return {};
        }
    }
    const auto found = out_.find(out);
    if (found == out_.end() || found->second->direct) return expect_unchanged(got, sent);
    return expect_of(*found->second);
}

bool NatModel::concerns_us(const Packet& sent, bool to_pod) const {
    const Tuple tuple{sent.source_endpoint(), sent.destination_endpoint(), to_pod};
    const Flow flow = owner(tuple);
    if (flow && !flow->direct && !flow->moved) return true;
    return !to_pod && frontends.contains(tuple.to);
}

void NatModel::lost(const Tuple& tuple) {
    if (const auto flow = out_.extract(tuple); !flow.empty()) flow.mapped()->moved = true;
    back_.erase(tuple);
}

}  // namespace svclb::test
