/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The calls by which a socket names somebody to talk to, connect and sendmsg: the choice of a backend, and the refusal.
 */
#ifndef SVCLB_SOCKET_CALLS_BPF_H
#define SVCLB_SOCKET_CALLS_BPF_H

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

#include "addr.bpf.h"
#include "choice.bpf.h"
#include "socket_caller.bpf.h"
#include "socket_peers.bpf.h"
#include "tables.bpf.h"

#define ECONNREFUSED 111

/* What a hook returns. */
#define CALL_REFUSED 0
#define CALL_GOES_ON 1

/* After so many milliseconds without an answer the next datagram goes to another backend. Resolvers ask again after 500
 * at the soonest. A conversation that has been answered before may have more to lose than its next question. */
#define FIRST_PATIENCE_MS 300
#define PATIENCE_MS 5000
#define OTHERS_TRIED 8

/* The frontend that a call names, if it is one. To the node its own ports are served at loopback addresses as well,
 * wherever they are at its address. */
static __always_inline const struct svclb_frontend *dialled(const struct svclb_pod *pod, const struct endpoint *at,
							    __u8 proto)
{
	const struct svclb_filters *bytes = filter_bytes();
	const struct svclb_frontend *frontend;
	__be32 addr[SVCLB_ADDR_WORDS];
	bool loopback = !pod && is_loopback(at->addr);

	if (!bytes || (proto != IPPROTO_TCP && proto != IPPROTO_UDP))
		return 0;
	if (!loopback)
		copy_addr(addr, at->addr);
	else if (!address_of(pod, at->addr, addr))
		return 0;
	if (!bytes->frontend[filter_index(addr, 0)] && !bytes->direct[filter_index(addr, at->port)])
		return 0;
	frontend = frontend_at(addr, at->port, proto);
	return frontend && loopback && frontend->kind != SVCLB_FRONTEND_NODE_PORT ? 0 : frontend;
}

/* Is `at`, no frontend, another port of a ClusterIP? */
static __always_inline bool is_unknown_port(const struct endpoint *at, __u8 proto)
{
	const struct svclb_filters *bytes = filter_bytes();

	return bytes && bytes->frontend[filter_index(at->addr, 0)] && (proto == IPPROTO_TCP || proto == IPPROTO_UDP) &&
	       frontend_at(at->addr, 0, 0);
}

/* As choose_slot(), but another backend than the silent one where there is one. */
static __always_inline bool choose_other(const struct svclb_service *service, __u32 index, __u32 set, __u32 hash,
					 const struct endpoint *silent, struct svclb_slot *out)
{
	if (!silent)
		return choose_slot(service, index, set, hash, out);
	for (__u32 i = 0; i < OTHERS_TRIED; i++) {
		if (!choose_slot(service, index, set, hash, out))
			return false;
		if (out->port != silent->port || !same_addr(out->addr, silent->addr))
			break;
		hash = mix(hash, i);
	}
	return true;
}

/* A new backend of the frontend; `silent`, if any, is to be kept away from. 0: `peer` is set; or REFUSE(). */
static __always_inline int choose_peer(struct bpf_sock_addr *ctx, const struct svclb_pod *pod,
				       const struct endpoint *at, const struct svclb_frontend *frontend, __u32 hash,
				       const struct endpoint *silent, struct svclb_peer *peer)
{
	__u32 index = frontend->service;
	__u32 set = frontend->set;
	__u8 flags = frontend->flags;
	const struct svclb_service *service = bpf_map_lookup_elem(&services, &index);
	__be32 client[SVCLB_ADDR_WORDS];
	struct svclb_slot slot = {};
	__u32 affinity_s;

	if (!service)
		return REFUSE(STALE_SLOT);
	affinity_s = service->affinity_s;
	if ((flags & SVCLB_FRONTEND_SOURCE_RANGES) && !caller_allowed(ctx, pod, index, at))
		return REFUSE(SOURCE_RANGE_DROPPED);
	if (!svclb_run_count(read_run(service, set)))
		return refusal(service, set);
	peer->epoch = *(volatile const __u32 *)&service->epoch;
	client_of(ctx, pod, at->addr, client);
	if (!(affinity_s && last_backend(index, set, affinity_s, client, &slot)) &&
	    !choose_other(service, index, set, hash, silent, &slot))
		return REFUSE(STALE_SLOT);
	if (affinity_s)
		keep_backend(index, client, slot.addr, slot.port);
	copy_addr(peer->addr, slot.addr);
	peer->port = slot.port;
	peer->service = index;
	peer->backend = slot.backend;
	count_flow(index, slot.backend);
	return 0;
}

/* The call goes no further. Where the hook may not say why, it goes on instead, and so does what the kernel sends.
 * EPERM, all that is left, is what the kernel's own clients try again at once. */
static __always_inline int refuse_call(__u32 reason, const struct svclb_pod *pod)
{
	/* What is dropped in silence as a packet: a pod's link can do that, a socket call cannot. What the node sends
	 * passes no link, and need not meet the catch-all. */
	bool silent = reason != SVCLB_REASON_NO_BACKEND_REJECTED && reason != SVCLB_REASON_UNKNOWN_PORT_REJECTED;

	if (!settings.hooks_set_errno || (silent && pod))
		return CALL_GOES_ON;
	count_unmet(reason, 0);
	bpf_set_retval(-ECONNREFUSED);
	return CALL_REFUSED;
}

/* Does the socket's last choice for this frontend still hold? */
static __always_inline bool still_serves(struct svclb_peer *peer, const struct svclb_frontend *frontend)
{
	__u32 index = frontend->service;
	const struct svclb_service *service = bpf_map_lookup_elem(&services, &index);
	const struct svclb_backend *backend;
	__u32 epoch;

	if (!service || peer->service != index)
		return false;
	epoch = *(volatile const __u32 *)&service->epoch;
	if (epoch == peer->epoch)
		return true;
	backend = find_backend(index, peer->addr, peer->port);
	if (!backend || !(backend->flags & SVCLB_BACKEND_SERVING))
		return false;
	peer->epoch = epoch;
	return true;
}

/* Connects to `at` itself, which answers in its own name from now on. Whether the kernel can do so is not known yet: a
 * UDP socket whose connect() fails is connected to whom it was before, so that nobody else's name is forgotten. */
static __always_inline int connect_direct(struct bpf_sock_addr *ctx, const struct endpoint *at)
{
	struct svclb_socket *socket = find_socket(ctx);

	if (!socket)
		return CALL_GOES_ON;
	if (socket->proto != IPPROTO_UDP) {
		__builtin_memset(socket, 0, sizeof(*socket));
		return CALL_GOES_ON;
	}
	forget_peer(ctx, socket, at);
	forget_shown(ctx, at);
	return CALL_GOES_ON;
}

/* The same goes for who connects to a frontend. A TCP socket is connected once, and until then to nobody. */
static __always_inline void remember_connected(struct bpf_sock_addr *ctx, struct svclb_socket *socket,
					       const struct svclb_peer *peer, __u8 proto)
{
	if (proto == IPPROTO_UDP) {
		keep_connected(ctx, socket);
		remember_peer(ctx, socket, peer);
		show_connected(ctx, peer);
	} else {
		__builtin_memset(socket, 0, sizeof(*socket));
		socket->peers[0] = *peer;
		socket->next = 1;
	}
	socket->proto = proto;
	socket->connected = 1;
}

/* Of a pod only TCP: a UDP conversation moves by itself when its backend leaves as long as it is one of packets, and a
 * hook for each datagram saves nothing. And nothing that depends on an address which we do not know. */
static __always_inline bool pod_may_connect(const struct svclb_pod *pod, const struct endpoint *at, __u8 proto)
{
	__be32 addr[SVCLB_ADDR_WORDS];

	return proto == IPPROTO_TCP && address_of(pod, at->addr, addr);
}

/* Leads `at` to a backend, if it is a frontend. Returns what the hook returns. */
static __always_inline int connect_to(struct bpf_sock_addr *ctx, struct endpoint *at)
{
	__u8 proto = (__u8)ctx->protocol;
	const struct svclb_frontend *frontend;
	const struct svclb_pod *pod = 0;
	struct svclb_peer peer = {};
	struct svclb_socket *socket;
	int result;

	if (!is_of_host(ctx)) {
		pod = pod_of(ctx);
		if (!pod || !pod_may_connect(pod, at, proto))
			return CALL_GOES_ON;
	}
	frontend = dialled(pod, at, proto);
	if (!frontend)
		return is_unknown_port(at, proto) ? refuse_call(SVCLB_REASON_UNKNOWN_PORT_REJECTED, pod)
						  : connect_direct(ctx, at);
	socket = make_socket(ctx);
	if (!socket) {
		count_unmet(SVCLB_REASON_SOCKET_RECORD_FAILED, 0);
		return CALL_GOES_ON;
	}
	result = choose_peer(ctx, pod, at, frontend, bpf_get_prandom_u32(), 0, &peer);
	if (result)
		return refuse_call(REFUSED_REASON(result), pod);
	copy_addr(peer.frontend, at->addr);
	peer.frontend_port = at->port;
	peer.sent_ms = now_ms();
	remember_connected(ctx, socket, &peer, proto);
	copy_addr(at->addr, peer.addr);
	at->port = peer.port;
	return CALL_GOES_ON;
}

/* connect() with AF_UNSPEC ends what a socket is connected to, and passes no hook. */
static __always_inline bool still_connected(struct bpf_sock_addr *ctx, struct svclb_socket *socket)
{
	struct bpf_sock *sk = ctx->sk;

	if (sk && sk->state != BPF_TCP_ESTABLISHED)
		socket->connected = 0;
	return socket->connected;
}

/* A socket that is connected to this backend, though it names the frontend with each datagram; and an IPv6 socket that
 * was connected and is so no more: the kernel keeps everybody but that peer from it, in the latter for good. */
static __always_inline bool hears_only(struct bpf_sock_addr *ctx, const struct svclb_peer *peer)
{
	struct bpf_sock *sk = ctx->sk;
	__be32 heard[SVCLB_ADDR_WORDS];

	if (!sk)
		return false;
	if (is_v4_mapped(peer->addr))
		return sk->state == BPF_TCP_ESTABLISHED && sk->dst_ip4 == peer->addr[3] && sk->dst_port == peer->port;
	heard[0] = sk->dst_ip6[0];
	heard[1] = sk->dst_ip6[1];
	heard[2] = sk->dst_ip6[2];
	heard[3] = sk->dst_ip6[3];
	return same_addr(heard, peer->addr);
}

/* Of an IPv6 socket that is connected to an IPv4 peer, the kernel asks the hook for each send() as well, and names the
 * peer. That may be somebody's frontend; for this socket it is the backend that connect() chose. */
static __always_inline bool is_own_peer(struct bpf_sock_addr *ctx, const struct endpoint *at)
{
	struct bpf_sock *sk = ctx->sk;

	return sk && sk->family == FAMILY_IPV6 && sk->state == BPF_TCP_ESTABLISHED && sk->dst_ip4 == at->addr[3] &&
	       sk->dst_port == at->port;
}

/* Sends to a backend itself: its answers are not the frontend's. */
static __always_inline void send_direct(struct bpf_sock_addr *ctx, const struct endpoint *at)
{
	struct svclb_socket *socket = find_socket(ctx);

	/* What a socket is connected to keeps the name that it was connected by. */
	if (socket && !still_connected(ctx, socket))
		forget_peer(ctx, socket, at);
}

/* Is it time for a datagram to try another backend than this one? Who has never been answered may expect no answers at
 * all: as long as such datagrams flow, they stay together. Who has been is not held by its own impatience. */
static __always_inline bool is_silent(struct svclb_peer *peer, __u32 now_ms)
{
	__u8 heard = peer->heard;
	__u32 waited_ms = now_ms - peer->sent_ms;

	if (heard == SVCLB_PEER_HEARD_BEFORE)
		return waited_ms > PATIENCE_MS;
	peer->sent_ms = now_ms;
	if (heard == SVCLB_PEER_NEVER_HEARD)
		return waited_ms > FIRST_PATIENCE_MS;
	peer->heard = SVCLB_PEER_HEARD_BEFORE;
	return false;
}

/* As connect_to(), for one datagram of a socket that need not be connected. */
static __always_inline int send_to(struct bpf_sock_addr *ctx, struct endpoint *at)
{
	const struct svclb_frontend *frontend;
	struct endpoint silent = {};
	struct svclb_peer fresh = {};
	struct svclb_socket *socket;
	struct svclb_peer *peer;
	__u32 hash;
	__u32 now;
	int result;

	/* UDP-Lite sends by the same calls, and is nobody's port. */
	if (ctx->protocol != IPPROTO_UDP || !is_of_host(ctx))
		return CALL_GOES_ON;
	frontend = dialled(0, at, IPPROTO_UDP);
	if (!frontend) {
		send_direct(ctx, at);
		return is_unknown_port(at, IPPROTO_UDP) ? refuse_call(SVCLB_REASON_UNKNOWN_PORT_REJECTED, 0)
							: CALL_GOES_ON;
	}
	socket = make_socket(ctx);
	if (!socket) {
		count_unmet(SVCLB_REASON_SOCKET_RECORD_FAILED, 0);
		return CALL_GOES_ON;
	}
	still_connected(ctx, socket);
	now = now_ms();
	hash = mix(settings.hash_seed, (__u32)bpf_get_socket_cookie(ctx));
	hash = mix(mix(hash, at->addr[3]), at->port);
	peer = peer_with_frontend(socket, at);
	if (peer) {
		if (still_serves(peer, frontend) && (!is_silent(peer, now) || hears_only(ctx, peer))) {
			copy_addr(at->addr, peer->addr);
			at->port = peer->port;
			return CALL_GOES_ON;
		}
		copy_addr(silent.addr, peer->addr);
		silent.port = peer->port;
		hash = mix(hash, now);
	}
	result = choose_peer(ctx, 0, at, frontend, hash, &silent, &fresh);
	if (result)
		return refuse_call(REFUSED_REASON(result), 0);
	copy_addr(fresh.frontend, at->addr);
	fresh.frontend_port = at->port;
	fresh.sent_ms = now;
	socket->proto = IPPROTO_UDP;
	remember_peer(ctx, socket, &fresh);
	copy_addr(at->addr, fresh.addr);
	at->port = fresh.port;
	return CALL_GOES_ON;
}

#endif
