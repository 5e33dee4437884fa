/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What people and svclb-ctl read: names, counters, drop reasons, problems, the agent itself. */
#ifndef SVCLB_ABI_STATUS_H
#define SVCLB_ABI_STATUS_H

#include "svclb/abi/base.h"

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
	X(NO_FREE_SOURCE_PORT, "no free port of this node towards the backend: dropped", 1)                            \
	X(DSR_NOT_POSSIBLE, "flow to a backend that cannot be encapsulated: the node becomes its source", 0)           \
	X(DSR_TOO_BIG, "too large to be encapsulated: the client is told", 1)                                          \
	X(DSR_UNROUTED, "encapsulated packet without a route to the backend: dropped", 1)                              \
	X(DSR_NOT_TAKEN, "encapsulated packet to a frontend, for no backend here: passed", 0)                          \
	X(NO_FLOW_REJECTED, "packet in mid-connection that nobody knows, about to leave again: rejected", 1)

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
	char pod_sockets[SVCLB_STRING_SIZE]; /* how many pods' sockets are served, or why none */
};

#endif
