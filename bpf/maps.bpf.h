/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Every map of the packets' programs, together with tables.bpf.h: who writes it, who reads it, and why it has its
 * kind. Sizes are set by the agent before load; those here let the object load on its own.
 */
#ifndef SVCLB_MAPS_BPF_H
#define SVCLB_MAPS_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "svclb/abi.h"
#include "svclb/abi/uplinks.h"
#include "tables.bpf.h"

/* Agent -> svclb-ctl verify: the frontends that ought to be there. The programs never read it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct svclb_frontend_key);
	__type(value, struct svclb_frontend);
} desired_frontends SEC(".maps");

/* Agent -> svclb-ctl, so that it can name things with the agent dead. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct svclb_service_name);
} service_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct svclb_string);
} strings SEC(".maps");

/*
 * Answered flows. A plain hash, not an LRU: nothing can push an established flow out, not even a flood of answered
 * ones. Its dead entries are removed by the agent; when it is full (no agent for long), new flows stay in the
 * transient tables, which never refuse one.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct svclb_flow_key4);
	__type(value, struct svclb_flow);
} established4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct svclb_flow_key6);
	__type(value, struct svclb_flow);
} established6 SEC(".maps");

/* Flows that no backend has answered yet, and direct conversations with a backend. A flood only ever evicts these. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct svclb_flow_key4);
	__type(value, struct svclb_flow);
} transient4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct svclb_flow_key6);
	__type(value, struct svclb_flow);
} transient6 SEC(".maps");

/* What became of the first fragment of a datagram, for the others. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct svclb_fragment_key);
	__type(value, struct svclb_fragment);
} fragments SEC(".maps");

#define HELD_FRAGMENTS_MAX 8 /* of one datagram */
#define HELD_FRAME_MAX 1600 /* Ethernet's 1,500, its header and VLAN tags */

struct held_key {
	struct svclb_fragment_key of;
	__u32 index;
};

struct held {
	__u32 length;
	__u8 frame[HELD_FRAME_MAX];
};

/* Fragments that came before their first. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 512);
	__type(key, struct held_key);
	__type(value, struct held);
} held_fragments SEC(".maps");

/* A frame while it is made a map's value, or while its skb is another one. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct held);
} frame_area SEC(".maps");

/* Rate limit of reject answers, by client. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct svclb_reject_key);
	__type(value, struct svclb_reject_budget);
} rejects SEC(".maps");

/* The program side of the catch-all's pair of devices, where it was last met. Written by from_host. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} host_link SEC(".maps");

/* Agent -> svclb-ctl status. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct svclb_agent_status);
} agent SEC(".maps");

/* Agent -> svclb-ctl: what an operator should know. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SVCLB_PROBLEMS);
	__type(key, __u32);
	__type(value, struct svclb_problem);
} problems SEC(".maps");

/* See struct svclb_wire_filters. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct svclb_wire_filters);
} wire_filters SEC(".maps");

/* Agent -> programs: addresses of uplinks and tunnels that are not where the node's own is, by ifindex. Key 0: there
 * are such. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct svclb_node_addresses);
} uplink_addresses SEC(".maps");

/* Agent -> programs. Read by the first packet of a flow. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct svclb_masquerade);
} masquerade SEC(".maps");

/* The kernel learns nothing from an error about a packet that a program has made. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct svclb_path_key);
	__type(value, struct svclb_path_mtu);
} path_mtus SEC(".maps");

/* Agent -> programs: the devices with our programs that lead to other nodes, by ifindex. What leaves by another one,
 * encapsulated, would find nobody there to unpack it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} uplink_devices SEC(".maps");

/* Agent -> programs: which uplinks XDP serves. Read for packets that may be turned round only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SVCLB_XDP_LINKS);
	__type(key, __u32);
	__type(value, struct svclb_xdp_link);
} xdp_links SEC(".maps");

/* Programs -> svclb-ctl. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SVCLB_XDP_ACTIONS);
	__type(key, __u32);
	__type(value, struct svclb_xdp_counter);
} xdp_counters SEC(".maps");

/* Agent -> svclb-ctl: which uplinks XDP serves, and why it does not serve the others. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct svclb_string);
} xdp_text SEC(".maps");

struct barrier_inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};

/* Agent only: an update of a map-in-map returns after an RCU grace period, which is all it is for. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct barrier_inner);
} barrier SEC(".maps");

#endif
