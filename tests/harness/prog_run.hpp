// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// The real programs, each loaded when it is first asked for, and run one packet at a time by the kernel's test-run,
// with their maps at hand. Before each run the programs' work area is filled with garbage: nothing may depend on what
// the last packet left.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "bpf_object.hpp"
#include "packet.hpp"
#include "svclb/abi.h"
#include "svclb/abi/uplinks.h"

namespace svclb::test {

// As <linux/pkt_cls.h> has them; the programs' own names are not visible here.
enum Verdict : std::int32_t { next = -1, dropped = 2, redirected = 7 };
// As <linux/bpf.h> has XDP's.
enum XdpVerdict : std::int32_t { xdp_drop = 1, xdp_pass = 2, xdp_tx = 3, xdp_redirect = 4 };

struct Run {
    std::int32_t verdict = 0;
    Bytes frame;
};

// A super-packet that a device is to cut into segments.
struct Gso {
    std::uint32_t size = 0;  // 0 = none
    std::uint32_t segments = 0;
};

// Sizes that fit a test: see maps.bpf.h for what they are in production.
struct DatapathOptions {
    svclb_settings settings{.hash_seed = 0x5bd1e995,
                            .reject_per_s = 1000,
                            .half_open_timeout_s = 60,
                            .tcp_established_timeout_s = 86400,
                            .udp_answered_timeout_s = 180,
                            .ping_reply = 0,
                            .netns_cookie = 0,
                            .hooks_set_errno = 0,
                            .external_cluster_ip = 0,
                            .source_port_first = 61000,
                            .source_ports = 4536};
    std::uint32_t transient = 1024;
    std::uint32_t established = 4096;

    // The options as bytes, by which loaded programs are found again.
    [[nodiscard]] std::string key() const;
};

// The key of a flow entry: a packet's ends as the program for `direction` meets it.
svclb_flow_key6 flow_key(const Endpoint& from, const Endpoint& to, std::uint8_t proto, svclb_direction direction);

struct FlowEntry {
    svclb_flow_key6 key;  // of an IPv4 flow too: the addresses are IPv4-mapped then
    svclb_flow flow;
    bool established;
};

// Ends of a flow entry, in words that a failed comparison can print.
Endpoint source_of(const svclb_flow_key6& key);
Endpoint destination_of(const svclb_flow_key6& key);
Endpoint target_of(const svclb_flow& flow);

class Datapath {
public:
    explicit Datapath(const DatapathOptions& options = {});

    Run from_pod(const Bytes& frame, const Gso& gso = {}) { return run("from_pod", frame, gso); }
    Run to_pod(const Bytes& frame, const Gso& gso = {}) { return run("to_pod", frame, gso); }
    Run from_pod(const Packet& packet) { return from_pod(packet.frame()); }
    Run to_pod(const Packet& packet) { return to_pod(packet.frame()); }
    Run from_host(const Packet& packet) { return run("from_host", packet.frame(), {}); }
    Run from_uplink(const Packet& packet, const Gso& gso = {}) { return run_uplink("from", packet, gso); }
    Run to_uplink(const Packet& packet, const Gso& gso = {}) { return run_uplink("to", packet, gso); }
    Run from_uplink(const Bytes& frame) { return run("from_uplink", frame, {}); }
    Run to_uplink(const Bytes& frame) { return run("to_uplink", frame, {}); }
    // As the stack forwards it there from the device that it came in by; 0 = from a socket. Throws NotPermitted where
    // the kernel's test-run cannot be told.
    Run forwarded(const Packet& packet, std::uint32_t came_by, const Gso& gso = {}) {
        return run_uplink("to", packet, gso, came_by);
    }
    Run from_tunnel(const Packet& packet) { return run("from_tunnel", packet.frame(), {}); }
    // Are the uplinks tunnels, without Ethernet headers? Packets are then met without theirs, and compared with it. Off
    // after clear().
    void bare_uplinks(bool on) { bare_uplinks_ = on; }

    Run from_wire(const Bytes& frame) { return run("from_wire", frame, {}); }

    // The descriptor of a program; has the verifier look at it unless it has.
    int program(const char* name);

    // Everything as after the load, for the next case.
    void clear();
    // Hand packets over with their sum (CHECKSUM_COMPLETE), as some devices do, and check that the programs keep it
    // right? On after clear(), where the kernel can.
    void with_complete_checksums(bool on) { complete_checksums_ = on; }

    [[nodiscard]] svclb_service& service(std::uint32_t index) { return services_.rows<svclb_service>()[index]; }
    [[nodiscard]] svclb_slot& slot(std::uint32_t index) { return slots_.rows<svclb_slot>()[index]; }
    [[nodiscard]] svclb_service_cidrs& service_cidrs() { return *service_cidrs_.rows<svclb_service_cidrs>(); }
    [[nodiscard]] svclb_filters& filters() { return *filters_.rows<svclb_filters>(); }
    [[nodiscard]] svclb_node_addresses& node_addresses() { return *node_addresses_.rows<svclb_node_addresses>(); }
    [[nodiscard]] svclb_masquerade& masquerade() { return *masquerade_.rows<svclb_masquerade>(); }
    // Its counter is reset by clear(): all of them would be most of what a case costs in an emulated machine.
    void counts_backend(std::uint32_t id) { backends_.insert(id); }
    [[nodiscard]] int map(const char* name) const { return map_fd(maps_.get(), name); }

    // Every flow entry of both families and tables.
    [[nodiscard]] std::vector<FlowEntry> flows() const;
    [[nodiscard]] std::optional<FlowEntry> find_flow(const svclb_flow_key6& key) const;
    void put_flow(const FlowEntry& entry);
    void remove_flow(const svclb_flow_key6& key, bool established);

    [[nodiscard]] svclb_counter service_counter(std::uint32_t index) const;
    [[nodiscard]] svclb_counter backend_counter(std::uint32_t id) const;
    [[nodiscard]] svclb_xdp_counter xdp_counter(svclb_xdp_action action = SVCLB_XDP_FORWARDED) const;
    [[nodiscard]] svclb_drop_counter reason(svclb_reason reason) const;
    // All reasons together: 0 says that no packet was dropped or given up on.
    [[nodiscard]] std::uint64_t reasons() const;

private:
    Run run(const char* name, const Bytes& frame, const Gso& gso, std::uint32_t came_by = 0);
    Run run_uplink(const char* direction, const Packet& packet, const Gso& gso, std::uint32_t came_by = 0);
    void poison_work_area() const;

    DatapathOptions options_;
    Object maps_;
    std::map<std::string, Object> programs_;
    int work_area_;
    Bytes garbage_;
    std::set<std::uint32_t> backends_;
    MappedMap services_;
    MappedMap slots_;
    MappedMap filters_;
    MappedMap service_cidrs_;
    MappedMap node_addresses_;
    MappedMap masquerade_;
    bool complete_checksums_ = true;
    bool bare_uplinks_ = false;
    bool kernel_can_complete_ = true;
};

}  // namespace svclb::test
