/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What both objects work with, packets' and sockets': the settings, the tables that lead from a frontend to a backend,
 * and the counters. The second object gets the first one's maps. */
#ifndef SVCLB_TABLES_BPF_H
#define SVCLB_TABLES_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "svclb/abi.h"

/* Filled in before load. A constant to the verifier, which removes what is switched off. */
const volatile struct svclb_settings settings = {
	.hash_seed = 0x5bd1e995,
	.reject_per_s = 1000,
	.half_open_timeout_s = 60,
	.tcp_established_timeout_s = 86400,
	.udp_answered_timeout_s = 180,
	.source_port_first = 1024,
	.source_ports = 28976,
};

/* Agent -> programs: who is dialled. Read by the first packet of a flow only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct svclb_frontend_key);
	__type(value, struct svclb_frontend);
} frontends SEC(".maps");

/* Agent -> programs. Mapped into the agent: a change of a backend table is one 64-bit store, where an update of a
 * map-in-map would wait 8 ms for a grace period. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct svclb_service);
} services SEC(".maps");

/* Agent -> programs. Runs are written while nothing points at them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct svclb_slot);
} slots SEC(".maps");

/* Agent -> programs: is the backend of this UDP conversation still serving? Read when the service's epoch has moved. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct svclb_backend_key);
	__type(value, struct svclb_backend);
} backends SEC(".maps");

/* Session affinity, by client and service port. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct svclb_affinity_key);
	__type(value, struct svclb_affinity);
} affinity SEC(".maps");

/* See struct svclb_filters: lets packets that are none of our business pass for a few nanoseconds. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct svclb_filters);
} filters SEC(".maps");

/* Agent -> programs: which addresses without a frontend are dropped. Read by what may open a flow only. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct svclb_service_cidrs);
} service_cidrs SEC(".maps");

/* Agent -> programs: who may begin a flow to a frontend that not everybody may dial. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct svclb_source_range);
	__type(value, __u32);
} source_ranges SEC(".maps");

/* Agent -> programs: what backends on other nodes see as their client. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct svclb_node_addresses);
} node_addresses SEC(".maps");

/* Programs -> svclb-ctl. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct svclb_counter);
} service_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct svclb_counter);
} backend_counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SVCLB_REASON_COUNT);
	__type(key, __u32);
	__type(value, struct svclb_drop_counter);
} drop_counters SEC(".maps");

#endif
