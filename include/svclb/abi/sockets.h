/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What the socket hooks remember. */
#ifndef SVCLB_ABI_SOCKETS_H
#define SVCLB_ABI_SOCKETS_H

#include "svclb/abi/base.h"

/* ---------------------------------------------------------------- sockets: written by the socket hooks */

enum svclb_peer_heard {
	SVCLB_PEER_NEVER_HEARD,
	SVCLB_PEER_HEARD, /* since the last datagram was sent to it */
	SVCLB_PEER_HEARD_BEFORE, /* and not since */
};

/* A frontend that a socket of the node dialled, and the backend which stands for it. */
struct svclb_peer {
	__be32 frontend[SVCLB_ADDR_WORDS];
	__be32 addr[SVCLB_ADDR_WORDS]; /* of the backend */
	__be16 frontend_port;
	__be16 port; /* of the backend; 0: no peer */
	__u32 service; /* index in services */
	__u32 backend; /* id in backend_counters */
	__u32 epoch; /* of the service when the backend was last found serving */
	__u32 sent_ms; /* low bits of CLOCK_MONOTONIC at the last send; HEARD_BEFORE: at the first since it was heard */
	__u8 heard; /* unconnected UDP: enum svclb_peer_heard */
	__u8 pad[3]; /* always zero */
};
static_assert(sizeof(struct svclb_peer) == 56, "value layout is pinned");

#define SVCLB_SOCKET_PEERS 4

/* sockets: SK_STORAGE. Lives as long as its socket, whatever happens to the agent and to other maps. The hooks of one
 * socket run one after the other, under its lock. */
struct svclb_socket {
	struct svclb_peer peers[SVCLB_SOCKET_PEERS]; /* the newest before `next` */
	__u8 proto; /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 connected;
	__u8 next; /* peers[next] is overwritten next */
	__u8 spilled; /* more peers are in socket_peers */
	__u8 pad[4]; /* always zero */
};
static_assert(sizeof(struct svclb_socket) == 232, "value layout is pinned");

/* connected_peers: HASH, cookie of a UDP socket -> struct svclb_peer of its last connect(), which the agent looks up
 * when a backend has gone. It goes with the socket. */
/* socket_peers: LRU HASH of struct svclb_peer. Of an unconnected socket with many peers, the longest unused ones; of a
 * connected one whom it was connected to before its last connect(), and still is if that failed. */
struct svclb_socket_peer_key {
	__u64 cookie; /* of the socket */
	__be32 addr[SVCLB_ADDR_WORDS]; /* of the backend */
	__be16 port;
	__u16 pad[3]; /* always zero */
};
static_assert(sizeof(struct svclb_socket_peer_key) == 32, "hashed as bytes: no holes");

/* pod_netns: HASH, cookie of a network namespace -> the pod in it, written by the agent where pods' sockets are served.
 * The addresses that its packets carry; zero: none of the family is known. */
struct svclb_pod {
	__be32 v4[SVCLB_ADDR_WORDS];
	__be32 v6[SVCLB_ADDR_WORDS];
};
static_assert(sizeof(struct svclb_pod) == 32, "value layout is pinned");

/* netns_probe: one row, mmapped by the agent. Before 5.14 the agent cannot ask for the cookie of its own network
 * namespace: it names one of its sockets, connects it, and connect4 tells. */
struct svclb_netns_probe {
	__u64 socket; /* cookie of the agent's socket; the hook makes it 0 when it has told */
	__u64 netns; /* written by the hook */
};
static_assert(sizeof(struct svclb_netns_probe) == 16, "mmapped by the agent");

#endif
