/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which packets may concern us at all. */
#ifndef SVCLB_ABI_FILTERS_H
#define SVCLB_ABI_FILTERS_H

#include "svclb/abi/base.h"
#include "svclb/abi/tables.h"

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
	 * conversation, or a pod's flow to itself. By a node's address and port 0: set by from_host. */
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

#endif
