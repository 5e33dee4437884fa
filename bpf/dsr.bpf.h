/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Direct server return. What a client outside sends to a backend on another node goes there as it is, inside of another
 * IP packet (RFC 2003, RFC 2473), and is answered from there. The outer destination is the backend's own address: its
 * route leads to the right node, and that node has nothing to choose.
 * Neither node changes the inner packet on its way; the backend's translates it like any packet from outside.
 */
#ifndef SVCLB_DSR_BPF_H
#define SVCLB_DSR_BPF_H

#include "flow_life.bpf.h"
#include "fragment.bpf.h"
#include "host.bpf.h"
#include "icmp.bpf.h"
#include "parse.bpf.h"
#include "reject.bpf.h"
#include "service.bpf.h"
#include "source.bpf.h"
#include "verdict.bpf.h"
#include "work.bpf.h"

#define OUTER_TTL 64
#define IP4_DONT_FRAGMENT 0x4000
#define TCP_LENGTH_OFFSET 12
#define UDP_SIZE 8
#define IP4_MTU_MIN 576 /* by custom */
#define IP6_MTU_MIN 1280
#define DSCP_MASK 0xfc /* not ECN: what happens to it between the nodes is not told to the inner packet (RFC 6040) */

static __always_inline __u32 outer_size(const struct packet *pkt)
{
	return pkt->v6 ? IP6_SIZE : IP4_SIZE;
}

static __always_inline __u8 outer_proto(const struct packet *pkt)
{
	return pkt->v6 ? IPPROTO_IPV6 : IPPROTO_IPIP;
}

/* Octets of the IP packet; of a segmentation-offload packet, of the largest that will be made of it. */
static __always_inline __u32 wire_size(struct __sk_buff *skb, const struct packet *pkt)
{
	__u8 length = UDP_SIZE / 4 << 4;

	if (!skb->gso_size)
		return pkt->end - pkt->l3;
	if (pkt->tuple.proto == IPPROTO_TCP)
		bpf_skb_load_bytes(skb, pkt->l4 + TCP_LENGTH_OFFSET, &length, sizeof(length));
	return pkt->l4 - pkt->l3 + (length >> 4) * 4 + skb->gso_size;
}

/* The way to the backend of `work.flow` for an encapsulated packet of `size`. */
static __always_inline long route_to_backend(struct __sk_buff *skb, const struct work *work, __u32 size,
					     struct bpf_fib_lookup *route)
{
	const struct packet *pkt = &work->pkt;

	__builtin_memset(route, 0, sizeof(*route));
	route->ifindex = skb->ifindex;
	route->l4_protocol = outer_proto(pkt);
	route->tot_len = size > 0xffff ? 0xffff : size;
	if (pkt->v6) {
		route->family = FIB_INET6;
		copy_addr(route->ipv6_dst, work->flow.addr);
	} else {
		route->family = FIB_INET;
		route->ipv4_dst = work->flow.addr[3];
	}
	return bpf_fib_lookup(skb, route, sizeof(*route), 0);
}

#define PATH_MTU_TIMEOUT_S 600 /* as the kernel's own (net.ipv4.route.mtu_expires, net.ipv6.route.mtu_expires) */

/* The smallest MTU of a way that encapsulated packets can go. */
static __always_inline __u32 least_mtu(const struct packet *pkt)
{
	return outer_size(pkt) + (pkt->v6 ? IP6_MTU_MIN : IP4_MTU_MIN);
}

/* What a router on the way to the backend of `work.flow` has told; 0 where none has. */
static __always_inline __u32 told_mtu(const struct work *work)
{
	const struct svclb_path_mtu *path;
	struct svclb_path_key key;

	copy_addr(key.addr, work->flow.addr);
	path = bpf_map_lookup_elem(&path_mtus, &key);
	return path && now_s() - path->seen_s < PATH_MTU_TIMEOUT_S ? path->mtu : 0;
}

/* `work.pkt` is ICMP. Is it about the size of an encapsulated packet of this node's, the next one that is too large
 * will be answered. */
__noinline int note_path_mtu(struct __sk_buff *skb)
{
	struct svclb_path_mtu path = {.seen_s = now_s()};
	struct work *work = work_on();
	struct svclb_path_key key = {};
	const struct packet *pkt;
	const __be32 *own;
	struct {
		__u8 type;
		__u8 code;
		__u16 check;
		__be32 mtu;
	} icmp;

	if (!work)
		return 0;
	pkt = &work->pkt;
	own = node_address(pkt->v6);
	if (!own || !same_addr(own, pkt->tuple.daddr) || bpf_skb_load_bytes(skb, pkt->l4, &icmp, sizeof(icmp)))
		return 0;
	if (pkt->v6 ? icmp.type != ICMPV6_PKT_TOOBIG : icmp.type != ICMP_DEST_UNREACH || icmp.code != ICMP_FRAG_NEEDED)
		return 0;
	work->quoted.v6 = pkt->v6;
	work->quoted.l3 = pkt->l4 + ICMP_SIZE;
	if (!(pkt->v6 ? read_quoted_v6(skb, &work->quoted) : read_quoted_v4(skb, &work->quoted)) ||
	    work->quoted.tuple.proto != outer_proto(pkt) || !same_addr(own, work->quoted.tuple.daddr))
		return 0;
	path.mtu = bpf_ntohl(icmp.mtu) & (pkt->v6 ? ~0u : 0xffff);
	if (path.mtu < least_mtu(pkt))
		return 0;
	copy_addr(key.addr, work->quoted.tuple.saddr);
	bpf_map_update_elem(&path_mtus, &key, &path, BPF_ANY);
	return 0;
}

static __always_inline bool may_be_fragmented(struct __sk_buff *skb, const struct packet *pkt)
{
	__be16 field = 0;

	return !pkt->v6 &&
	       !bpf_skb_load_bytes(skb, pkt->l3 + offsetof(struct iphdr, frag_off), &field, sizeof(field)) &&
	       !(field & bpf_htons(IP4_DONT_FRAGMENT));
}

#define ANY_SIZE 0xffff

/* The MTU of the way to the backend of `work.flow`. 0: not known, as always before 5.12. */
static __always_inline __u32 mtu_to_backend(struct __sk_buff *skb, const struct work *work)
{
	struct bpf_fib_lookup route;

	if (route_to_backend(skb, work, ANY_SIZE, &route) != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return 0;
	return route.mtu_result == ANY_SIZE ? 0 : route.mtu_result;
}

/* Does the way to the backend of `work.flow` lead out of a device where packets are unpacked at the other end? */
__noinline int has_way(struct __sk_buff *skb)
{
	struct bpf_fib_lookup route;
	struct work *work = work_on();
	__u32 device;
	long found;

	if (!work)
		return 0;
	found = route_to_backend(skb, work, 1, &route);
	device = route.ifindex;
	return (found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH) &&
	       bpf_map_lookup_elem(&uplink_devices, &device);
}

/* SCTP whose checksum is left to a device has passed none: it is from a socket of this very kernel (a container as the
 * client, nodes that are containers), and super-packets will follow. No program can encapsulate those. */
static __always_inline bool may_come_in_bulk(struct __sk_buff *skb, const struct packet *pkt)
{
	__u32 check = 0;

	return pkt->tuple.proto == IPPROTO_SCTP &&
	       (bpf_skb_load_bytes(skb, pkt->l4 + SCTP_CHECK_OFFSET, &check, sizeof(check)) || !check);
}

/* Can `work.pkt`, which begins `work.flow`, and what will follow it be encapsulated? */
__noinline int can_encapsulate(struct __sk_buff *skb)
{
	struct work *work = work_on();
	__u32 mtu, outer;

	if (!work || work->pkt.l3 != ETH_HLEN || skb->vlan_present || !is_for_us(skb) || !node_address(work->pkt.v6) ||
	    may_come_in_bulk(skb, &work->pkt) || !has_way(skb))
		return 0;
	outer = outer_size(&work->pkt);
	mtu = mtu_to_backend(skb, work);
	if (mtu < least_mtu(&work->pkt))
		return 0;
	/* Who lets routers fragment may not listen to what is said about its packets' size. */
	return wire_size(skb, &work->pkt) + outer <= mtu || !may_be_fragmented(skb, &work->pkt);
}

/*
 * `work.flow` has just been opened in the ordinary way, to a frontend with direct server return: its source stays the
 * client, and where the backend is on another node its packets are encapsulated.
 */
__noinline int note_dsr(struct __sk_buff *skb)
{
	const struct svclb_backend *backend;
	struct work *work = work_on();
	struct svclb_flow *entry;
	bool known;
	__u8 flags;

	if (!work || work->pkt.tuple.direction != SVCLB_FROM_WIRE || work->flow.kind != SVCLB_FLOW_FORWARD)
		return 0;
	backend = find_backend(work->flow.service, work->flow.addr, work->flow.port);
	if (!backend)
		return 0;
	flags = backend->flags;
	/* Who is sent to itself would see its own address as the client's, on a packet from outside. */
	known = backend->node != SVCLB_NONE && !same_addr(work->flow.addr, work->pkt.tuple.saddr);
	if (flags & SVCLB_BACKEND_ON_NODE) {
		set_masqueraded(work, SVCLB_MASQUERADED_NOT);
		return 0;
	}
	entry = find_transient(&work->pkt.tuple, work->pkt.v6);
	if (!entry || !known || !can_encapsulate(skb)) {
		count_reason(&work->pkt, SVCLB_REASON_DSR_NOT_POSSIBLE);
		return 0;
	}
	/* No answer comes this way: whose tuple it is, the backend's node decides. */
	reply_key(&work->reply_at, &work->pkt.tuple, &work->flow);
	remove_transient(&work->reply_at, work->pkt.v6);
	work->flow.kind = SVCLB_FLOW_ENCAPSULATED;
	work->flow.client_port = work->pkt.tuple.sport;
	work->flow.masqueraded = SVCLB_MASQUERADED_NOT;
	*entry = work->flow;
	return 0;
}

static __always_inline void fill_outer4(struct iphdr *ip, const struct packet *pkt, const __be32 *from,
					const __be32 *to, __u8 traffic_class)
{
	__u32 length = IP4_SIZE + pkt->end - pkt->l3;

	ip->version = 4;
	ip->ihl = IP4_SIZE / 4;
	ip->tos = traffic_class & DSCP_MASK;
	ip->tot_len = length > 0xffff ? 0 : bpf_htons(length); /* of a segmentation-offload packet only */
	ip->frag_off = bpf_htons(IP4_DONT_FRAGMENT);
	ip->ttl = OUTER_TTL;
	ip->protocol = IPPROTO_IPIP;
	ip->saddr = from[3];
	ip->daddr = to[3];
	ip->check = csum_fold(sum_words((__be32 *)ip, IP4_SIZE / 4, 0));
}

static __always_inline void fill_outer6(struct ipv6hdr *ip, const struct packet *pkt, const __be32 *from,
					const __be32 *to, __u8 traffic_class)
{
	__u32 length = pkt->end - pkt->l3;

	ip->version = 6;
	ip->priority = traffic_class >> 4;
	ip->flow_lbl[0] = (traffic_class & DSCP_MASK) << 4;
	ip->payload_len = length > 0xffff ? 0 : bpf_htons(length);
	ip->nexthdr = IPPROTO_IPV6;
	ip->hop_limit = OUTER_TTL;
	copy_addr(ip->saddr.in6_u.u6_addr32, from);
	copy_addr(ip->daddr.in6_u.u6_addr32, to);
}

/* Puts `work.pkt` into a packet to the backend of `work.flow`. 0, or negative. */
__noinline int put_outer(struct __sk_buff *skb)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	struct work *work = work_on();
	const struct packet *pkt;
	const __be32 *own;
	__u8 start[2];
	__u32 size;

	if (!work)
		return -1;
	pkt = &work->pkt;
	own = node_address(pkt->v6);
	if (!own || bpf_skb_load_bytes(skb, ETH_HLEN, start, sizeof(start)))
		return -1;
	size = outer_size(pkt);
	flags |= pkt->v6 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
	if (bpf_skb_adjust_room(skb, size, BPF_ADJ_ROOM_MAC, flags))
		return -1;
	__builtin_memset(work->quote, 0, IP6_SIZE);
	if (!pkt->v6) {
		fill_outer4((struct iphdr *)work->quote, pkt, own, work->flow.addr, start[1]);
		return bpf_skb_store_bytes(skb, ETH_HLEN, work->quote, IP4_SIZE, BPF_F_RECOMPUTE_CSUM);
	}
	fill_outer6((struct ipv6hdr *)work->quote, pkt, own, work->flow.addr, start[0] << 4 | start[1] >> 4);
	return bpf_skb_store_bytes(skb, ETH_HLEN, work->quote, IP6_SIZE, BPF_F_RECOMPUTE_CSUM);
}

/* Tells the client that `work.pkt` is larger than `mtu`. Returns the verdict. */
__noinline int tell_too_big(struct __sk_buff *skb, __u32 mtu)
{
	struct work *work = work_on();
	const struct packet *pkt;

	if (!work)
		return VERDICT_DROP;
	pkt = &work->pkt;
	count_reason(pkt, SVCLB_REASON_DSR_TOO_BIG);
	if (!is_unicast(skb, pkt))
		return VERDICT_DROP;
	if (!may_answer(pkt))
		return drop(pkt, SVCLB_REASON_REJECT_RATE_LIMITED);
	if (answer_too_big(skb, work, mtu))
		return drop(pkt, SVCLB_REASON_REJECT_FAILED);
	return send_back(skb);
}

/*
 * Sends `work.pkt` to the backend of `work.flow`, past the node's own forwarding: that would take it for a martian,
 * with the node's address as its source, and connection tracking would see one direction only.
 */
__noinline int encapsulate(struct __sk_buff *skb)
{
	struct bpf_redir_neigh next = {};
	struct bpf_fib_lookup route;
	struct work *work = work_on();
	__u32 size, outer, mtu;
	long found;

	if (!work)
		return VERDICT_DROP;
	if (!is_for_us(skb))
		return VERDICT_NEXT;
	if (!node_address(work->pkt.v6))
		return drop(&work->pkt, SVCLB_REASON_NO_NODE_ADDRESS);
	/* Its first packet came with the usual headers (can_encapsulate). */
	if (work->pkt.l3 != ETH_HLEN)
		return drop(&work->pkt, SVCLB_REASON_REWRITE_FAILED);
	size = wire_size(skb, &work->pkt);
	outer = outer_size(&work->pkt);
	mtu = size + outer > least_mtu(&work->pkt) ? told_mtu(work) : 0;
	if (mtu && size + outer > mtu)
		return tell_too_big(skb, mtu - outer);
	found = route_to_backend(skb, work, size + outer, &route);
	if (found == BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return tell_too_big(skb, route.mtu_result - outer);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return drop(&work->pkt, SVCLB_REASON_DSR_UNROUTED);
	count_packet(&work->pkt, work->flow.service, work->flow.backend);
	if (put_outer(skb))
		return drop(&work->pkt, SVCLB_REASON_REWRITE_FAILED);
	next.nh_family = route.family;
	if (route.family == FIB_INET6)
		copy_addr(next.ipv6_nh, route.ipv6_dst);
	else
		next.ipv4_nh = route.ipv4_dst;
	return bpf_redirect_neigh(route.ifindex, &next, sizeof(next), 0);
}

#endif
