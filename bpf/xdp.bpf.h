/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The short way of a packet that comes in by an uplink and leaves by one: of a client outside to a backend on another
 * node, and back. Both steps of its translation are made at once and the frame goes out again before the kernel has
 * made anything of it. And the end of what may begin no flow (early_drop.bpf.h). Flows are only read here. Whatever
 * takes more goes up untouched, to from_uplink, which knows it all; so does a packet of each flow in every tick, which
 * keeps fresh what ages: the flow's own time, neighbours, and what the kernel's connection tracking knows of datagrams.
 */
#ifndef SVCLB_XDP_BPF_H
#define SVCLB_XDP_BPF_H

#include "early_drop.bpf.h"
#include "flow.bpf.h"
#include "maps.bpf.h"
#include "nat.bpf.h"
#include "parse.bpf.h"
#include "service.bpf.h"
#include "uplink_rules.bpf.h"
#include "verdict.bpf.h"
#include "work.bpf.h"

#define XDP_FIB_INET 2 /* AF_INET */
#define XDP_FIB_INET6 10 /* AF_INET6 */
#define IP6_FLOWINFO_MASK 0x0fffffff

static __always_inline bool read_plain4(void *data, void *data_end, struct packet *pkt)
{
	const struct iphdr *ip = data + ETH_HLEN;

	if ((void *)(ip + 1) > data_end || ip->version != 4 || ip->ihl != 5 || ip->ttl <= 1 ||
	    ip->frag_off & bpf_htons(IP4_FRAGMENT_MASK))
		return false;
	set_v4(pkt->tuple.saddr, ip->saddr);
	set_v4(pkt->tuple.daddr, ip->daddr);
	pkt->tuple.proto = ip->protocol;
	pkt->ip_check = ip->check;
	pkt->end = ETH_HLEN + bpf_ntohs(ip->tot_len);
	return pkt->end <= pkt->length && parse_transport(data, data_end, ETH_HLEN + IP4_SIZE, pkt) == PARSED_PORTS;
}

static __always_inline bool read_plain6(void *data, void *data_end, struct packet *pkt)
{
	const struct ipv6hdr *ip = data + ETH_HLEN;

	if ((void *)(ip + 1) > data_end || ip->version != 6 || ip->hop_limit <= 1)
		return false;
	copy_addr(pkt->tuple.saddr, ip->saddr.in6_u.u6_addr32);
	copy_addr(pkt->tuple.daddr, ip->daddr.in6_u.u6_addr32);
	pkt->tuple.proto = ip->nexthdr;
	pkt->end = ETH_HLEN + IP6_SIZE + bpf_ntohs(ip->payload_len);
	return pkt->end <= pkt->length && !is_v4_mapped(pkt->tuple.saddr) && !is_v4_mapped(pkt->tuple.daddr) &&
	       parse_transport(data, data_end, ETH_HLEN + IP6_SIZE, pkt) == PARSED_PORTS;
}

/* With ports and the usual headers? */
static __always_inline bool read_plain(struct xdp_md *ctx, struct packet *pkt)
{
	void *data_end = (void *)(long)ctx->data_end;
	void *data = (void *)(long)ctx->data;
	const struct ethhdr *eth = data;
	bool plain;

	if ((void *)(eth + 1) > data_end)
		return false;
	pkt->length = data_end - data;
	pkt->l3 = ETH_HLEN;
	pkt->v6 = eth->h_proto == bpf_htons(ETH_P_IPV6);
	if (pkt->v6)
		plain = read_plain6(data, data_end, pkt);
	else
		plain = eth->h_proto == bpf_htons(ETH_P_IP) && read_plain4(data, data_end, pkt);
	pkt->tuple.direction = SVCLB_FROM_WIRE;
	pkt->tuple.pad = 0;
	return plain;
}

/* Of TCP or UDP, and neither begins nor ends a connection? */
static __always_inline bool is_in_the_middle(const struct packet *pkt)
{
	return pkt->tuple.proto != IPPROTO_SCTP && !(pkt->tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST));
}

/* Nothing about the flow waits to be written: it has had a packet in this tick, and its backend is known to serve. */
static __always_inline bool is_fresh(const struct svclb_flow *flow, __u8 proto)
{
	const struct svclb_service *service;
	__u32 index = flow->service;

	if (flow->tick != (__u32)(bpf_jiffies64() >> JIFFIES_PER_TICK_SHIFT) || flow->reset)
		return false;
	if (has_connections(proto) || flow->kind != SVCLB_FLOW_FORWARD)
		return true;
	service = bpf_map_lookup_elem(&services, &index);
	return service && *(volatile const __u32 *)&service->epoch == flow->epoch;
}

/* The flow at `at`, if nothing about it is to be changed by the client's next packet: it is established, or consists of
 * datagrams that have not been answered yet. */
static __always_inline const struct svclb_flow *find_settled(struct work *work, const struct svclb_flow_key6 *at)
{
	bool v6 = work->pkt.v6;
	const struct svclb_flow *reply;
	struct svclb_flow *flow = find_established(at, v6);

	if (flow || has_connections(at->proto))
		return flow;
	flow = find_transient(at, v6);
	if (!flow || (flow->kind != SVCLB_FLOW_FORWARD && flow->kind != SVCLB_FLOW_SOURCE))
		return NULL;
	reply_key(&work->reply_at, at, flow);
	reply = find_transient(&work->reply_at, v6);
	return reply && answers_to(reply, at) && !reply->answered ? flow : NULL;
}

/* Both steps of the way of `flow` are known: `work.source_at` is the packet between them, `work.wire.to` what it
 * becomes. */
static __always_inline bool find_way(struct work *work, const struct svclb_flow *flow)
{
	const struct svclb_flow_key6 *tuple = &work->pkt.tuple;
	struct svclb_flow_key6 *between = &work->source_at;
	__u8 second;

	if (!is_fresh(flow, tuple->proto))
		return false;
	if (flow->kind == SVCLB_FLOW_FORWARD && flow->masqueraded == SVCLB_MASQUERADED_AT_UPLINK)
		second = SVCLB_FLOW_SOURCE;
	else if (flow->kind == SVCLB_FLOW_SOURCE_REPLY)
		second = SVCLB_FLOW_REPLY;
	else
		return false;
	translation(&work->wire.to, tuple, flow);
	copy_addr(between->saddr, work->wire.to.saddr);
	copy_addr(between->daddr, work->wire.to.daddr);
	between->sport = work->wire.to.sport;
	between->dport = work->wire.to.dport;
	between->direction = SVCLB_TO_WIRE;
	same_protocol(between, tuple);
	work->flow.service = flow->service;
	work->flow.backend = flow->backend;
	flow = find_settled(work, between);
	if (!flow || flow->kind != second || !is_fresh(flow, tuple->proto))
		return false;
	translation(&work->wire.to, between, flow);
	return true;
}

/*
 * The transport checksum after translation. False where it cannot be told: a field that holds the pseudo header's sum
 * is for a device to fill in, and once the frame is out of the kernel's hands none will.
 */
static __always_inline bool new_check(const struct packet *pkt, const struct rewrite *to, __u16 *check)
{
	bool udp = pkt->tuple.proto == IPPROTO_UDP;
	__u16 old = *check;

	if (!old)
		return udp && !pkt->v6;
	if (old == (__u16)~csum_fold(pseudo_sum(pkt, pkt->tuple.proto, pkt->end - pkt->l4)))
		return false;
	old = csum_fold(csum_add(ports_diff(pkt, to, addr_diff(pkt, to)), (__u16)~old));
	*check = udp && !old ? 0xffff : old;
	return true;
}

/* Where the packet between the two steps is routed, as the stack would do it: false leaves it to the stack. */
static __always_inline bool find_exit(struct xdp_md *ctx, const struct work *work, struct bpf_fib_lookup *route)
{
	const struct svclb_flow_key6 *between = &work->source_at;

	route->ifindex = ctx->ingress_ifindex;
	route->l4_protocol = between->proto;
	route->sport = between->sport;
	route->dport = between->dport;
	route->tot_len = work->pkt.end - ETH_HLEN;
	if (work->pkt.v6) {
		route->family = XDP_FIB_INET6;
		copy_addr(route->ipv6_src, between->saddr);
		copy_addr(route->ipv6_dst, between->daddr);
	} else {
		route->family = XDP_FIB_INET;
		route->ipv4_src = between->saddr[3];
		route->ipv4_dst = between->daddr[3];
	}
	return bpf_fib_lookup(ctx, route, sizeof(*route), 0) == BPF_FIB_LKUP_RET_SUCCESS;
}

static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3] && a[4] == b[4] && a[5] == b[5];
}

/* XDP_TX, or XDP_REDIRECT to another uplink; XDP_PASS where the frame is not the node's, or that uplink cannot send
 * what this one's driver hands over. */
static __always_inline int exit_by(struct xdp_md *ctx, __u32 exit)
{
	void *data_end = (void *)(long)ctx->data_end;
	const struct svclb_xdp_link *link;
	const struct ethhdr *eth = (void *)(long)ctx->data;
	__u32 entry = ctx->ingress_ifindex;
	__u8 mode;

	link = bpf_map_lookup_elem(&xdp_links, &entry);
	if (!link || (void *)(eth + 1) > data_end || !same_mac(eth->h_dest, link->mac))
		return XDP_PASS;
	if (exit == entry)
		return XDP_TX;
	mode = link->mode;
	link = bpf_map_lookup_elem(&xdp_links, &exit);
	return link && link->mode == mode ? XDP_REDIRECT : XDP_PASS;
}

static __always_inline void count_action(const struct xdp_md *ctx, __u32 action)
{
	struct svclb_xdp_counter *counter = bpf_map_lookup_elem(&xdp_counters, &action);

	if (!counter)
		return;
	counter->packets++;
	counter->bytes += (void *)(long)ctx->data_end - (void *)(long)ctx->data;
}

static __always_inline void rewrite_ip4(struct iphdr *ip, const struct packet *pkt, const struct rewrite *to)
{
	__u32 sum = csum_add(addr_diff(pkt, to), (__u16)~ip->check);
	__u16 old = *(__u16 *)&ip->ttl;

	ip->ttl--;
	ip->check = csum_fold(word_diff(old, *(__u16 *)&ip->ttl, sum));
	ip->saddr = to->saddr[3];
	ip->daddr = to->daddr[3];
}

static __always_inline void rewrite_ip6(struct ipv6hdr *ip, const struct rewrite *to)
{
	ip->hop_limit--;
	copy_addr(ip->saddr.in6_u.u6_addr32, to->saddr);
	copy_addr(ip->daddr.in6_u.u6_addr32, to->daddr);
}

/* The frame is changed when nothing can fail any more. `v6` is a constant to the compiler. */
static __always_inline int turn(struct xdp_md *ctx, struct work *work, struct bpf_fib_lookup *route, bool v6)
{
	void *data_end = (void *)(long)ctx->data_end;
	const struct rewrite *to = &work->wire.to;
	struct ethhdr *eth = (void *)(long)ctx->data;
	void *ip = eth + 1;
	struct udphdr *udp = ip + (v6 ? IP6_SIZE : IP4_SIZE);
	struct tcphdr *tcp = (void *)udp;
	__u16 *check = &udp->check;
	__u16 computed;
	int action;

	if ((void *)(udp + 1) > data_end)
		return XDP_PASS;
	if (work->pkt.tuple.proto == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > data_end)
			return XDP_PASS;
		check = &tcp->check;
	} else if (bpf_ntohs(udp->len) != work->pkt.end - work->pkt.l4) {
		return XDP_PASS;
	}
	computed = *check;
	if (v6)
		route->flowinfo = *(__be32 *)ip & bpf_htonl(IP6_FLOWINFO_MASK);
	else
		route->tos = ((struct iphdr *)ip)->tos;
	if (!new_check(&work->pkt, to, &computed) || !find_exit(ctx, work, route))
		return XDP_PASS;
	action = exit_by(ctx, route->ifindex);
	if (action == XDP_PASS)
		return XDP_PASS;
	__builtin_memcpy(eth->h_dest, route->dmac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, route->smac, ETH_ALEN);
	if (v6)
		rewrite_ip6(ip, to);
	else
		rewrite_ip4(ip, &work->pkt, to);
	udp->source = to->sport;
	udp->dest = to->dport;
	*check = computed;
	return action;
}

/* `work.pkt` is of a flow. */
static __always_inline int turn_round(struct xdp_md *ctx, struct work *work, const struct svclb_flow *flow)
{
	const struct packet *pkt = &work->pkt;
	struct bpf_fib_lookup route = {};
	int action;

	if (!is_in_the_middle(pkt) || !find_way(work, flow))
		return XDP_PASS;
	action = pkt->v6 ? turn(ctx, work, &route, true) : turn(ctx, work, &route, false);
	if (action == XDP_PASS)
		return XDP_PASS;
	count_packet(pkt, work->flow.service, work->flow.backend);
	return action == XDP_REDIRECT ? bpf_redirect(route.ifindex, 0) : action;
}

static __always_inline int handle_frame(struct xdp_md *ctx, struct work *work)
{
	const struct svclb_filters *bytes = filter_bytes();
	const struct packet *pkt = &work->pkt;
	const struct svclb_flow *flow;

	if (!bytes || !read_plain(ctx, &work->pkt))
		return XDP_PASS;
	if (may_have_flow(bytes, &pkt->tuple)) {
		flow = find_settled(work, &pkt->tuple);
		if (flow)
			return turn_round(ctx, work, flow);
	}
	return opens_flow(pkt) && drops_early(work, bytes) ? XDP_DROP : XDP_PASS;
}

#endif
