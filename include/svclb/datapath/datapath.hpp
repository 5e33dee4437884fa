// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The kernel side: loads the programs, owns or adopts pinned maps and links, attaches to devices, removes dead flows.
// The only door to bpf(2); it knows rows, not Services.
//
// Everything lives below one directory of a bpffs, so that several agents share a kernel:
//   BPF_DIR/maps/NAME            every map, by the name it has in bpf/maps.bpf.h
//   BPF_DIR/links/IFINDEX-HOOK   tcx links; HOOK is "ingress" (from_pod) or "egress" (to_pod), and
//                                "uplink-ingress" (from_uplink) or "uplink-egress" (to_uplink);
//                                XDP's are "xdp-native" and "xdp-generic" (from_wire)
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "svclb/abi.h"
#include "svclb/base/result.hpp"
#include "svclb/datapath/tables.hpp"

namespace svclb::datapath {

enum class AttachMode : std::uint8_t { automatic, tcx, clsact };

// Where packets meet the XDP program: in drivers that have it, but on no virtual device; on those as well; by the
// kernel in place of the driver; nowhere.
enum class XdpMode : std::uint8_t { automatic, native, generic, off };

struct Sizes {  // entries
    std::uint32_t services = 4096;
    std::uint32_t slots = 16384;
    std::uint32_t backends = 16384;
    std::uint32_t frontends = 262144;
    std::uint32_t established = 0;  // per family, two for each flow; 0 = from the machine's memory
    std::uint32_t transient = 0;    // per family, opening and one-way flows; 0 = an eighth of established
    std::uint32_t affinity = 65536;
};

// Which processes' connections are translated at their sockets.
struct SocketOptions {
    bool host = false;                  // those of the caller's network namespace
    bool pods = false;                  // and those of the namespaces behind pod links
    std::filesystem::path cgroup_root;  // empty: where cgroup v2 is mounted
};

// A tunnel is an uplink whose packets have no Ethernet header: TUN, WireGuard, IPIP and the like.
enum class LinkKind : std::uint8_t { pod, uplink, cgroup, host, tunnel };

struct Options {
    std::filesystem::path bpf_dir;
    Sizes sizes;
    svclb_settings settings{};
    AttachMode mode = AttachMode::automatic;
    SocketOptions sockets{};
    XdpMode xdp = XdpMode::automatic;
    // Of devices that will be attached: their programs are loaded at once, those of others with the first one.
    std::set<LinkKind> expected = {LinkKind::pod};
};

struct Hook {
    std::string hook;  // "tc ingress", "tc egress", "xdp", "connect4"
    std::string mode;  // "tcx", "clsact", "native", "generic", "link"
};

struct AttachedLink {
    int ifindex = 0;  // of a device
    std::string name;
    LinkKind kind = LinkKind::pod;
    std::vector<Hook> hooks;
};

// Seconds without a packet after which the collector removes a flow. Defaults and their reasons: docs/design.md.
struct FlowTimeouts {
    std::uint32_t tcp_established_s = 86400;
    std::uint32_t tcp_half_open_s = 60;
    std::uint32_t tcp_closing_s = 120;
    std::uint32_t udp_s = 30;
    std::uint32_t udp_answered_s = 180;
};

// What has become of the socket hooks.
struct SocketState {
    bool attached = false;
    std::string text{};  // where they are, or why they are not
    std::string pods{};  // how many pods they serve, or why none
};

struct EndStep {
    std::uint32_t ended = 0;
    bool finished = false;  // all have been seen; the next step starts anew
};

struct CollectStep {
    std::uint32_t visited = 0;
    std::uint32_t removed = 0;
    bool finished = false;  // the whole table has been seen; the next step starts anew
    bool crowded = false;   // the last walk left a table so full that what is closed goes at once
};

class Datapath {
public:
    // Adopts what is pinned below bpf_dir (maps keep their sizes), creates what is missing, loads the programs and puts
    // them into adopted links in place. An object that exists is usable.
    static Result<Datapath> open(const Options& options);

    Datapath(Datapath&&) noexcept;
    Datapath& operator=(Datapath&&) noexcept;
    ~Datapath();  // leaves maps, links and filters in the kernel

    [[nodiscard]] Tables& tables();
    // The mmapped row that svclb-ctl reads.
    [[nodiscard]] svclb_agent_status& status();

    // What tables() will probably have to hold soon: the kernel takes long over large counters, and makes them
    // meanwhile.
    void foresee(std::span<const Room> rooms);
    // Has the programs of the tables as they are by now ready: those of tables that grew before anything was attached
    // are loaded on another thread meanwhile. attach() does so itself; the socket hooks need it where no device is.
    Status serve();
    // Attaches both programs to a device of this network namespace; once attached, does nothing.
    Status attach_pod_link(int ifindex, const std::string& name) { return attach(ifindex, name, LinkKind::pod); }
    // The programs for a device of this kind, loaded with the first such device: where that fails nothing changes. XDP
    // is tried beside them at an uplink; where it is refused, a warning says so once. `hardware`: no virtual device.
    Status attach(int ifindex, const std::string& name, LinkKind kind, bool hardware = false);
    // What backends behind such an uplink or tunnel see as their client, by its ifindex; others see the node's.
    Status set_uplink_addresses(const std::map<int, svclb_node_addresses>& addresses);
    // Removes our programs from a device. A device that is gone is no error; its leftovers (pins) are removed.
    Status detach(int ifindex);
    [[nodiscard]] std::vector<AttachedLink> attached() const;
    [[nodiscard]] const SocketState& sockets() const;

    // Has the socket hooks, if they are to serve pods, know the namespaces behind the pod links that are attached. To
    // be called again when those change, and while it returns false: a namespace is not found yet, or has no address.
    Result<bool> follow_pod_sockets();

    // Among the next connected UDP sockets of the caller's network namespace, at most `messages` of some 100 each: ends
    // those whose frontend led them to a backend that no longer serves. Their next call fails with ECONNABORTED.
    Result<EndStep> end_stale_sockets(std::uint32_t messages);

    // Returns after every program run that was under way at the call has ended (an RCU grace period, some 10 ms).
    // May be called from another thread than the rest.
    Status wait_grace_period() const;

    // The ranges whose addresses are dropped where no Service has them, at most SVCLB_SERVICE_CIDRS; once they are in
    // force, does nothing. An error leaves the former ones in force.
    Status set_service_cidrs(std::span<const svclb_cidr> cidrs);

    // What backends see as their client where that is masqueraded, and where it is; once in force, these do nothing.
    void set_node_addresses(const svclb_node_addresses& addresses);
    void set_masquerade(const svclb_masquerade& masquerade);

    // Has what the node itself sends to the ranges meet a program of ours: makes the devices and routes for it, or
    // mends them. To be called again when devices, addresses or ranges may have changed. Returns what is in force, in
    // words; empty: nothing, because no range is known or the node has no address.
    Result<std::string> catch_host_packets();
    // Removes them.
    Status leave_host_packets();

    // What svclb-ctl shows as problems, the first SVCLB_PROBLEMS; only rows that differ are written.
    Status show_problems(std::span<const svclb_problem> problems);

    // Removes dead flows among the next `budget` entries, pairs in pairs. `now_s` is CLOCK_MONOTONIC.
    Result<CollectStep> collect(const FlowTimeouts& timeouts, std::uint64_t now_s, std::uint32_t budget);

private:
    struct State;
    explicit Datapath(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// Removes links, filters and maps that belong to bpf_dir. What is already gone is no error.
Status cleanup(const std::filesystem::path& bpf_dir);

struct MissingFeature {
    std::string what;     // one line: what is missing and what that means
    bool needed = false;  // the datapath cannot work without it
};

// What the kernel, or this process by its capabilities, lacks. Nothing = all is there.
[[nodiscard]] std::vector<MissingFeature> missing_features(const SocketOptions& sockets);

}  // namespace svclb::datapath
