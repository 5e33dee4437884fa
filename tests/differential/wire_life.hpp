// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Clients outside at a node's uplink, and backends elsewhere that answer. Every packet is shown to XDP first, which
// only reads, and then to tc as if there were no XDP: what XDP forwards or drops must be what tc makes of it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "prog_run.hpp"
#include "service_fixture.hpp"
#include "step.hpp"
#include "way_out.hpp"

namespace svclb::test {

struct WireTotals {
    std::size_t packets = 0;
    std::size_t forwarded = 0;  // at XDP, as the next one
    std::size_t dropped = 0;
    WireTotals& operator+=(const WireTotals& more);
};

class WireLife {
public:
    using Totals = WireTotals;

    // The seed decides on family and protocol. In a WayOut.
    WireLife(Datapath& datapath, std::uint64_t seed);

    // Empty, or what went wrong first.
    std::string live(const std::vector<Step>& steps);

    void keep_log() { logging_ = true; }
    [[nodiscard]] const std::vector<std::string>& log() const { return log_; }
    [[nodiscard]] std::size_t steps_lived() const { return lived_; }
    [[nodiscard]] const WireTotals& totals() const { return totals_; }

private:
    struct Port {
        ServiceOptions options;
        std::vector<Endpoint> frontends;
        std::unique_ptr<ServiceFixture> rows;
    };
    struct Conversation {
        Endpoint client;
        Endpoint dialled;
        Endpoint backend;
        Endpoint node;  // as the backend sees the client
    };

    void happen(const Step& step);
    void dial(const Step& step);
    void client_speaks(const Step& step);
    void backend_speaks(const Step& step);
    void change_endpoints(const Step& step);
    void change_ranges(const Step& step);
    void grow_old(const Step& step);
    void answer_of_the_node(const Step& step);

    void meet(const Packet& packet);
    void judge_forwarded(const Packet& packet, const Run& early, const Run& in, const Run& out);
    void remember(const Packet& packet, const Run& in, const Run& out);
    [[nodiscard]] bool has_flow(const Packet& packet) const;
    [[nodiscard]] Packet packet_of(std::uint32_t kind, const Endpoint& from, const Endpoint& to) const;
    [[nodiscard]] const Conversation* some_conversation(std::uint32_t number) const;
    void wrong(const Packet& packet, const std::string& what);
    void say(const std::string& line);

    Datapath& datapath_;
    std::uint8_t proto_;
    bool v4_;
    Ip node_;
    std::vector<Ip> clients_;
    std::vector<Endpoint> backends_;
    std::vector<Endpoint> others_;  // that no frontend has
    std::vector<Port> ports_;
    std::vector<Conversation> conversations_;
    WireTotals totals_;
    std::size_t lived_ = 0;
    std::string wrong_;
    bool logging_ = false;
    std::vector<std::string> log_;
};

}  // namespace svclb::test
