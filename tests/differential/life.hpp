// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A few pods, Services and source ports, so few that everything collides all the time, and what happens to them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nat_model.hpp"
#include "service_fixture.hpp"
#include "step.hpp"

namespace svclb::test {

struct Totals {
    std::size_t packets = 0;
    std::size_t begun = 0;
    std::size_t ports_changed = 0;
    std::size_t errors = 0;
    std::size_t datagrams = 0;  // in fragments, each counted at every hook
    Totals& operator+=(const Totals& more);
};

class Life {
public:
    using Totals = test::Totals;

    // With timeouts so long that only the steps make a flow old.
    static DatapathOptions options();

    // The seed decides on family and protocol.
    Life(Datapath& datapath, std::uint64_t seed);

    // Empty, or what went wrong first.
    std::string live(const std::vector<Step>& steps);

    void keep_log() { logging_ = true; }
    [[nodiscard]] const std::vector<std::string>& log() const { return log_; }
    [[nodiscard]] std::size_t steps_lived() const { return lived_; }
    [[nodiscard]] Totals totals() const;

private:
    struct Port {  // a service port, deleted or not
        std::uint32_t index = 0;
        std::vector<Endpoint> frontends;
        ServiceOptions options;
        ModelService model;
        std::vector<Endpoint> draining;
        std::unique_ptr<ServiceFixture> rows;
    };

    void happen(const Step& step);
    void dial(const Step& step);
    void client_speaks(const Step& step);
    void backend_speaks(const Step& step);
    void change_endpoints(const Step& step);
    void forget_affinity(const Step& step);
    void grow_old(const Step& step);
    void collect(const Step& step);
    void evict(const Step& step);
    void report_error(const Step& step);
    void send_fragments(const Step& step);

    void send(const Packet& packet);
    Run meet(const Packet& packet, bool to_pod);
    std::optional<Packet> meet_fragments(const Packet& whole, bool to_pod, std::uint32_t number);
    void create(Port& port, const std::vector<Endpoint>& set);
    void remove(Port& port);
    [[nodiscard]] Packet packet_of(std::uint32_t kind, const Endpoint& from, const Endpoint& to) const;
    [[nodiscard]] Flow some_flow(std::uint32_t number) const;
    [[nodiscard]] svclb_flow_key6 key_of(const Tuple& tuple) const;
    void say(const std::string& line);

    Datapath& datapath_;
    std::uint8_t proto_;
    NatModel model_;
    std::vector<Ip> clients_;
    std::vector<Endpoint> backends_;
    std::vector<Port> ports_;
    std::size_t packets_ = 0;
    std::size_t errors_ = 0;
    std::uint32_t datagrams_ = 0;  // in fragments: each with an id of its own
    std::size_t lived_ = 0;
    std::string wrong_;
    bool logging_ = false;
    std::vector<std::string> log_;
};

}  // namespace svclb::test
