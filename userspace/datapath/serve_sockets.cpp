// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
#include "serve_sockets.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <utility>

#include "cgroup_root.hpp"
#include "map_ref.hpp"

namespace svclb::datapath {
namespace {

// What is wrong, if anything.
std::string open_pods(Core& core, const SocketOptions& options) {
    if (!options.pods) {
        const auto forgotten = forget_pods(core.sockets->maps());
        return forgotten ? "off" : forgotten.error().message();
    }
    auto pods = PodNamespaces::open();
    if (!pods) return pods.error().message();
    core.pods = std::move(*pods);
    return "";
}

bool is_at(const svclb_peer& peer, const svclb_socket_peer_key& socket) {
    return peer.port == socket.port && std::equal(std::begin(peer.addr), std::end(peer.addr), std::begin(socket.addr));
}

}  // namespace

SocketState open_sockets(Core& core, const SocketOptions& options, const MapSet& pinned) {
    // All hooks or none, a former agent's included: some, or with its programs, would do what nobody keeps in step.
    const auto none = [&core](std::string text) {
        if (auto detached = detach_socket_hooks(core.dir); !detached) text += "; " + detached.error().message();
        return SocketState{.attached = false, .text = std::move(text), .pods = "off"};
    };
    if (!options.host) return none("off");
    auto root = open_cgroup_root(options.cgroup_root);
    if (!root) return none(root.error().message());
    auto sockets = Sockets::open(core.dir, core.settings, core.maps, pinned, std::move(*root));
    if (!sockets) return none(sockets.error().message());
    core.sockets = std::move(*sockets);
    const auto& at = core.sockets->root();
    return {
        .attached = true,
        .text = at.whole ? at.path.string() : at.path.string() + ", a part: processes outside of it are not covered",
        .pods = open_pods(core, options)};
}

Result<bool> follow_pods(Core& core, SocketState& state) {
    if (!core.pods) return true;
    std::set<int> links;
    for (const auto& link : core.links.attached())
        if (link.kind == LinkKind::pod) links.insert(link.ifindex);
    const auto followed = core.pods->follow(links, core.sockets->maps());
    if (!followed) {
        state.pods = followed.error().message();
        return fail(followed.error());
    }
    const auto& problem = core.pods->problem();
    state.pods =
        fmt::format("{} of {} pod links{}{}", core.pods->served(), links.size(), problem.empty() ? "" : "; ", problem);
    return core.pods->settled();
}

Result<EndStep> end_stale(Core& core, std::uint32_t messages) {
    if (!core.sockets) return EndStep{.finished = true};
    if (!core.udp_sockets) {
        auto opened = UdpSockets::open();
        if (!opened) return fail(opened.error());
        core.udp_sockets = std::move(*opened);
    }
    const auto newest = MapRef<std::uint64_t, svclb_peer>::open(core.sockets->maps(), "connected_peers");
    if (!newest) return fail(newest.error());
    const auto others = MapRef<svclb_socket_peer_key, svclb_peer>::open(core.sockets->maps(), "socket_peers");
    if (!others) return fail(others.error());
    const auto step = core.udp_sockets->step(messages, [&](const svclb_socket_peer_key& socket) {
        auto found = newest->get(socket.cookie);
        // It may be of whom the socket was connected to before, as connect() with AF_UNSPEC passes no hook, or of whom
        // it could not be connected to.
        if (!found || !*found || !is_at(**found, socket)) found = others->get(socket);
        if (!found || !*found) return false;  // not through us
        const svclb_peer& peer = **found;
        const auto services = core.tables.services();
        return peer.service < services.size() && peer.epoch != services[peer.service].epoch &&
               !core.tables.is_serving(peer.service, peer.addr, peer.port);
    });
    if (step) return EndStep{.ended = step->ended, .finished = step->finished};
    core.udp_sockets.reset();  // half an answer is left in it
    return fail(step.error());
}

}  // namespace svclb::datapath
