/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the packets' programs remember: flows, clients, datagrams in fragments. */
#ifndef SVCLB_ABI_FLOWS_H
#define SVCLB_ABI_FLOWS_H

#include "svclb/abi/base.h"

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
	/* Client to frontend, met in from_uplink: the packet stays as it is, inside of another one to addr:port. It has
	 * no reply entry: the backend's node answers the client itself. */
	SVCLB_FLOW_ENCAPSULATED = 8,
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
	SVCLB_FRAGMENT_ENCAPSULATED = 3, /* to daddr; see SVCLB_FLOW_ENCAPSULATED */
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

/* ---------------------------------------------------------------- path_mtus: LRU HASH, written by the programs */

/* A backend's address, to which packets go encapsulated. */
struct svclb_path_key {
	__be32 addr[SVCLB_ADDR_WORDS];
};

/* What a router on the way has said about the size of such packets. */
struct svclb_path_mtu {
	__u32 mtu;
	__u32 seen_s; /* CLOCK_MONOTONIC seconds */
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

#endif
