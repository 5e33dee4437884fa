/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What a socket remembers of whom it dialled, and what it is told of its peer by that: recvmsg and getpeername. The
 * choice of a backend is made elsewhere (socket_calls.bpf.h).
 */
#ifndef SVCLB_SOCKET_PEERS_BPF_H
#define SVCLB_SOCKET_PEERS_BPF_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

#include "addr.bpf.h"
#include "tables.bpf.h"

/* Hooks -> hooks. See struct svclb_socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct svclb_socket);
} sockets SEC(".maps");

/* Hooks -> agent, by the cookie of a connected UDP socket. Not one with socket_peers: these rows are never read by a
 * hook, so that they would be the first to be pushed out. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct svclb_peer);
} connected_peers SEC(".maps");

/* Hooks -> hooks. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct svclb_socket_peer_key);
	__type(value, struct svclb_peer);
} socket_peers SEC(".maps");

#define FAMILY_IPV6 10 /* AF_INET6 */

/* An address and a port that a call names, or is told. */
struct endpoint {
	__be32 addr[SVCLB_ADDR_WORDS];
	__be16 port;
};

static __always_inline void read_endpoint4(struct bpf_sock_addr *ctx, struct endpoint *at)
{
	set_v4(at->addr, ctx->user_ip4);
	at->port = (__be16)ctx->user_port;
}

static __always_inline void read_endpoint6(struct bpf_sock_addr *ctx, struct endpoint *at)
{
	at->addr[0] = ctx->user_ip6[0];
	at->addr[1] = ctx->user_ip6[1];
	at->addr[2] = ctx->user_ip6[2];
	at->addr[3] = ctx->user_ip6[3];
	at->port = (__be16)ctx->user_port;
}

static __always_inline void write_endpoint4(struct bpf_sock_addr *ctx, const struct endpoint *at)
{
	ctx->user_ip4 = at->addr[3];
	ctx->user_port = at->port;
}

static __always_inline void write_endpoint6(struct bpf_sock_addr *ctx, const struct endpoint *at)
{
	ctx->user_ip6[0] = at->addr[0];
	ctx->user_ip6[1] = at->addr[1];
	ctx->user_ip6[2] = at->addr[2];
	ctx->user_ip6[3] = at->addr[3];
	ctx->user_port = at->port;
}

static __always_inline bool is_frontend(const struct svclb_peer *peer, const struct endpoint *at)
{
	return peer->port && peer->frontend_port == at->port && same_addr(peer->frontend, at->addr);
}

static __always_inline bool is_backend(const struct svclb_peer *peer, const struct endpoint *at)
{
	return peer->port && peer->port == at->port && same_addr(peer->addr, at->addr);
}

static __always_inline struct svclb_socket *find_socket(struct bpf_sock_addr *ctx)
{
	return ctx->sk ? bpf_sk_storage_get(&sockets, ctx->sk, 0, 0) : 0;
}

static __always_inline struct svclb_socket *make_socket(struct bpf_sock_addr *ctx)
{
	return ctx->sk ? bpf_sk_storage_get(&sockets, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE) : 0;
}

static __always_inline void spilled_key(void *ctx, const __be32 addr[SVCLB_ADDR_WORDS], __be16 port,
					struct svclb_socket_peer_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->cookie = bpf_get_socket_cookie(ctx);
	copy_addr(key->addr, addr);
	key->port = port;
}

/* What the agent can't read where a socket keeps it. */
static __always_inline void show_connected(struct bpf_sock_addr *ctx, const struct svclb_peer *peer)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);

	bpf_map_update_elem(&connected_peers, &cookie, peer, BPF_ANY);
}

/* If it is this backend that is shown. */
static __always_inline void forget_shown(struct bpf_sock_addr *ctx, const struct endpoint *at)
{
	__u64 cookie = bpf_get_socket_cookie(ctx);
	const struct svclb_peer *peer = bpf_map_lookup_elem(&connected_peers, &cookie);

	if (peer && is_backend(peer, at))
		bpf_map_delete_elem(&connected_peers, &cookie);
}

/* Where a socket keeps this peer, or null. */
static __always_inline struct svclb_peer *peer_with_frontend(struct svclb_socket *socket, const struct endpoint *at)
{
	/* The newest first: it is the one that a socket with several backends of one frontend goes on with. */
	for (__u32 i = 1; i <= SVCLB_SOCKET_PEERS; i++) {
		struct svclb_peer *peer = &socket->peers[(socket->next - i) & (SVCLB_SOCKET_PEERS - 1)];

		if (is_frontend(peer, at))
			return peer;
	}
	return 0;
}

static __always_inline struct svclb_peer *peer_with_backend(struct svclb_socket *socket, const struct endpoint *at)
{
	for (__u32 i = 1; i <= SVCLB_SOCKET_PEERS; i++) {
		struct svclb_peer *peer = &socket->peers[(socket->next - i) & (SVCLB_SOCKET_PEERS - 1)];

		if (is_backend(peer, at))
			return peer;
	}
	return 0;
}

static __always_inline void spill_peer(struct bpf_sock_addr *ctx, struct svclb_socket *socket,
				       const struct svclb_peer *peer)
{
	struct svclb_socket_peer_key key;

	spilled_key(ctx, peer->addr, peer->port, &key);
	bpf_map_update_elem(&socket_peers, &key, peer, BPF_ANY);
	socket->spilled = 1;
}

/* The peer of a socket is remembered; what it pushes out goes where there is room for any number. */
static __always_inline void remember_peer(struct bpf_sock_addr *ctx, struct svclb_socket *socket,
					  const struct svclb_peer *peer)
{
	struct svclb_peer *place = &socket->peers[socket->next & (SVCLB_SOCKET_PEERS - 1)];

	if (place->port)
		spill_peer(ctx, socket, place);
	*place = *peer;
	socket->next = (socket->next + 1) & (SVCLB_SOCKET_PEERS - 1);
}

/* Whom a UDP socket is connected to before its next connect() is where the agent finds it, should that fail. */
static __always_inline void keep_connected(struct bpf_sock_addr *ctx, struct svclb_socket *socket)
{
	struct bpf_sock *sk = ctx->sk;
	const struct svclb_peer *peer;
	struct endpoint at;
	__be32 v4;

	if (!sk || sk->state != BPF_TCP_ESTABLISHED)
		return;
	v4 = sk->dst_ip4;
	at.addr[0] = sk->dst_ip6[0];
	at.addr[1] = sk->dst_ip6[1];
	at.addr[2] = sk->dst_ip6[2];
	at.addr[3] = sk->dst_ip6[3];
	at.port = (__be16)sk->dst_port;
	/* Else the compiler chooses between two offsets into the socket, which the verifier refuses. */
	asm volatile("" : "+r"(v4) : : "memory");
	if (sk->family != FAMILY_IPV6)
		set_v4(at.addr, v4);
	peer = peer_with_backend(socket, &at);
	if (peer)
		spill_peer(ctx, socket, peer);
}

/* This backend has been dialled itself: it is nobody's stand-in any more. */
static __always_inline void forget_peer(struct bpf_sock_addr *ctx, struct svclb_socket *socket,
					const struct endpoint *at)
{
	for (__u32 i = 0; i < SVCLB_SOCKET_PEERS; i++) {
		if (is_backend(&socket->peers[i], at))
			socket->peers[i].port = 0;
	}
	if (socket->spilled) {
		struct svclb_socket_peer_key key;

		spilled_key(ctx, at->addr, at->port, &key);
		bpf_map_delete_elem(&socket_peers, &key);
	}
}

/* Makes of a backend the frontend that the socket dialled. False: it is nobody that it dialled through us. */
static __always_inline bool name_peer(struct bpf_sock_addr *ctx, struct endpoint *at)
{
	struct svclb_socket *socket = find_socket(ctx);
	struct svclb_peer *peer;

	if (!socket)
		return false;
	peer = peer_with_backend(socket, at);
	if (!peer && socket->spilled) {
		struct svclb_socket_peer_key key;

		spilled_key(ctx, at->addr, at->port, &key);
		peer = bpf_map_lookup_elem(&socket_peers, &key);
	}
	if (!peer)
		return false;
	peer->heard = SVCLB_PEER_HEARD;
	copy_addr(at->addr, peer->frontend);
	at->port = peer->frontend_port;
	return true;
}

#endif
