/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The one thing that the BPF programs and the C++ side share: map keys and values, limits, counters, drop reasons.
 * Plain C, C++ and BPF C include it; nothing in it may be typed a second time elsewhere.
 *
 * Byte order is in the type: __be16/__be32 are network order, everything else is host order.
 * Addresses are 16 bytes; an IPv4 address is stored IPv4-mapped (RFC 4291 section 2.5.5.2), so word 3 is the address.
 * A change of any pinned layout needs a new SVCLB_ABI_VERSION, and ends the flows of every node that is upgraded. Three
 * things do not: a new map, a padding byte that gets a meaning with 0 for what was so before, and growth of struct
 * svclb_agent_status at its end, which no program reads (a row of another size is replaced by a new one).
 */
#ifndef SVCLB_ABI_H
#define SVCLB_ABI_H

#include <linux/types.h>

#ifndef __cplusplus
#define static_assert _Static_assert
#endif

#define SVCLB_ABI_VERSION 1

/* Index of "no service port" and id of "no backend": array entry 0 is never given out. */
#define SVCLB_NONE 0

#define SVCLB_ADDR_WORDS 4
/* Word 2 of an IPv4-mapped address, in host order. Words 0 and 1 are zero. */
#define SVCLB_V4_MAPPED_PREFIX 0xffff

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
	__u8 pad[1]; /* always zero */
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

/* ---------------------------------------------------------------- names: read by people only */

#define SVCLB_LABEL_SIZE 64 /* a DNS label (63) and a final zero */
#define SVCLB_STRING_SIZE 256 /* a DNS name (253) and a final zero */

/* service_names: HASH, index in services -> who that is. Written by the agent, read by svclb-ctl. */
struct svclb_service_name {
	char ns[SVCLB_LABEL_SIZE]; /* each one is padded with zeros */
	char name[SVCLB_LABEL_SIZE];
	char port_name[SVCLB_LABEL_SIZE];
};

/* strings: HASH, id -> text. */
struct svclb_string {
	char text[SVCLB_STRING_SIZE]; /* padded with zeros */
};

/* ---------------------------------------------------------------- flows: written by the programs */

/* In which program a packet of the entry is met. Keeps a direct conversation and a translated one apart on the node
 * that holds both ends. */
enum svclb_direction {
	SVCLB_FROM_POD = 0,
	SVCLB_TO_POD = 1,
	SVCLB_FROM_WIRE = 2, /* from_uplink */
	SVCLB_TO_WIRE = 3, /* to_uplink */
};
/* Clients' packets have the even ones, the replies that are met at the same device the next odd one. */
#define SVCLB_DIRECTION_TO 1

/* Addresses and ports as the packet carries them when the program meets it, before translation. */
struct svclb_flow_key4 {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 direction; /* enum svclb_direction */
	__u16 pad; /* always zero */
};
static_assert(sizeof(struct svclb_flow_key4) == 16, "hashed as bytes: no holes");

struct svclb_flow_key6 {
	__be32 saddr[SVCLB_ADDR_WORDS];
	__be32 daddr[SVCLB_ADDR_WORDS];
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 direction; /* enum svclb_direction */
	__u16 pad; /* always zero */
};
static_assert(sizeof(struct svclb_flow_key6) == 40, "hashed as bytes: no holes");

enum svclb_flow_kind {
	SVCLB_FLOW_FORWARD = 1, /* client to frontend: the destination becomes addr:port, the source port client_port */
	SVCLB_FLOW_REPLY = 2, /* backend to client: the source becomes addr:port, the destination port client_port */
	/* A conversation that dials the backend itself; keyed like a REPLY, translates nothing, and keeps the tuple
	 * from being given to a flow of a frontend. */
	SVCLB_FLOW_DIRECT = 3,
	SVCLB_FLOW_HAIRPIN = 4, /* as FORWARD; the client is the backend: the source address becomes the frontend's */
	SVCLB_FLOW_HAIRPIN_REPLY = 5, /* met in from_pod: becomes frontend to client */
	/* The second half of a way that is masqueraded: client to backend, met in to_uplink or to_pod: the source
	 * becomes addr:port, which is the node's; the destination port stays client_port. */
	SVCLB_FLOW_SOURCE = 6,
	/* Backend to node, met at the same device: the destination becomes addr:port, the client; the source port
	 * stays. */
	SVCLB_FLOW_SOURCE_REPLY = 7,
};

/* svclb_flow.masqueraded: a flow of kind SOURCE belongs to it, and where that is met. */
enum svclb_masqueraded {
	SVCLB_MASQUERADED_NOT = 0,
	SVCLB_MASQUERADED_AT_UPLINK = 1,
	SVCLB_MASQUERADED_AT_POD = 2, /* at the link of the backend's pod */
};

/* svclb_flow.backend_fin: the backend closed first, so that its kernel keeps the tuple in TIME_WAIT. */
#define SVCLB_FIN_FIRST 2

/*
 * One direction of a flow. Either entry alone is enough to translate its packets and to rebuild the other one.
 * Bytes that both directions may set are bytes of their own: the two directions run on different CPUs.
 */
struct svclb_flow {
	__be32 addr[SVCLB_ADDR_WORDS];
	__be16 port;
	__be16 client_port;
	__u32 service; /* index in services, SVCLB_NONE for a direct conversation */
	__u32 backend; /* id in backend_counters */
	__u32 epoch; /* of the service when the backend was last found serving (UDP) */
	__u32 seen_s; /* CLOCK_MONOTONIC seconds of the last packet, written at most once a second */
	__u32 tick; /* jiffies / 1024 when seen_s was written */
	__u8 kind; /* enum svclb_flow_kind */
	__u8 answered; /* the backend has replied */
	__u8 client_fin; /* FIN seen from the client (TCP) */
	__u8 backend_fin; /* FIN seen from the backend (TCP), SVCLB_FIN_FIRST if before the client's */
	__u8 reset; /* RST seen from either side (TCP) */
	__u8 host; /* the client is the node itself, by way of the catch-all */
	__u8 masqueraded; /* enum svclb_masqueraded */
	__u8 pad[1]; /* always zero */
};
static_assert(sizeof(struct svclb_flow) == 48, "value layout is pinned");

/* ---------------------------------------------------------------- affinity: LRU HASH, written by the programs */

/* Word 0 of a client that is no address but a network namespace, whose cookie is in words 2 and 3: see sockets. */
#define SVCLB_CLIENT_NETNS 0xffffffff

struct svclb_affinity_key {
	__be32 client[SVCLB_ADDR_WORDS];
	__u32 service; /* index in services */
};
static_assert(sizeof(struct svclb_affinity_key) == 20, "hashed as bytes: no holes");

struct svclb_affinity {
	__be32 addr[SVCLB_ADDR_WORDS];
	__be16 port;
	__u16 pad; /* always zero */
	__u32 seen_s; /* CLOCK_MONOTONIC seconds of the last new flow */
};
static_assert(sizeof(struct svclb_affinity) == 24, "value layout is pinned");

/* ---------------------------------------------------------------- fragments: LRU HASH, written by the programs */

/* A datagram that comes in fragments, as the program meets it. */
struct svclb_fragment_key {
	__be32 saddr[SVCLB_ADDR_WORDS];
	__be32 daddr[SVCLB_ADDR_WORDS];
	__u32 id;
	__u8 proto;
	__u8 direction; /* enum svclb_direction */
	__u16 pad; /* always zero */
};
static_assert(sizeof(struct svclb_fragment_key) == 40, "hashed as bytes: no holes");

enum svclb_fragment_kind {
	SVCLB_FRAGMENT_UNTRANSLATED = 0,
	SVCLB_FRAGMENT_TRANSLATED = 1,
	SVCLB_FRAGMENT_SENT_BACK = 2, /* hairpin */
};

/* What became of its first fragment. */
struct svclb_fragment {
	__be32 saddr[SVCLB_ADDR_WORDS];
	__be32 daddr[SVCLB_ADDR_WORDS];
	__u32 service; /* index in services */
	__u32 backend; /* id in backend_counters */
	__u32 seen_s; /* CLOCK_MONOTONIC seconds of the first fragment */
	__u8 kind; /* enum svclb_fragment_kind */
	__u8 pad[3]; /* always zero */
};
static_assert(sizeof(struct svclb_fragment) == 48, "value layout is pinned");

/* ---------------------------------------------------------------- filters: one row of bytes, only ever set */

/*
 * "May this packet concern us?" in one load. A byte is set before the first packet can need it and is never cleared:
 * a flow outlives its Service, and a stale byte costs one lookup. Bytes, not bits: two CPUs may set neighbours.
 */
#define SVCLB_FILTER_BITS 18
#define SVCLB_FILTER_SIZE (1u << SVCLB_FILTER_BITS)

struct svclb_filters {
	__u8 frontend[SVCLB_FILTER_SIZE]; /* by address, of ClusterIPs; set by the agent before the frontend's row */
	__u8 backend[SVCLB_FILTER_SIZE]; /* by address and port; set by the agent before a slot names the backend */
	/* By address and port of a backend, and by its address and port 0 (fragments); set by from_pod with the first
	 * flow. */
	__u8 reply[SVCLB_FILTER_SIZE];
	/* By address and port: a node's or an external address that is dialled on some ports only, set by the agent
	 * before the frontend's row (with port 0, too, for fragments), and by from_pod with a translated direct
	 * conversation. By a node's address and port 0: set by from_host. */
	__u8 direct[SVCLB_FILTER_SIZE];
};

/* wire_filters: the same for uplinks; set with the first flow. Apart from the others: what pods send pays nothing for
 * it. */
struct svclb_wire_filters {
	/* By address and port of a backend on this node that somebody outside has dialled, and with port 0. */
	__u8 reply[SVCLB_FILTER_SIZE];
	/* The same of one, wherever it is, that sees the node as its client. */
	__u8 source[SVCLB_FILTER_SIZE];
};

static inline __attribute__((always_inline)) __u32 svclb_filter_index(const __be32 addr[SVCLB_ADDR_WORDS], __be16 port)
{
	__u32 h = addr[3] ^ (__u32)port << 7;

	h = h * 0x9e3779b1u ^ addr[1];
	h = (h ^ addr[2] ^ addr[0]) * 0x85ebca6bu;
	return h >> (32 - SVCLB_FILTER_BITS);
}

/* ---------------------------------------------------------------- sockets: written by the socket hooks */

/* A frontend that a socket of the node dialled, and the backend which stands for it. */
struct svclb_peer {
	__be32 frontend[SVCLB_ADDR_WORDS];
	__be32 addr[SVCLB_ADDR_WORDS]; /* of the backend */
	__be16 frontend_port;
	__be16 port; /* of the backend; 0: no peer */
	__u32 service; /* index in services */
	__u32 backend; /* id in backend_counters */
	__u32 epoch; /* of the service when the backend was last found serving */
	__u32 sent_s; /* CLOCK_MONOTONIC seconds of the last send or of connect() */
	__u8 answered; /* unconnected UDP: the backend has been heard */
	__u8 pad[3]; /* always zero */
};
static_assert(sizeof(struct svclb_peer) == 56, "value layout is pinned");

#define SVCLB_SOCKET_PEERS 4

/* sockets: SK_STORAGE. Lives as long as its socket, whatever happens to the agent and to other maps. The hooks of one
 * socket run one after the other, under its lock. */
struct svclb_socket {
	struct svclb_peer peers[SVCLB_SOCKET_PEERS]; /* connected: the first one */
	__u8 proto; /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 connected;
	__u8 next; /* peers[next] is overwritten next */
	__u8 spilled; /* more peers are in socket_peers */
	__u8 pad[4]; /* always zero */
};
static_assert(sizeof(struct svclb_socket) == 232, "value layout is pinned");

/* socket_peers: LRU HASH of struct svclb_peer. For an unconnected socket with many peers: the longest unused ones. For
 * a connected UDP socket: its one, which the agent looks up when a backend has gone. */
struct svclb_socket_peer_key {
	__u64 cookie; /* of the socket */
	__be32 addr[SVCLB_ADDR_WORDS]; /* of the backend */
	__be16 port;
	__u16 pad[3]; /* always zero */
};
static_assert(sizeof(struct svclb_socket_peer_key) == 32, "hashed as bytes: no holes");

/* The bytes of a frontend that is about to get its row. A ClusterIP is ours with every port; other addresses are
 * shared with what else is dialled there, and only packets to the very port pay for a lookup. */
static inline void svclb_mark_frontend(struct svclb_filters *filters, const struct svclb_frontend_key *key, __u8 kind)
{
	if (kind == SVCLB_FRONTEND_CLUSTER_IP || kind == SVCLB_FRONTEND_CLUSTER_IP_ADDRESS) {
		filters->frontend[svclb_filter_index(key->addr, 0)] = 1;
		return;
	}
	filters->direct[svclb_filter_index(key->addr, key->port)] = 1;
	filters->direct[svclb_filter_index(key->addr, 0)] = 1;
}

static inline int svclb_is_marked(const struct svclb_filters *filters, const struct svclb_frontend_key *key, __u8 kind)
{
	if (kind == SVCLB_FRONTEND_CLUSTER_IP || kind == SVCLB_FRONTEND_CLUSTER_IP_ADDRESS)
		return filters->frontend[svclb_filter_index(key->addr, 0)];
	return filters->direct[svclb_filter_index(key->addr, key->port)] &&
	       filters->direct[svclb_filter_index(key->addr, 0)];
}

/* netns_probe: one row, mmapped by the agent. Before 5.14 the agent cannot ask for the cookie of its own network
 * namespace: it names one of its sockets, connects it, and connect4 tells. */
struct svclb_netns_probe {
	__u64 socket; /* cookie of the agent's socket; the hook makes it 0 when it has told */
	__u64 netns; /* written by the hook */
};
static_assert(sizeof(struct svclb_netns_probe) == 16, "mmapped by the agent");

/* ---------------------------------------------------------------- counters */

/* service_counters and backend_counters: PERCPU ARRAY by service index and by backend id. Both directions. */
struct svclb_counter {
	__u64 flows; /* flows begun */
	__u64 packets;
	__u64 bytes; /* of whole frames, a segmentation-offload packet once */
};

/*
 * Why a packet was not translated, or not passed on. drop_counters: PERCPU ARRAY of struct svclb_drop_counter. New
 * ones come last: the counters of a node that is upgraded keep their places.
 * X(name, text, dropped): dropped tells whether the packet ends here or goes on untouched.
 */
#define SVCLB_REASONS(X)                                                                                               \
	X(NO_BACKEND_REJECTED, "no usable backend: rejected", 1)                                                       \
	X(NO_LOCAL_BACKEND_DROPPED, "no usable backend on this node and policy Local: dropped", 1)                     \
	X(UNKNOWN_PORT_REJECTED, "unknown port or protocol of a ClusterIP: rejected", 1)                               \
	X(UNALLOCATED_DROPPED, "unallocated address of the Service CIDR: dropped", 1)                                  \
	X(REJECT_RATE_LIMITED, "reject answer suppressed by the rate limit: dropped", 1)                               \
	X(REJECT_FAILED, "reject answer could not be built: dropped", 1)                                               \
	X(NO_FREE_TUPLE, "no free source port towards the backend: dropped", 1)                                        \
	X(FLOW_TABLE_FAILED, "flow could not be stored: dropped", 1)                                                   \
	X(STALE_SLOT, "backend table changed twice under one packet: dropped", 1)                                      \
	X(REWRITE_FAILED, "packet could not be rewritten: dropped", 1)                                                 \
	X(FRAGMENT_HELD, "fragment before its first one: dropped, but sent on if that comes", 1)                       \
	X(FRAGMENT_LOST, "fragment before its first one, too long or too many to be kept: dropped", 1)                 \
	X(FRAGMENT_RELEASED, "fragment that was kept until its first one came: sent on", 0)                            \
	X(ESTABLISHED_FULL, "established-flow table full: flow stays evictable", 0)                                    \
	X(PING_ANSWERED, "ping to a ClusterIP: answered", 0)                                                           \
	X(NO_FLOW, "TCP packet in mid-connection without an entry: passed", 0)                                         \
	X(FRAGMENT, "fragment without ports to a frontend address: passed", 0)                                         \
	X(UNSUPPORTED_PROTOCOL, "protocol that is not translated, to a frontend address: passed", 0)                   \
	X(UNREAD_HEADERS, "source route or too many headers, to a frontend address: passed", 0)                        \
	X(MALFORMED, "truncated or malformed headers to a frontend address: passed", 0)                                \
	X(SOCKET_RECORD_FAILED, "what a socket dialled could not be stored: left to the packet path", 0)               \
	X(SOURCE_RANGE_DROPPED, "not in loadBalancerSourceRanges: dropped", 1)                                         \
	X(HOST_PACKET_REFUSED, "packet of the host or by way of it, not translatable: rejected or dropped", 1)         \
	X(HOST_PACKET_UNROUTED, "packet of the host without a route to the backend: dropped", 1)                       \
	X(CLUSTER_IP_FROM_OUTSIDE, "ClusterIP dialled from outside: dropped", 1)                                       \
	X(NO_NODE_ADDRESS, "no address of this node known for a backend elsewhere: dropped", 1)                        \
	X(NO_FREE_SOURCE_PORT, "no free port of this node towards the backend: dropped", 1)

/* The hardware address of both devices of the catch-all: a frame sent to either is for the node itself. */
#define SVCLB_HOST_LINK_MAC                                                                                            \
	{                                                                                                              \
		0x02, 's', 'v', 'c', 'l', 'b'                                                                          \
	}

/* clang-format off */
enum svclb_reason {
#define SVCLB_REASON_ENUM(name, text, dropped) SVCLB_REASON_##name,
	SVCLB_REASONS(SVCLB_REASON_ENUM)
#undef SVCLB_REASON_ENUM
	SVCLB_REASON_COUNT
};
/* clang-format on */

struct svclb_drop_counter {
	__u64 packets;
	__u64 bytes;
};

/* ---------------------------------------------------------------- rejects: LRU HASH, written by the programs */

struct svclb_reject_key {
	__be32 client[SVCLB_ADDR_WORDS];
};

/* A token bucket: answers left, and the CLOCK_MONOTONIC second in which they were last topped up. */
struct svclb_reject_budget {
	__u32 tokens;
	__u32 filled_s;
};

/* ---------------------------------------------------------------- problems: HASH, number -> one, written by the agent
 */

#define SVCLB_PROBLEMS 256 /* the most that are shown */
#define SVCLB_REASON_SIZE 32

/* What an operator should know of an object, for as long as it is so. Read by svclb-ctl. */
struct svclb_problem {
	char object[SVCLB_STRING_SIZE]; /* "Service default/web"; each one is padded with zeros */
	char reason[SVCLB_REASON_SIZE]; /* one word, as in an Event: "FrontendConflict" */
	char text[SVCLB_STRING_SIZE];
};

/* ---------------------------------------------------------------- agent: one row, mmapped, written by the agent */

#define SVCLB_SOURCE_PARTS 4
#define SVCLB_SOURCE_NAME_SIZE 32

/* One kind of objects that an API server is asked for. */
struct svclb_source_part {
	char name[SVCLB_SOURCE_NAME_SIZE]; /* "endpointslices" */
	__u64 heard_ns; /* CLOCK_REALTIME of the last word from the server, 0 = none yet */
	__u64 objects;
	__u64 lists; /* begun */
	__u64 watches; /* begun */
	__u64 failures; /* of both */
	__u32 synced; /* listed as a whole at least once */
	__u32 connected; /* its watch is open */
};

struct svclb_agent_status {
	__u32 abi_version;
	__u32 pid;
	__u64 started_ns; /* CLOCK_REALTIME */
	__u64 synced_ns; /* CLOCK_REALTIME of the last pass without an error, 0 = none yet */
	__u64 passes; /* reconcile passes of this agent */
	__u64 writes; /* rows written by this agent, all passes */
	__u64 last_writes; /* rows written by the last pass */
	__u64 failures; /* writes that failed */
	__u64 collected; /* flow entries that the collector removed */
	__u32 services; /* objects known */
	__u32 endpoint_slices;
	__u32 invalid_objects; /* objects whose last content was refused */
	__u32 slots_capacity; /* entries of the slots map in use: it grows */
	char node[SVCLB_STRING_SIZE];
	char source[SVCLB_STRING_SIZE]; /* "manifests /path" */
	char error[SVCLB_STRING_SIZE]; /* last error, empty when the last pass was clean */
	/* From here on since release 0.2. */
	__u32 complete; /* every object has been read: what the node does is what the input says */
	__u32 source_connected; /* what the source tells is up to date */
	__u64 source_since_ns; /* CLOCK_REALTIME since when it is connected, or not */
	__u64 source_bytes; /* received from the API server */
	__u32 held_services; /* stay as programmed because what is known of them is not whole */
	__u32 conflicts; /* frontends that two Services claim */
	__u32 problems; /* all of them, also those beyond SVCLB_PROBLEMS */
	__u32 source_parts; /* used entries below */
	__u64 events_sent; /* Events that the API server took */
	__u64 events_failed; /* that it did not take */
	__u64 events_dropped; /* never sent: too many at once */
	__u64 pass_ns; /* how long the last pass took */
	char source_error[SVCLB_STRING_SIZE]; /* last one, empty while connected */
	struct svclb_source_part source_part[SVCLB_SOURCE_PARTS];
	/* From here on since release 0.3. */
	__u32 sockets_attached; /* the socket hooks are in force */
	__u32 pad; /* always zero */
	char sockets[SVCLB_STRING_SIZE]; /* where they are, or why they are not */
	char host_packets[SVCLB_STRING_SIZE]; /* what the catch-all has in force, or why it has nothing */
	__u64 sockets_ended; /* connected UDP sockets whose backend no longer served */
};

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
