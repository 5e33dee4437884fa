/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a pod sends and gets, and the node itself by way of the catch-all. */
#ifndef SVCLB_POD_BPF_H
#define SVCLB_POD_BPF_H

#include "flow_life.bpf.h"
#include "fragment.bpf.h"
#include "host.bpf.h"
#include "icmp.bpf.h"
#include "maps.bpf.h"
#include "parse.bpf.h"
#include "reject.bpf.h"
#include "service.bpf.h"
#include "source.bpf.h"
#include "verdict.bpf.h"
#include "work.bpf.h"

static __always_inline int refuse(struct __sk_buff *skb, const struct packet *pkt, int result)
{
	__u32 reason = REFUSED_REASON(result);

	return reason == SVCLB_REASON_NO_BACKEND_REJECTED ? reject(skb, reason) : drop(pkt, reason);
}

/* `work.pkt` has no flow. Begins one where there ought to be one, else gives a verdict.
 * VERDICT_NONE: `work.flow` says how to translate. */
__noinline int begin(struct __sk_buff *skb)
{
	struct svclb_filters *bytes = filter_bytes();
	const struct svclb_frontend *frontend;
	struct work *work = work_on();
	const struct packet *pkt;
	__u32 index;
	int result;

	if (!work || !bytes)
		return VERDICT_NEXT;
	pkt = &work->pkt;
	if (found_transient())
		return VERDICT_NONE;
	frontend = find_frontend(&pkt->tuple);
	if (frontend || is_cluster_ip(&pkt->tuple)) {
		/* Begun before we came, or already forgotten by both ends: the kernel's conntrack may know better. */
		if (!opens_flow(pkt))
			return pass(pkt, SVCLB_REASON_NO_FLOW);
		if (!frontend)
			return reject(skb, SVCLB_REASON_UNKNOWN_PORT_REJECTED);
		result = open_to(work, frontend);
		return result ? refuse(skb, pkt, result) : VERDICT_NONE;
	}
	if (has_connections(pkt->tuple.proto) && !(pkt->tcp_flags & TCP_SYN)) {
		note_unknown();
		return VERDICT_NEXT;
	}
	index = filter_index(pkt->tuple.daddr, pkt->tuple.dport);
	if (bytes->reply[index] || bytes->backend[index]) {
		result = meet_direct();
		if (result < 0)
			return drop(pkt, REFUSED_REASON(result));
		return result ? VERDICT_NONE : VERDICT_NEXT;
	}
	if (!(pkt->tcp_flags & TCP_ACK) && in_service_cidr(pkt->tuple.daddr))
		return drop(pkt, SVCLB_REASON_UNALLOCATED_DROPPED);
	return VERDICT_NEXT;
}

/* Can the packet concern us though it has no established flow? Most packets that are not for a frontend end here. */
static __always_inline bool may_begin(const struct packet *pkt, const struct svclb_filters *bytes, bool may_have_flow,
				      __u32 index)
{
	if (may_have_flow)
		return true;
	if (has_connections(pkt->tuple.proto) && !(pkt->tcp_flags & TCP_SYN))
		return false;
	return bytes->reply[index] || bytes->backend[index] || (!(pkt->tcp_flags & TCP_ACK) && has_service_cidr());
}

static __always_inline int handle_from_pod(struct __sk_buff *skb, struct work *work, const struct svclb_filters *bytes)
{
	const struct packet *pkt = &work->pkt;
	__u32 index = filter_index(pkt->tuple.daddr, pkt->tuple.dport);
	bool may_have_flow = bytes->frontend[filter_index(pkt->tuple.daddr, 0)] || bytes->direct[index];
	int verdict;

	if (bytes->direct[filter_index(pkt->tuple.daddr, 0)]) {
		verdict = pkt->fragment == FRAGMENT_NONE ? to_host(skb) : VERDICT_NONE;
		if (verdict != VERDICT_NONE)
			return verdict;
		may_have_flow |= is_source_port(pkt->tuple.dport);
	}
	if (!may_have_flow || !found_established(work)) {
		if (!may_begin(pkt, bytes, may_have_flow, index))
			return VERDICT_NEXT;
		verdict = begin(skb);
		if (verdict == VERDICT_NONE && work->flow.masqueraded)
			verdict = keep_source(skb);
		if (verdict != VERDICT_NONE)
			return verdict;
	}
	return translate(skb, work);
}

/* `work.pkt` has no ports and is meant for a frontend's address. What asks a ClusterIP for something is told that this
 * is not there (behaviour row 1.26); what we cannot translate goes on untouched. */
__noinline int portless_to_frontend(struct __sk_buff *skb, __u32 parsed)
{
	struct work *work = work_on();
	const struct packet *pkt;

	if (!work)
		return VERDICT_DROP;
	pkt = &work->pkt;
	if (parsed == PARSED_FRAGMENT)
		return pass(pkt, SVCLB_REASON_FRAGMENT);
	if (parsed == PARSED_UNREAD)
		return pass(pkt, SVCLB_REASON_UNREAD_HEADERS);
	if (parsed != PARSED_OTHER)
		return pass(pkt, SVCLB_REASON_MALFORMED);
	if (!is_cluster_ip(&pkt->tuple) || (is_icmp(pkt) && !is_ping(skb, pkt)))
		return pass(pkt, SVCLB_REASON_UNSUPPORTED_PROTOCOL);
	return is_icmp(pkt) ? echo(skb) : reject(skb, SVCLB_REASON_UNKNOWN_PORT_REJECTED);
}

/* `work.pkt` has no ports and is for none of our addresses. What asks an address of a Service CIDR that no Service has
 * meets silence (behaviour row 1.26), in fragments, too; those of a connection may be of one that was there before us.
 */
__noinline int drop_unallocated(struct __sk_buff *skb, __u32 parsed)
{
	struct work *work = work_on();
	const struct packet *pkt;
	__u8 proto;
	bool asks;

	if (!work)
		return VERDICT_DROP;
	pkt = &work->pkt;
	proto = work->fragment.proto;
	if (parsed == PARSED_FRAGMENT)
		asks = proto != IPPROTO_TCP && proto != IPPROTO_SCTP;
	else
		asks = parsed == PARSED_OTHER && (!is_icmp(pkt) || is_ping(skb, pkt));
	return asks && in_service_cidr(pkt->tuple.daddr) ? drop(pkt, SVCLB_REASON_UNALLOCATED_DROPPED) : VERDICT_NEXT;
}

/* A pod's packet without ports. */
__noinline int portless_from_pod(struct __sk_buff *skb, __u32 parsed)
{
	const struct svclb_filters *bytes = filter_bytes();
	struct work *work = work_on();
	const struct packet *pkt;
	int verdict;

	if (!work || !bytes || parsed == PARSED_NOT_IP || parsed == PARSED_NO_ADDRESSES)
		return VERDICT_NEXT;
	pkt = &work->pkt;
	if (parsed == PARSED_LATER)
		return later_fragment(skb);
	if (parsed == PARSED_OTHER && is_icmp(pkt)) {
		verdict = translate_error(skb);
		if (verdict != VERDICT_NONE)
			return verdict;
	}
	if (bytes->frontend[filter_index(pkt->tuple.daddr, 0)])
		return portless_to_frontend(skb, parsed);
	return drop_unallocated(skb, parsed);
}

/* A packet without ports, to a pod. */
__noinline int portless_to_pod(struct __sk_buff *skb, __u32 parsed)
{
	struct work *work = work_on();
	int verdict;

	if (parsed == PARSED_LATER)
		return later_fragment(skb);
	if (!work || parsed != PARSED_OTHER || !is_icmp(&work->pkt))
		return VERDICT_NEXT;
	verdict = translate_error(skb);
	return verdict == VERDICT_NONE ? VERDICT_NEXT : verdict;
}

#endif
