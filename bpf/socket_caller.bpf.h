/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Whose socket a call is of: the node's, one of its pods', or nobody's that is served. What the rules of Services ask
 * of a client, they ask of it.
 */
#ifndef SVCLB_SOCKET_CALLER_BPF_H
#define SVCLB_SOCKET_CALLER_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "addr.bpf.h"
#include "choice.bpf.h"
#include "socket_peers.bpf.h"
#include "tables.bpf.h"

/* Agent -> hooks -> agent and hooks. See struct svclb_netns_probe. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct svclb_netns_probe);
} netns_probe SEC(".maps");

/* Agent -> hooks: the pods whose sockets are served, by the cookie of their network namespace. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct svclb_pod);
} pod_netns SEC(".maps");

static __always_inline struct svclb_netns_probe *probe_row(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&netns_probe, &zero);
}

static __always_inline bool is_of_host(struct bpf_sock_addr *ctx)
{
	const struct svclb_netns_probe *probe;

	if (settings.netns_cookie)
		return bpf_get_netns_cookie(ctx) == settings.netns_cookie;
	probe = probe_row();
	return probe && bpf_get_netns_cookie(ctx) == probe->netns;
}

/* Tells the agent where its own socket lives, where that is how it is told. */
static __always_inline void tell_netns(struct bpf_sock_addr *ctx)
{
	struct svclb_netns_probe *probe;

	if (settings.netns_cookie)
		return;
	probe = probe_row();
	if (!probe || bpf_get_socket_cookie(ctx) != probe->socket)
		return;
	probe->netns = bpf_get_netns_cookie(ctx);
	probe->socket = 0;
}

/* Of the pod whose socket this is; null: it is nobody's that is served. */
static __always_inline const struct svclb_pod *pod_of(struct bpf_sock_addr *ctx)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);

	return bpf_map_lookup_elem(&pod_netns, &cookie);
}

/* The address of the family of `addr` that the caller's packets carry, as far as we know. */
static __always_inline bool address_of(const struct svclb_pod *pod, const __be32 addr[SVCLB_ADDR_WORDS],
				       __be32 out[SVCLB_ADDR_WORDS])
{
	const __be32 *own;

	if (!pod) {
		own = node_address(!is_v4_mapped(addr));
		if (own)
			copy_addr(out, own);
		return own;
	}
	if (is_v4_mapped(addr))
		copy_addr(out, pod->v4);
	else
		copy_addr(out, pod->v6);
	return is_known(out);
}

/* The client of session affinity: a pod's address, as for its packets. All processes on the host network are one, as
 * they are to a packet's rules, which see one address. At the hook there is none yet; no packet's source looks like
 * this. */
static __always_inline void client_of(struct bpf_sock_addr *ctx, const struct svclb_pod *pod,
				      const __be32 addr[SVCLB_ADDR_WORDS], __be32 client[SVCLB_ADDR_WORDS])
{
	__u64 cookie;

	if (pod) {
		address_of(pod, addr, client);
		return;
	}
	cookie = bpf_get_netns_cookie(ctx);
	client[0] = SVCLB_CLIENT_NETNS;
	client[1] = 0;
	client[2] = cookie >> 32;
	client[3] = (__u32)cookie;
}

/* May the caller dial service port `service`? Its source is the address that the socket is bound to; else it will be
 * one of the caller's, and the one that we know stands for all. */
static __always_inline bool caller_allowed(struct bpf_sock_addr *ctx, const struct svclb_pod *pod, __u32 service,
					   const struct endpoint *at)
{
	struct svclb_source_range key = {.prefix = 8 * (sizeof(key) - sizeof(key.prefix)), .service = service};
	struct bpf_sock *sk = ctx->sk;
	__be32 v4;

	if (!sk)
		return false;
	v4 = sk->src_ip4;
	key.addr[0] = sk->src_ip6[0];
	key.addr[1] = sk->src_ip6[1];
	key.addr[2] = sk->src_ip6[2];
	key.addr[3] = sk->src_ip6[3];
	/* Else the compiler chooses between two offsets into the socket, which the verifier refuses. */
	asm volatile("" : "+r"(v4) : : "memory");
	if (is_v4_mapped(at->addr))
		set_v4(key.addr, v4);
	if (!key.addr[0] && !key.addr[3] && !address_of(pod, at->addr, key.addr))
		return false;
	return bpf_map_lookup_elem(&source_ranges, &key);
}

#endif
