/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What comes from outside to node ports, externalIPs and load-balancer addresses, and the answers to it. At an uplink's
 * ingress the destination becomes the backend, and the node's stack forwards the packet: routes, neighbours and the
 * path's MTU are its business. Where the backend is to see the node as its client, or would answer past us, the
 * source becomes the node's at the next device (source.bpf.h). The answers go the same way back, step by step.
 */
#ifndef SVCLB_UPLINK_BPF_H
#define SVCLB_UPLINK_BPF_H

#include "dsr.bpf.h"
#include "dsr_unwrap.bpf.h"
#include "flow_life.bpf.h"
#include "fragment.bpf.h"
#include "icmp.bpf.h"
#include "past_stack.bpf.h"
#include "service.bpf.h"
#include "source.bpf.h"
#include "uplink_rules.bpf.h"

/* Of a tunnel's packet. Before 5.14 those of IPIP and the like still have the outer headers in front of them. */
static __always_inline bool has_outer_headers(struct __sk_buff *skb)
{
	__u8 version = skb->protocol == bpf_htons(ETH_P_IPV6) ? 6 : 4;
	__u32 first[IP4_SIZE / 4], ip[IP4_SIZE / 4];

	if (bpf_skb_load_bytes(skb, 0, first, sizeof(first)) ||
	    bpf_skb_load_bytes_relative(skb, 0, ip, sizeof(ip), BPF_HDR_START_NET))
		return false;
	return *(__u8 *)ip >> 4 == version &&
	       (first[0] != ip[0] || first[1] != ip[1] || first[2] != ip[2] || first[3] != ip[3] || first[4] != ip[4]);
}

/* A new flow from outside. VERDICT_NONE, or a verdict. */
static __always_inline int open_from_wire(struct __sk_buff *skb)
{
	const struct svclb_frontend *frontend;
	struct work *work = work_on();
	const struct packet *pkt;
	int result;
	__u8 flags;

	if (!work)
		return VERDICT_DROP;
	pkt = &work->pkt;
	frontend = find_frontend(&pkt->tuple);
	if (closed_to_outside(frontend))
		return drop(pkt, SVCLB_REASON_CLUSTER_IP_FROM_OUTSIDE);
	if (!frontend)
		return reject(skb, SVCLB_REASON_UNKNOWN_PORT_REJECTED);
	flags = frontend->flags;
	result = open_to(work, frontend);
	if (result) /* one that is taken over stays whose it was (takes_over) */
		return opens_flow(pkt) ? refuse(skb, pkt, result) : pass(pkt, SVCLB_REASON_NO_FLOW);
	if (flags & SVCLB_FRONTEND_DSR)
		note_dsr(skb);
	return VERDICT_NONE;
}

/* `work.pkt` is of a connection that this node does not know. With direct server return and Maglev another node would
 * have led it where this one does: it goes on from here. Without, only that node knows what its backend sees. */
static __always_inline bool takes_over(const struct packet *pkt, const struct svclb_frontend *frontend)
{
	const struct svclb_service *service;
	__u32 index = frontend->service;

	if (!(frontend->flags & SVCLB_FRONTEND_DSR) || pkt->tcp_flags & (TCP_SYN | TCP_RST))
		return false;
	service = bpf_map_lookup_elem(&services, &index);
	return service && service->algorithm == SVCLB_ALGORITHM_MAGLEV;
}

/* `work.pkt` has no established flow. VERDICT_NONE: `work.flow` says how to translate. */
__noinline int begin_from_wire(struct __sk_buff *skb)
{
	const struct svclb_wire_filters *wire = wire_filter_bytes();
	const struct svclb_filters *bytes = filter_bytes();
	const struct svclb_frontend *frontend;
	struct work *work = work_on();
	const struct packet *pkt;
	__u32 index;
	int result;

	if (!work || !wire || !bytes)
		return VERDICT_NEXT;
	pkt = &work->pkt;
	if (found_transient())
		return VERDICT_NONE;
	index = filter_index(pkt->tuple.daddr, pkt->tuple.dport);
	if (is_frontend_address(bytes, &pkt->tuple)) {
		frontend = find_frontend(&pkt->tuple);
		if (frontend || is_cluster_ip(&pkt->tuple)) {
			/* Begun before we came: whoever translated it then, or the kernel's conntrack, still does. */
			if (!opens_flow(pkt) && !(frontend && takes_over(pkt, frontend)))
				return pass(pkt, SVCLB_REASON_NO_FLOW);
			return open_from_wire(skb);
		}
	}
	if (!opens_flow(pkt)) {
		note_unknown();
		return VERDICT_NEXT;
	}
	if (!wire->reply[index])
		return VERDICT_NEXT;
	result = meet_direct();
	if (result < 0)
		return drop(pkt, REFUSED_REASON(result));
	return result ? VERDICT_NONE : VERDICT_NEXT;
}

static __always_inline int handle_from_wire(struct __sk_buff *skb, struct work *work)
{
	const struct svclb_wire_filters *wire = wire_filter_bytes();
	const struct svclb_filters *bytes = filter_bytes();
	const struct packet *pkt = &work->pkt;
	int verdict;

	if (!bytes || !wire)
		return VERDICT_NEXT;
	if (!may_have_flow(bytes, &pkt->tuple)) {
		if (!opens_flow(pkt))
			return VERDICT_NEXT;
		/* Else it would go to and fro between the node and the router that sent it here. */
		if (in_service_cidr(pkt->tuple.daddr))
			return drop(pkt, SVCLB_REASON_UNALLOCATED_DROPPED);
		if (!wire->reply[filter_index(pkt->tuple.daddr, pkt->tuple.dport)])
			return VERDICT_NEXT;
	}
	if (!found_established(work)) {
		verdict = begin_from_wire(skb);
		if (verdict == VERDICT_NONE && work->flow.masqueraded)
			verdict = keep_source(skb);
		if (verdict != VERDICT_NONE)
			return verdict;
	}
	return work->flow.kind == SVCLB_FLOW_ENCAPSULATED ? VERDICT_ENCAPSULATE : translate(skb, work);
}

/*
 * `work.pkt` leaves for a frontend's address, by way of the stack. Of a connection that neither we nor the kernel's
 * conntrack knows, it would go to and fro between the node and the router that sent it here: with all that its client
 * needs to know it goes back once. Not what a pod sends: an external address may still be another machine's.
 */
__noinline int send_back_unknown(struct __sk_buff *skb)
{
	struct work *work = work_on();
	__u32 device = skb->ingress_ifindex;
	int verdict, refused;

	if (!work || opens_flow(&work->pkt) || !find_frontend(&work->pkt.tuple))
		return VERDICT_NEXT;
	/* A bridge that the uplink is a port of sends on what is for others. */
	if ((work->pkt.l3 && !is_for_us(skb)) || !bpf_map_lookup_elem(&uplink_devices, &device))
		return VERDICT_NEXT;
	/* Who would meet silence may have come to the wrong node: the right one has its connection. */
	refused = refused_by_frontend(work);
	if (refused && refused != REFUSE(NO_BACKEND_REJECTED))
		return drop(&work->pkt, REFUSED_REASON(refused));
	if (work->pkt.fragment) /* what it became would be remembered for the others */
		return drop(&work->pkt, SVCLB_REASON_NO_FLOW_REJECTED);
	verdict = make_refusal(skb, work, SVCLB_REASON_NO_FLOW_REJECTED);
	return verdict == VERDICT_NONE ? VERDICT_NEXT : verdict;
}

static __always_inline int handle_to_wire(struct __sk_buff *skb, struct work *work)
{
	const struct svclb_wire_filters *wire = wire_filter_bytes();
	const struct svclb_filters *bytes = filter_bytes();
	int verdict;

	if (!wire || !bytes)
		return VERDICT_NEXT;
	verdict = translate_outward(skb, work, wire->reply);
	if (verdict != VERDICT_NEXT || work->pkt.translated || !skb->ingress_ifindex ||
	    !is_frontend_address(bytes, &work->pkt.tuple))
		return verdict;
	return send_back_unknown(skb);
}

/* A packet without ports: an error about a flow, or a fragment. VERDICT_NONE: neither. */
__noinline int portless_wire(struct __sk_buff *skb, __u32 parsed)
{
	struct work *work = work_on();

	if (!work || parsed == PARSED_NOT_IP || parsed == PARSED_NO_ADDRESSES)
		return VERDICT_NEXT;
	if (parsed == PARSED_LATER)
		return later_fragment(skb);
	if (parsed == PARSED_OTHER && is_icmp(&work->pkt)) {
		int verdict = translate_error(skb);

		if (verdict != VERDICT_NONE)
			return verdict;
		if (work->pkt.tuple.direction == SVCLB_FROM_WIRE)
			note_path_mtu(skb);
	}
	return VERDICT_NONE;
}

/* Neither, and from outside. A ping to a ClusterIP and the like is answered only where it may be dialled from there. */
__noinline int portless_from_wire(struct __sk_buff *skb, __u32 parsed)
{
	const struct svclb_filters *bytes = filter_bytes();
	struct work *work = work_on();
	const struct packet *pkt;

	if (!work || !bytes)
		return VERDICT_NEXT;
	pkt = &work->pkt;
	if (bytes->frontend[filter_index(pkt->tuple.daddr, 0)] && is_cluster_ip(&pkt->tuple))
		return settings.external_cluster_ip ? portless_to_frontend(skb, parsed)
						    : drop(pkt, SVCLB_REASON_CLUSTER_IP_FROM_OUTSIDE);
	return drop_unallocated(skb, parsed);
}

static __always_inline int handle_wire(struct __sk_buff *skb, struct work *work, __u32 parsed, bool going_out)
{
	int verdict;

	work->host = 0;
	if (!going_out && parsed == PARSED_OTHER && is_encapsulated(&work->pkt))
		parsed = unwrap(skb);
	if (parsed == PARSED_FRAGMENT)
		parsed = open_fragment(skb);
	if (parsed != PARSED_PORTS) {
		verdict = portless_wire(skb, parsed);
		if (verdict == VERDICT_NONE)
			verdict = going_out ? VERDICT_NEXT : portless_from_wire(skb, parsed);
	} else {
		verdict = going_out ? handle_to_wire(skb, work) : handle_from_wire(skb, work);
		if (work->pkt.fragment)
			verdict = after_first_fragment(skb, verdict);
	}
	if (going_out)
		return verdict;
	if (verdict == VERDICT_ENCAPSULATE)
		return encapsulate(skb);
	return verdict == VERDICT_NEXT && leaves_again(work, parsed) ? past_stack(skb) : verdict;
}

#endif
