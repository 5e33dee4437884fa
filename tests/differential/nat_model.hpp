// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// What svclb ought to do with each packet, said as plainly as possible: two maps of tuples and a list of rules. Where
// the programs may choose (a backend, a source port) the model judges the choice and then holds them to it. It shares
// no code with the programs and knows nothing of their tables.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "packet.hpp"
#include "prog_run.hpp"

namespace svclb::test {

// A packet's ends as it meets one of the two hooks.
struct Tuple {
    Endpoint from;
    Endpoint to;
    bool to_pod = false;
    auto operator<=>(const Tuple&) const = default;
};

struct ModelService {
    std::set<Endpoint> set;      // new flows go to one of these
    std::set<Endpoint> serving;  // UDP conversations stay with these
    bool sticky = false;
    std::map<Ip, Endpoint> remembered;  // by client
};

struct ModelFlow {
    Endpoint client;
    Endpoint dialled;
    Endpoint backend;
    Endpoint presented;                     // the client as the backend sees it
    const ModelService* service = nullptr;  // none: the client dialled the backend itself
    bool direct = false;                    // and its packets are left alone
    bool answered = false;
    bool client_fin = false;
    bool backend_fin = false;
    bool backend_closed_first = false;
    bool reset = false;
    bool idle = false;     // longer than any timeout
    bool moved = false;    // the client's packets go elsewhere by now: nobody is owed anything but the truth
    bool unclear = false;  // brought back by a late answer, or begun anew: what is said above may be of before

    [[nodiscard]] bool hairpin() const { return !direct && client.addr == backend.addr; }
    [[nodiscard]] bool closed() const { return reset || (client_fin && backend_fin); }
    [[nodiscard]] Tuple out() const { return {client, dialled, false}; }
    [[nodiscard]] Tuple back() const { return {backend, presented, !hairpin()}; }
};
using Flow = std::shared_ptr<ModelFlow>;

class NatModel {
public:
    explicit NatModel(std::uint8_t proto) : proto_(proto) {}

    std::map<Endpoint, ModelService*> frontends;
    std::set<Endpoint> backends;  // every one that ever was

    // What the program made of `sent`. Empty: as it should be; else what is wrong.
    std::string judge(const Packet& sent, bool to_pod, const Run& got);

    // The same of an ICMP error of `from`'s about the packet `quoted`, which is sent to that one's sender.
    std::string judge_error(const Ip& from, const Packet& quoted, bool to_pod, const Run& got);
    static Packet error_about(const Ip& from, const Packet& quoted);

    // Is the packet one that is translated, or refused, at this hook?
    [[nodiscard]] bool concerns_us(const Packet& sent, bool to_pod) const;

    // Told by the driver: the entry for these packets was removed.
    void lost(const Tuple& tuple);

    // Every conversation that was begun, in that order; direct ones too.
    [[nodiscard]] const std::vector<Flow>& begun() const { return begun_; }
    [[nodiscard]] std::size_t judged_new() const { return judged_new_; }
    [[nodiscard]] std::size_t judged_translated_port() const { return judged_translated_port_; }

private:
    std::string judge_from_pod(const Packet& sent, const Run& got);
    std::string judge_new(const Packet& sent, ModelService& service, const Run& got);
    std::string judge_direct(const Packet& sent, const Run& got);
    std::string judge_answer(const Packet& sent, const Run& got);
    std::string judge_client(const Packet& sent, const Flow& flow, const Run& got);
    std::string judge_backend(const Packet& sent, const Flow& flow, const Run& got);

    [[nodiscard]] bool tcp() const { return proto_ != 17; }
    [[nodiscard]] bool serves(const ModelFlow& flow) const;
    [[nodiscard]] Flow owner(const Tuple& back) const;
    // May a new conversation of `client` with `dialled` have the tuple? "Maybe" is both.
    enum class Free { no, yes, maybe };
    [[nodiscard]] Free is_free(const Tuple& back, const Endpoint& client, const Endpoint& dialled) const;
    // The tuple is the flow's from now on; whoever had it has lost it.
    void take(const Flow& flow);
    // What the flow's client sends passes for an answer of whoever has its tuple the other way round: who is over loses
    // it by that. Empty, or who is not over.
    std::string cross(const ModelFlow& flow);
    void open(const Flow& flow);

    std::uint8_t proto_;
    std::map<Tuple, Flow> out_;   // by what the client sends
    std::map<Tuple, Flow> back_;  // by what the backend sends
    // Where the client has gone nowhere else since, a late answer may make its entry anew: any of these, by what it
    // sends.
    std::map<Tuple, std::vector<Flow>> restored_;
    std::vector<Flow> begun_;
    std::size_t judged_new_ = 0;
    std::size_t judged_translated_port_ = 0;
};

}  // namespace svclb::test
