// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// A node with a route out, and a masqueraded flow through it to another node, which XDP may turn round.
#pragma once

#include <net/if.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "outside.hpp"
#include "way_out.hpp"

namespace svclb::test {

inline constexpr std::uint32_t kEntry = 1;  // test-run's packets come in by the loopback device
inline constexpr std::uint16_t kMtu = kUplinkMtu;

class RoutedNetns {
public:
    RoutedNetns() {
        try {
            inside_.emplace();
        } catch (const NotPermitted& reason) {
            SKIP(reason.what());
        }
    }
    static bool run(const std::string& arguments) { return WayOut::run(arguments); }

private:
    std::optional<WayOut> inside_;
};

inline void put_xdp_link(const Datapath& datapath, std::uint32_t ifindex, const Mac& mac,
                         svclb_xdp_mode mode = SVCLB_XDP_NATIVE) {
    svclb_xdp_link row{};
    std::copy(mac.begin(), mac.end(), row.mac);
    row.mode = mode;
    REQUIRE(bpf_map_update_elem(datapath.map("xdp_links"), &ifindex, &row, BPF_ANY) == 0);
}
inline void remove_xdp_link(const Datapath& datapath, std::uint32_t ifindex) {
    bpf_map_delete_elem(datapath.map("xdp_links"), &ifindex);
}

// A masqueraded flow to another node, established, on a node with XDP at both uplinks.
struct TurnedFlow {
    explicit TurnedFlow(const World& at)
        : world(at), port(at, Seen::node_elsewhere), datapath(port.datapath), flow(establish(port)) {
        put_link(kEntry, Packet{}.to_mac);
        put_link(uplink(), kUplink);
    }
    static std::uint32_t uplink() { return ::if_nametoindex("uplink"); }

    // The uplinks that XDP serves, from serve() on.
    void put_link(std::uint32_t ifindex, const Mac& mac, svclb_xdp_mode mode = SVCLB_XDP_NATIVE) {
        links[ifindex] = {mac, mode};
    }
    void serve(bool on) const {
        for (const auto& [ifindex, link] : links) {
            if (on)
                put_xdp_link(datapath, ifindex, link.first, link.second);
            else
                remove_xdp_link(datapath, ifindex);
        }
    }

    [[nodiscard]] Packet out() const { return world.data(flow.client, flow.dialled); }
    [[nodiscard]] Packet back() const { return data_from(world, flow); }
    // What tc makes of them, in two steps.
    [[nodiscard]] Packet out_translated(const Packet& packet) const {
        return with_source(with_destination(packet, flow.backend), flow.node);
    }
    [[nodiscard]] Packet back_translated(const Packet& packet) const {
        return with_source(with_destination(packet, flow.client), flow.dialled);
    }
    [[nodiscard]] Packet translated(const Packet& packet) const {
        return packet.source == flow.client.addr ? out_translated(packet) : back_translated(packet);
    }

    // By tc: every entry of the flow has had a packet in this tick.
    void freshen() {
        check_in(datapath, flow, out());
        check_reply(datapath, flow, back());
    }
    [[nodiscard]] std::uint32_t tick() const {
        const auto entry = datapath.find_flow(flow_key(flow.client, flow.dialled, world.proto, SVCLB_FROM_WIRE));
        REQUIRE(entry);
        return entry->flow.tick;
    }
    // A tick may end at any time: a run counts where none has.
    Run within_a_tick(const std::function<Run()>& run) {
        for (;;) {
            freshen();
            const auto before = tick();
            serve(true);
            Run ran = run();
            serve(false);
            freshen();
            if (tick() == before) return ran;
        }
    }
    Run wire(const Bytes& frame) {
        return within_a_tick([&] { return datapath.from_wire(frame); });
    }

    World world;
    NodePort port;
    Datapath& datapath;
    Outside flow;
    std::map<std::uint32_t, std::pair<Mac, svclb_xdp_mode>> links{};
};

}  // namespace svclb::test
