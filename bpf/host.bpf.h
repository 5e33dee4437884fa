/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Packets of the node itself that no socket hook has translated. They are routed into a pair of devices, whose far end
 * is treated like a pod's link. The kernel's own forwarding is passed by in both directions: its connection tracking
 * would see only one of them, and firewalls drop what it calls invalid.
 */
#ifndef SVCLB_HOST_BPF_H
#define SVCLB_HOST_BPF_H

#include "flow.bpf.h"
#include "maps.bpf.h"
#include "parse.bpf.h"
#include "reject.bpf.h"
#include "verdict.bpf.h"
#include "work.bpf.h"

#define FIB_INET 2 /* AF_INET */
#define FIB_INET6 10 /* AF_INET6 */

static __always_inline void ask_route(struct __sk_buff *skb, const struct packet *pkt,
				      const __be32 addr[SVCLB_ADDR_WORDS], struct bpf_fib_lookup *route)
{
	__builtin_memset(route, 0, sizeof(*route));
	route->ifindex = skb->ifindex;
	route->l4_protocol = pkt->tuple.proto;
	if (pkt->v6) {
		route->family = FIB_INET6;
		copy_addr(route->ipv6_dst, addr);
	} else {
		route->family = FIB_INET;
		route->ipv4_dst = addr[3];
	}
}

static __always_inline long look_up_route(struct __sk_buff *skb, const struct packet *pkt,
					  const __be32 addr[SVCLB_ADDR_WORDS], struct bpf_fib_lookup *route)
{
	ask_route(skb, pkt, addr, route);
	return bpf_fib_lookup(skb, route, sizeof(*route), 0);
}

/* Is the frame for this node? The stack forwards no other: an uplink may take in whatever passes by, and every node has
 * the same load balancer's addresses. */
static __always_inline bool is_for_us(const struct __sk_buff *skb)
{
	return skb->pkt_type == PACKET_HOST;
}

/* Notes whether the packet is of one of the node's addresses. Packets of pods may come this way as well: their links
 * may not be known yet. False: the far end does not forward, so that nobody can tell, and a pod's would get no further.
 */
__noinline int tell_sender(struct __sk_buff *skb)
{
	struct bpf_fib_lookup route;
	struct work *work = work_on();
	long found;

	if (!work)
		return 0;
	found = look_up_route(skb, &work->pkt, work->pkt.tuple.saddr, &route);
	work->host = found == BPF_FIB_LKUP_RET_NOT_FWDED;
	return found != BPF_FIB_LKUP_RET_FWD_DISABLED;
}

/* The packet's destination as it is now. */
static __always_inline long load_destination(struct __sk_buff *skb, const struct packet *pkt,
					     __be32 addr[SVCLB_ADDR_WORDS])
{
	addr[0] = 0;
	addr[1] = 0;
	addr[2] = pkt->tuple.daddr[2];
	if (pkt->v6)
		return bpf_skb_load_bytes(skb, pkt->l3 + offsetof(struct ipv6hdr, daddr), addr, 16);
	return bpf_skb_load_bytes(skb, pkt->l3 + offsetof(struct iphdr, daddr), &addr[3], 4);
}

/*
 * The last step of a packet that came through the catch-all, and never back to it: on to the backend where it has been
 * translated, else refused. A pod's goes through the node's stack, so that network policies see it.
 */
__noinline int leave_host(struct __sk_buff *skb, __u32 parsed)
{
	struct svclb_filters *bytes = filter_bytes();
	struct bpf_fib_lookup route;
	struct work *work = work_on();
	__be32 addr[SVCLB_ADDR_WORDS];
	__u32 zero = 0, link;
	long found;

	if (!work || !bytes || load_destination(skb, &work->pkt, addr))
		return VERDICT_DROP;
	if (same_addr(addr, work->pkt.tuple.daddr))
		return parsed == PARSED_PORTS ? reject(skb, SVCLB_REASON_HOST_PACKET_REFUSED)
					      : drop(&work->pkt, SVCLB_REASON_HOST_PACKET_REFUSED);
	if (!work->host)
		return VERDICT_NEXT;
	found = look_up_route(skb, &work->pkt, addr, &route);
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH)
		return drop(&work->pkt, SVCLB_REASON_HOST_PACKET_UNROUTED);
	link = skb->ifindex;
	bpf_map_update_elem(&host_link, &zero, &link, BPF_ANY);
	bytes->direct[filter_index(work->pkt.tuple.saddr, 0)] = 1;
	/* With the next hop left to the helper, the packet has its route with it: tunl0 sends none without. */
	return bpf_redirect_neigh(route.ifindex, NULL, 0, 0);
}

/* If `work.pkt` answers a flow of the node itself: to the catch-all, behind which to_pod translates it. */
__noinline int to_host(struct __sk_buff *skb)
{
	const struct svclb_flow *flow;
	struct work *work = work_on();
	const __u32 *link;
	__u32 zero = 0;
	struct {
		__u8 to[ETH_ALEN];
		__u8 from[ETH_ALEN];
		__be16 protocol;
	} mac = {.to = SVCLB_HOST_LINK_MAC};

	if (!work)
		return VERDICT_NONE;
	work->pkt.tuple.direction = SVCLB_TO_POD;
	flow = find_entry(&work->pkt.tuple, work->pkt.v6);
	work->pkt.tuple.direction = SVCLB_FROM_POD;
	link = bpf_map_lookup_elem(&host_link, &zero);
	if (!flow || !link || !flow->host || flow->kind != SVCLB_FLOW_REPLY)
		return VERDICT_NONE;
	mac.protocol = bpf_htons(work->pkt.v6 ? ETH_P_IPV6 : ETH_P_IP);
	if (work->pkt.l3 ? bpf_skb_store_bytes(skb, 0, mac.to, sizeof(mac.to), 0)
			 : bpf_skb_change_head(skb, ETH_HLEN, 0) || bpf_skb_store_bytes(skb, 0, &mac, sizeof(mac), 0))
		return drop(&work->pkt, SVCLB_REASON_REWRITE_FAILED);
	return bpf_redirect(*link, 0);
}

#endif
