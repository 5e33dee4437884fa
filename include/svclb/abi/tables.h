/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the agent tells the programs: who is dialled, what stands for it, and the settings. */
#ifndef SVCLB_ABI_TABLES_H
#define SVCLB_ABI_TABLES_H

#include "svclb/abi/base.h"

/* ---------------------------------------------------------------- frontends: HASH, written by the agent */

enum svclb_frontend_kind {
	SVCLB_FRONTEND_CLUSTER_IP = 1,
	SVCLB_FRONTEND_NODE_PORT = 2,
	SVCLB_FRONTEND_EXTERNAL_IP = 3,
	SVCLB_FRONTEND_LOAD_BALANCER = 4,
	/* Port 0, protocol 0: the address is a ClusterIP; its other ports are rejected (behaviour row 1.26). */
	SVCLB_FRONTEND_CLUSTER_IP_ADDRESS = 5,
};

struct svclb_frontend_key {
	__be32 addr[SVCLB_ADDR_WORDS];
	__be16 port;
	__u8 proto; /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
	__u8 pad; /* always zero */
};
static_assert(sizeof(struct svclb_frontend_key) == 20, "hashed as bytes: no holes");

enum svclb_frontend_flag {
	SVCLB_FRONTEND_SOURCE_RANGES = 1 << 0, /* new flows only from sources that are in source_ranges */
	/* Direct server return: clients outside are not masqueraded, and packets to a backend on another node go there
	 * encapsulated. All backends of the service port have one port, and each address is one backend's. */
	SVCLB_FRONTEND_DSR = 1 << 1,
};

struct svclb_frontend {
	__u32 service; /* index in services; SVCLB_NONE for CLUSTER_IP_ADDRESS */
	__u8 kind; /* enum svclb_frontend_kind */
	__u8 set; /* enum svclb_set that Pods of this node and the node itself use */
	__u8 outside_set; /* enum svclb_set that clients outside of the node use */
	__u8 flags; /* enum svclb_frontend_flag */
};
static_assert(sizeof(struct svclb_frontend) == 8, "value layout is pinned");

/* source_ranges: LPM_TRIE, written by the agent: who may begin a flow to a frontend with SVCLB_FRONTEND_SOURCE_RANGES.
 * The row itself says yes. */
struct svclb_source_range {
	__u32 prefix; /* bits that count: 32 for the service, and those of the range */
	__u32 service; /* index in services */
	__be32 addr[SVCLB_ADDR_WORDS];
};
static_assert(sizeof(struct svclb_source_range) == 24, "compared as bits: no holes");
#define SVCLB_SOURCE_RANGE_SERVICE_BITS 32

/* ---------------------------------------------------------------- services: mmapable ARRAY, written by the agent */

enum svclb_set {
	SVCLB_SET_CLUSTER = 0,
	SVCLB_SET_LOCAL = 1,
	SVCLB_SETS = 2,
};

/* What happens to a new flow when the set it uses is empty (behaviour row 1.16). */
enum svclb_verdict {
	SVCLB_VERDICT_FORWARD = 0, /* the set is not empty */
	SVCLB_VERDICT_REJECT = 1,
	SVCLB_VERDICT_DROP = 2,
};

/*
 * One backend set, published by a single 64-bit store: base slot, number of slots, generation.
 * Every slot of the run carries the same generation, so a reader that is late by a whole reuse notices.
 */
#define SVCLB_RUN_BASE_BITS 28
#define SVCLB_RUN_COUNT_BITS 20
#define SVCLB_RUN_GENERATION_BITS 16
#define SVCLB_RUN_BASE_MAX ((1u << SVCLB_RUN_BASE_BITS) - 1)
#define SVCLB_RUN_COUNT_MAX ((1u << SVCLB_RUN_COUNT_BITS) - 1)

static inline __attribute__((always_inline)) __u64 svclb_run(__u32 base, __u32 count, __u16 generation)
{
	return (__u64)base | (__u64)count << SVCLB_RUN_BASE_BITS |
	       (__u64)generation << (SVCLB_RUN_BASE_BITS + SVCLB_RUN_COUNT_BITS);
}

static inline __attribute__((always_inline)) __u32 svclb_run_base(__u64 run)
{
	return (__u32)(run & SVCLB_RUN_BASE_MAX);
}

static inline __attribute__((always_inline)) __u32 svclb_run_count(__u64 run)
{
	return (__u32)(run >> SVCLB_RUN_BASE_BITS) & SVCLB_RUN_COUNT_MAX;
}

static inline __attribute__((always_inline)) __u16 svclb_run_generation(__u64 run)
{
	return (__u16)(run >> (SVCLB_RUN_BASE_BITS + SVCLB_RUN_COUNT_BITS));
}

/* How a new flow's slot is found. */
enum svclb_algorithm {
	SVCLB_ALGORITHM_RANDOM = 0, /* by a hash that each node has of its own */
	SVCLB_ALGORITHM_MAGLEV = 1, /* by a hash that all nodes share, in a table that is the same on all */
};

/* One service port in one address family. */
struct svclb_service {
	__u64 runs[SVCLB_SETS]; /* by enum svclb_set */
	/* Rises with each change of any backend row of this index and never falls, not even when the index is reused:
	 * a UDP flow made under another epoch checks its backend again. */
	__u32 epoch;
	__u32 affinity_s; /* session affinity timeout in seconds, 0 = none */
	__u8 verdicts[SVCLB_SETS]; /* enum svclb_verdict, by enum svclb_set; meaningful when that run is empty */
	__u8 family; /* 4 or 6; 0 = the index is free */
	__u8 proto;
	/* How new flows use the two sets, for people and for svclb-ctl; the programs go by svclb_frontend.set. */
	__u8 internal_set; /* enum svclb_set: internalTrafficPolicy */
	__u8 external_set; /* enum svclb_set: externalTrafficPolicy */
	/* 1 while backend rows of this index are removed or made less usable, 0 with the rise of epoch that follows. An
	 * agent that finds it set knows that the one before it died between the two. The programs do not read it. */
	__u8 epoch_due;
	__u8 algorithm; /* enum svclb_algorithm */
};
static_assert(sizeof(struct svclb_service) == 32, "two rows a cache line, mmapped by the agent");

/* ---------------------------------------------------------------- slots: mmapable ARRAY, written by the agent */

struct svclb_slot {
	__be32 addr[SVCLB_ADDR_WORDS];
	__be16 port;
	__u16 generation; /* of the run it belongs to */
	__u32 service; /* index of the owner */
	__u32 backend; /* id in backend_counters */
	__u32 pad; /* always zero */
};
static_assert(sizeof(struct svclb_slot) == 32, "two slots a cache line, mmapped by the agent");

/* ---------------------------------------------------------------- backends: HASH, written by the agent */

struct svclb_backend_key {
	__u32 service; /* index in services */
	__be32 addr[SVCLB_ADDR_WORDS];
	__be16 port;
	__u16 pad; /* always zero */
};
static_assert(sizeof(struct svclb_backend_key) == 24, "hashed as bytes: no holes");

enum svclb_backend_state {
	SVCLB_BACKEND_READY = 1,
	SVCLB_BACKEND_DRAINING = 2,
	SVCLB_BACKEND_NOT_READY = 3,
};

enum svclb_backend_flag {
	SVCLB_BACKEND_IN_CLUSTER = 1 << 0, /* member of the Cluster set */
	SVCLB_BACKEND_IN_LOCAL = 1 << 1, /* member of the Local set */
	SVCLB_BACKEND_SERVING = 1 << 2, /* UDP conversations stay with it (behaviour row 1.32) */
	/* Known to be on this node: clients outside reach it with their own address. */
	SVCLB_BACKEND_ON_NODE = 1 << 3,
};

/* Every endpoint of a service port that names an address and a port, usable or not. */
struct svclb_backend {
	__u32 id; /* index in backend_counters, never SVCLB_NONE */
	__u32 node; /* id in strings: the node's name, SVCLB_NONE = unknown */
	__u32 zone; /* id in strings: the zone, SVCLB_NONE = unknown */
	__u16 weight; /* slots in a run are given in proportion; 1 unless weights are used */
	__u8 state; /* enum svclb_backend_state */
	__u8 flags; /* enum svclb_backend_flag */
};
static_assert(sizeof(struct svclb_backend) == 16, "value layout is pinned");

/* ---------------------------------------------------------------- service_cidrs: one row, mmapped by the agent */

#define SVCLB_SERVICE_CIDRS 16 /* the most that can be in force; a power of two */

struct svclb_cidr {
	__be32 addr[SVCLB_ADDR_WORDS];
	__be32 mask[SVCLB_ADDR_WORDS]; /* IPv4: the prefix words are all ones */
};

/* The ranges that ClusterIPs are taken from. Two halves in turn: the new ranges are written where no program reads,
 * then one store of `used` puts them in force. */
struct svclb_service_cidrs {
	__u32 used; /* the first entry in force, and from bit 16 on how many they are */
	__u32 pad; /* always zero */
	struct svclb_cidr cidr[2 * SVCLB_SERVICE_CIDRS];
};
static_assert(sizeof(struct svclb_service_cidrs) == 1032, "value layout is pinned");

/* ---------------------------------------------------------------- node_addresses: one row, mmapped by the agent */

/* What a backend sees as its client where that is masqueraded. All zero: not known. */
struct svclb_node_addresses {
	__be32 v4[SVCLB_ADDR_WORDS];
	__be32 v6[SVCLB_ADDR_WORDS];
};

/* The hardware address of both devices of the catch-all: a frame sent to either is for the node itself. */
#define SVCLB_HOST_LINK_MAC                                                                                            \
	{                                                                                                              \
		0x02, 's', 'v', 'c', 'l', 'b'                                                                          \
	}

/* ---------------------------------------------------------------- masquerade: one row, mmapped by the agent */

/* Whose flows get the node's address as their source (behaviour rows 1.19 to 1.23). */
struct svclb_masquerade {
	/* Clients that are the cluster's own pods. Of a family without a range it is what comes out of a pod link. */
	struct svclb_cidr v4;
	struct svclb_cidr v6;
	__u32 has_v4;
	__u32 has_v6;
	__u32 all; /* flows of the cluster's pods to a ClusterIP as well */
	__u32 pad; /* always zero */
};
static_assert(sizeof(struct svclb_masquerade) == 80, "value layout is pinned");

/* ---------------------------------------------------------------- settings: .rodata of the programs */

/* Written before load; a change needs a reload of the programs, which is done without a gap. */
struct svclb_settings {
	__u32 hash_seed;
	__u32 reject_per_s; /* reject answers a second and client, and the most that may burst */
	/* A tuple may be taken over from a flow that was silent for so long: never answered, TCP, and UDP. */
	__u32 half_open_timeout_s;
	__u32 tcp_established_timeout_s;
	__u32 udp_answered_timeout_s;
	__u32 ping_reply; /* a ping to a ClusterIP is answered (1) or rejected (0) */
	/* Sockets: of the agent's own network namespace, 0 = see struct svclb_netns_probe; and whether a hook may say
	 * what connect() fails with (5.18). */
	__u64 netns_cookie;
	__u32 hooks_set_errno;
	__u32 external_cluster_ip; /* a ClusterIP may be dialled from outside (1), or is dropped (0) */
	/* The node's ports towards backends: the first one, and how many. */
	__u32 source_port_first;
	__u32 source_ports;
};

/* Of so many source ports, those of the node's own packets come first: what the catch-all translates. At least two are
 * needed. */
static inline __attribute__((always_inline)) __u32 svclb_host_ports(__u32 source_ports)
{
	return source_ports / 5 + 1;
}

#endif
