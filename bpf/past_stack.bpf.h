/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What from_uplink itself sends on to another node where XDP serves the uplink: the packets of connections that XDP has
 * left to it. The kernel's connection tracking would see these alone, the first ones and the last, and no window
 * between them: firewalls drop what it calls invalid, and it would keep a connection of whose end it has not heard for
 * days. Datagrams have neither windows nor ends; theirs go by the stack.
 */
#ifndef SVCLB_PAST_STACK_BPF_H
#define SVCLB_PAST_STACK_BPF_H

#include "host.bpf.h"
#include "maps.bpf.h"
#include "nat.bpf.h"
#include "parse.bpf.h"
#include "work.bpf.h"

#define IP6_HOP_LIMIT_OFFSET 7
#define TCP_OFFSET_OFFSET 12 /* of the byte that has the header's length */

/* 0 = XDP does not serve the device. */
static __always_inline __u8 xdp_mode_of(__u32 ifindex)
{
	const struct svclb_xdp_link *link = bpf_map_lookup_elem(&xdp_links, &ifindex);

	return link ? link->mode : 0;
}

/* One hop less. False: there is none left, or the packet cannot be read. */
static __always_inline bool take_hop(struct __sk_buff *skb, const struct packet *pkt)
{
	__u32 at = pkt->l3 + (pkt->v6 ? IP6_HOP_LIMIT_OFFSET : IP4_TTL_OFFSET);
	__u16 old, fresh;
	__u8 hops[2]; /* IPv4: and the protocol, with which it makes a word of the checksum */

	if (bpf_skb_load_bytes(skb, at, hops, pkt->v6 ? 1 : 2) || hops[0] <= 1)
		return false;
	if (pkt->v6) {
		hops[0]--;
		return !bpf_skb_store_bytes(skb, at, hops, 1, BPF_F_RECOMPUTE_CSUM);
	}
	__builtin_memcpy(&old, hops, sizeof(old));
	hops[0]--;
	__builtin_memcpy(&fresh, hops, sizeof(fresh));
	return !bpf_l3_csum_replace(skb, pkt->l3 + IP4_CHECK_OFFSET, old, fresh, sizeof(fresh)) &&
	       !bpf_skb_store_bytes(skb, at, hops, 1, 0);
}

/* Of what a super-packet is cut into, as the IP header will have it. */
static __always_inline __u32 length_on_wire(struct __sk_buff *skb, const struct packet *pkt)
{
	__u8 words = 0;

	if (!skb->gso_size)
		return pkt->end - pkt->l3;
	if (pkt->tuple.proto == IPPROTO_TCP && bpf_skb_load_bytes(skb, pkt->l4 + TCP_OFFSET_OFFSET, &words, 1))
		return 0;
	return pkt->l4 - pkt->l3 + (words >> 4) * 4 + skb->gso_size;
}

/* `work.pkt` has been translated at an uplink's ingress, by `work.flow`. VERDICT_NEXT leaves it to the stack: also
 * where that has to answer it with an error. */
__noinline int past_stack(struct __sk_buff *skb)
{
	struct bpf_fib_lookup route = {};
	struct bpf_redir_neigh next = {};
	struct work *work = work_on();
	const struct packet *pkt;
	__u32 entry = skb->ifindex;
	__be32 addr[SVCLB_ADDR_WORDS];
	long found;

	if (!work || !xdp_mode_of(entry))
		return VERDICT_NEXT;
	pkt = &work->pkt;
	/* A tag, beside the packet or in it, is the stack's to take off. */
	if (skb->vlan_present || pkt->l3 != ETH_HLEN || !is_for_us(skb))
		return VERDICT_NEXT;
	if (load_destination(skb, pkt, addr))
		return VERDICT_NEXT;
	route.ifindex = entry;
	route.l4_protocol = pkt->tuple.proto;
	route.tot_len = length_on_wire(skb, pkt);
	if (pkt->v6) {
		route.family = FIB_INET6;
		copy_addr(route.ipv6_src, pkt->tuple.saddr);
		copy_addr(route.ipv6_dst, addr);
	} else {
		route.family = FIB_INET;
		route.ipv4_src = pkt->tuple.saddr[3];
		route.ipv4_dst = addr[3];
	}
	found = bpf_fib_lookup(skb, &route, sizeof(route), 0);
	if ((found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH) ||
	    xdp_mode_of(route.ifindex) != xdp_mode_of(entry))
		return VERDICT_NEXT;
	next.nh_family = route.family;
	if (route.family == FIB_INET6)
		copy_addr(next.ipv6_nh, route.ipv6_dst);
	else
		next.ipv4_nh = route.ipv4_dst;
	if (!take_hop(skb, pkt))
		return VERDICT_NEXT;
	return bpf_redirect_neigh(route.ifindex, &next, sizeof(next), 0);
}

/* Was the packet, or that which it is an error about, translated at an uplink's ingress, and is of a connection that
 * leaves by an uplink again? */
static __always_inline bool leaves_again(const struct work *work, __u32 parsed)
{
	__u8 proto = parsed == PARSED_PORTS ? work->pkt.tuple.proto : work->quoted.tuple.proto;
	const struct svclb_flow *flow = &work->flow;

	return work->pkt.translated && proto == IPPROTO_TCP && !work->pkt.fragment &&
	       (flow->kind == SVCLB_FLOW_SOURCE_REPLY ||
		(flow->kind == SVCLB_FLOW_FORWARD && flow->masqueraded == SVCLB_MASQUERADED_AT_UPLINK));
}

#endif
