/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What comes from outside to node ports, externalIPs and load-balancer addresses, and the answers to it. At an uplink's
 * ingress the destination becomes the backend, and the node's stack forwards the packet: routes, neighbours and the
 * path's MTU are its business. A backend on this node sees the client's own address. One elsewhere would answer past
 * us, so at the uplink's egress the source becomes the node: a flow of its own, of kind SOURCE. The answers go the
 * same way back, step by step.
 */
#ifndef SVCLB_UPLINK_BPF_H
#define SVCLB_UPLINK_BPF_H

#include "flow_life.bpf.h"
#include "fragment.bpf.h"
#include "icmp.bpf.h"
#include "service.bpf.h"
#include "source_range.bpf.h"

#define NODE_PORTS_TRIED 32

/* The key at to_uplink of what `work.flow` makes of `work.pkt`. */
static __always_inline void source_key(struct svclb_flow_key6 *key, const struct work *work)
{
	copy_addr(key->saddr, work->pkt.tuple.saddr);
	key->sport = work->flow.client_port;
	copy_addr(key->daddr, work->flow.addr);
	key->dport = work->flow.port;
	key->direction = SVCLB_TO_WIRE;
	same_protocol(key, &work->pkt.tuple);
}

static __always_inline void mark_source(const struct svclb_flow_key6 *key, const __be32 *node)
{
	struct svclb_wire_filters *wire = wire_filter_bytes();
	struct svclb_filters *bytes = filter_bytes();

	if (!wire || !bytes)
		return;
	wire->source[filter_index(key->daddr, key->dport)] = 1;
	wire->source[filter_index(key->daddr, 0)] = 1;
	bytes->direct[filter_index(node, 0)] = 1; /* the answers, and their fragments */
}

/* One source port for `work.source`. Returns enum claim. */
__noinline int claim_source(__u32 hash)
{
	struct work *work = work_on();

	if (!work)
		return CLAIM_FAILED;
	work->source.port = bpf_htons(settings.source_port_first + hash % settings.source_ports);
	reply_key(&work->reply_at, &work->source_at, &work->source);
	reply_flow(&work->reply, &work->source_at, &work->source);
	return claim();
}

/* `work.source` and its key, all but the port. 0, or REFUSE(). */
__noinline int prepare_source(void)
{
	const struct svclb_node_addresses *node;
	struct work *work = work_on();
	struct svclb_flow_key6 *at;
	struct svclb_flow *source;
	const __be32 *own;
	__u32 zero = 0;
	bool v6;

	node = bpf_map_lookup_elem(&node_addresses, &zero);
	if (!work || !node)
		return REFUSE(FLOW_TABLE_FAILED);
	v6 = work->pkt.v6;
	at = &work->source_at;
	source = &work->source;
	source_key(at, work);
	*source = work->flow;
	source->kind = SVCLB_FLOW_SOURCE;
	source->masqueraded = 0;
	source->answered = 0;
	source->client_port = at->dport;
	own = node->v4;
	if (v6) {
		own = node->v6;
		asm volatile("" : "+r"(own)); /* else the compiler multiplies, and the verifier knows no bound */
	}
	copy_addr(source->addr, own);
	if (!(source->addr[0] | source->addr[1] | source->addr[2] | source->addr[3]))
		return REFUSE(NO_NODE_ADDRESS);
	mark_source(at, source->addr);
	return 0;
}

/* The source port is ours: stores the way out. 0, or REFUSE(). */
__noinline int finish_source(void)
{
	struct work *work = work_on();

	if (!work)
		return REFUSE(FLOW_TABLE_FAILED);
	remove_established(&work->source_at, work->pkt.v6);
	if (!store_transient(&work->source_at, &work->source, BPF_ANY, work->pkt.v6))
		return 0;
	remove_transient(&work->reply_at, work->pkt.v6);
	return REFUSE(FLOW_TABLE_FAILED);
}

/* Gives `work.flow`, which leads to another node, a port of this one. 0, or REFUSE(). */
__noinline int open_source(void)
{
	struct work *work = work_on();
	int result = prepare_source();
	__u32 hash;

	if (!work)
		return REFUSE(FLOW_TABLE_FAILED);
	if (result)
		return result;
	hash = tuple_hash(&work->source_at);
	/* Unrolled: clang enters the loop in its middle, which older kernels refuse (5.10, 6.1). */
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < NODE_PORTS_TRIED; i++) {
		hash = mix(hash, i);
		result = claim_source(hash);
		if (result != TAKEN)
			break;
	}
	if (result == TAKEN)
		return REFUSE(NO_FREE_SOURCE_PORT);
	if (result == CLAIM_FAILED)
		return REFUSE(FLOW_TABLE_FAILED);
	return finish_source();
}

/* `work.flow` has just been opened: does it lead away from this node? Where that is unknown it is taken to do so, which
 * costs two entries: they only ever come into play at an uplink. */
static __always_inline bool leads_away(const struct work *work)
{
	const struct svclb_backend *backend = find_backend(work->flow.service, work->flow.addr, work->flow.port);

	return !backend || !(backend->flags & SVCLB_BACKEND_ON_NODE);
}

static __always_inline void set_masqueraded(struct work *work)
{
	struct svclb_flow *entry;

	work->flow.masqueraded = 1;
	entry = find_transient(&work->pkt.tuple, work->pkt.v6);
	if (entry)
		entry->masqueraded = 1;
	reply_key(&work->reply_at, &work->pkt.tuple, &work->flow);
	entry = find_transient(&work->reply_at, work->pkt.v6);
	if (entry)
		entry->masqueraded = 1;
}

/* The flow of kind SOURCE that belongs to `work.flow`, if there is one, is in order. VERDICT_NONE, or a verdict. */
__noinline int keep_source(void)
{
	struct work *work = work_on();
	struct svclb_flow_key6 at;
	int result;

	if (!work)
		return VERDICT_DROP;
	if (!work->flow.masqueraded || work->flow.kind != SVCLB_FLOW_FORWARD)
		return VERDICT_NONE;
	source_key(&at, work);
	if (find_established(&at, work->pkt.v6) || find_transient(&at, work->pkt.v6))
		return VERDICT_NONE;
	result = open_source();
	return result ? drop(&work->pkt, REFUSED_REASON(result)) : VERDICT_NONE;
}

/* A new flow from outside. VERDICT_NONE, or a verdict. */
static __always_inline int open_from_wire(struct __sk_buff *skb)
{
	const struct svclb_frontend *frontend;
	struct work *work = work_on();
	const struct packet *pkt;
	__u32 index, set;
	__u8 kind, flags;
	int result;

	if (!work)
		return VERDICT_DROP;
	pkt = &work->pkt;
	frontend = find_frontend(&pkt->tuple);
	if (!frontend)
		return settings.external_cluster_ip ? reject(skb, SVCLB_REASON_UNKNOWN_PORT_REJECTED)
						    : drop(pkt, SVCLB_REASON_CLUSTER_IP_FROM_OUTSIDE);
	index = frontend->service;
	set = frontend->outside_set;
	kind = frontend->kind;
	flags = frontend->flags;
	if (kind == SVCLB_FRONTEND_CLUSTER_IP && !settings.external_cluster_ip)
		return drop(pkt, SVCLB_REASON_CLUSTER_IP_FROM_OUTSIDE);
	if ((flags & SVCLB_FRONTEND_SOURCE_RANGES) && !source_allowed(index))
		return drop(pkt, SVCLB_REASON_SOURCE_RANGE_DROPPED);
	result = open_flow(index, set);
	if (result)
		return refuse(skb, pkt, result);
	if (!leads_away(work))
		return VERDICT_NONE;
	set_masqueraded(work);
	result = open_source();
	return result ? drop(pkt, REFUSED_REASON(result)) : VERDICT_NONE;
}

/* `work.pkt` has no established flow. VERDICT_NONE: `work.flow` says how to translate. */
__noinline int begin_from_wire(struct __sk_buff *skb)
{
	const struct svclb_wire_filters *wire = wire_filter_bytes();
	const struct svclb_filters *bytes = filter_bytes();
	struct work *work = work_on();
	const struct packet *pkt;
	__u32 index;
	int result;

	if (!work || !wire || !bytes)
		return VERDICT_NEXT;
	pkt = &work->pkt;
	if (found_transient())
		return keep_source();
	index = filter_index(pkt->tuple.daddr, pkt->tuple.dport);
	if ((bytes->direct[index] || bytes->frontend[filter_index(pkt->tuple.daddr, 0)]) &&
	    (find_frontend(&pkt->tuple) || is_cluster_ip(&pkt->tuple))) {
		/* Begun before we came: whoever translated it then, or the kernel's conntrack, still does. */
		if (has_connections(pkt->tuple.proto) && !is_first_syn(pkt))
			return pass(pkt, SVCLB_REASON_NO_FLOW);
		return open_from_wire(skb);
	}
	if ((has_connections(pkt->tuple.proto) && !is_first_syn(pkt)) || !wire->reply[index])
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
	__u32 index = filter_index(pkt->tuple.daddr, pkt->tuple.dport);
	bool may_have_flow;
	int verdict;

	if (!bytes || !wire)
		return VERDICT_NEXT;
	may_have_flow = bytes->direct[index] || bytes->frontend[filter_index(pkt->tuple.daddr, 0)] ||
			(is_source_port(pkt->tuple.dport) && bytes->direct[filter_index(pkt->tuple.daddr, 0)]);
	if (!may_have_flow && (!wire->reply[index] || (has_connections(pkt->tuple.proto) && !is_first_syn(pkt))))
		return VERDICT_NEXT;
	if (!found_established(work)) {
		verdict = begin_from_wire(skb);
		if (verdict != VERDICT_NONE)
			return verdict;
	}
	return translate(skb, work);
}

/* Looks for `work.pkt`, on its way out, among the flows that are not established: an answer of a backend here, or what
 * a client outside sends to one elsewhere. VERDICT_NONE: `work.flow` says how to translate. */
__noinline int found_transient_to_wire(void)
{
	struct work *work = work_on();
	struct svclb_flow *flow;
	bool later;

	if (!work)
		return VERDICT_NEXT;
	flow = find_transient(&work->pkt.tuple, work->pkt.v6);
	if (!flow)
		return VERDICT_NEXT;
	if (flow->kind != SVCLB_FLOW_SOURCE)
		return found_transient_reply() ? VERDICT_NONE : VERDICT_NEXT;
	later = follow(work, flow, true);
	work->flow = *flow;
	if (go_on(work, flow, later))
		return VERDICT_NONE;
	/* Its port went to another flow while the entry of the answers was evicted: from_uplink takes a new one. */
	remove_transient(&work->pkt.tuple, work->pkt.v6);
	return drop(&work->pkt, SVCLB_REASON_NO_FREE_SOURCE_PORT);
}

static __always_inline int handle_to_wire(struct __sk_buff *skb, struct work *work)
{
	const struct svclb_wire_filters *wire = wire_filter_bytes();
	const struct svclb_flow_key6 *tuple = &work->pkt.tuple;
	struct svclb_flow *flow;

	if (!wire)
		return VERDICT_NEXT;
	if (!wire->reply[filter_index(tuple->saddr, tuple->sport)] &&
	    !wire->source[filter_index(tuple->daddr, tuple->dport)])
		return VERDICT_NEXT;
	flow = find_established(tuple, work->pkt.v6);
	if (flow) {
		follow(work, flow, flow->kind == SVCLB_FLOW_SOURCE);
		work->flow = *flow;
	} else {
		int verdict = found_transient_to_wire();

		if (verdict != VERDICT_NONE)
			return verdict;
	}
	return translate(skb, work);
}

/* A packet without ports: an error about a flow, or a fragment. A ping to a ClusterIP and the like is not answered to
 * the outside. */
__noinline int portless_wire(struct __sk_buff *skb, __u32 parsed)
{
	const struct svclb_filters *bytes = filter_bytes();
	struct work *work = work_on();
	const struct packet *pkt;

	if (!work || !bytes || parsed == PARSED_NOT_IP || parsed == PARSED_NO_ADDRESSES)
		return VERDICT_NEXT;
	pkt = &work->pkt;
	if (parsed == PARSED_LATER)
		return later_fragment(skb);
	if (parsed == PARSED_OTHER && is_icmp(pkt)) {
		int verdict = translate_error(skb);

		if (verdict != VERDICT_NONE)
			return verdict;
	}
	if (settings.external_cluster_ip || pkt->tuple.direction != SVCLB_FROM_WIRE ||
	    !bytes->frontend[filter_index(pkt->tuple.daddr, 0)] || !is_cluster_ip(&pkt->tuple))
		return VERDICT_NEXT;
	return drop(pkt, SVCLB_REASON_CLUSTER_IP_FROM_OUTSIDE);
}

static __always_inline int handle_wire(struct __sk_buff *skb, struct work *work, __u32 parsed, bool going_out)
{
	int verdict;

	work->host = 0;
	if (parsed == PARSED_FRAGMENT)
		parsed = open_fragment(skb);
	if (parsed != PARSED_PORTS)
		return portless_wire(skb, parsed);
	verdict = going_out ? handle_to_wire(skb, work) : handle_from_wire(skb, work);
	return work->pkt.fragment ? after_first_fragment(skb, verdict) : verdict;
}

#endif
