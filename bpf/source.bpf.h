/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The node as the source of what a client sends to a backend (masquerading, behaviour rows 1.19 to 1.23): a pair of
 * entries of its own, of kind SOURCE, at the device that leads to the backend. The stack between the two translations
 * sees the client's own address: it takes a packet from the node's, coming in by a device, for a martian.
 */
#ifndef SVCLB_SOURCE_BPF_H
#define SVCLB_SOURCE_BPF_H

#include "flow.bpf.h"
#include "host.bpf.h"
#include "maps.bpf.h"
#include "service.bpf.h"
#include "source_range.bpf.h"
#include "verdict.bpf.h"
#include "work.bpf.h"

#define NODE_PORTS_TRIED 32
/* So many must be free. Of the others flows make way that are over or half-open (claim): or a flood of SYNs, or servers
 * that close first, would keep everybody else away for as long as their flows are remembered. */
#define NODE_PORTS_FREE 28

/* The key of what `work.flow` makes of `work.pkt`, where its source becomes the node. */
static __always_inline void source_key(struct svclb_flow_key6 *key, const struct work *work)
{
	copy_addr(key->saddr, work->pkt.tuple.saddr);
	key->sport = work->flow.client_port;
	copy_addr(key->daddr, work->flow.addr);
	key->dport = work->flow.port;
	key->direction = work->flow.masqueraded == SVCLB_MASQUERADED_AT_POD ? SVCLB_TO_POD : SVCLB_TO_WIRE;
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
__noinline int claim_source(__u32 hash, int press)
{
	struct work *work = work_on();

	if (!work)
		return CLAIM_FAILED;
	work->source.port = source_port(hash, false);
	/* Where peers have one port at both ends (gossip, SIP, GTP) the node itself may have such a conversation. */
	if (work->source.port == work->source_at.dport)
		return TAKEN;
	reply_key(&work->reply_at, &work->source_at, &work->source);
	reply_flow(&work->reply, &work->source_at, &work->source);
	return claim(press);
}

/*
 * The address of the uplink or tunnel that leads to the backend of `work.flow`, where it has one and does not carry the
 * node's own: by another the answers would come back another way (overlays), or the far end lets nothing else in
 * (WireGuard's allowed addresses, reverse path filters).
 */
static __always_inline const __be32 *uplink_address(struct __sk_buff *skb, const struct work *work)
{
	const struct svclb_node_addresses *row;
	struct bpf_fib_lookup route;
	__u32 key = 0;
	long found;

	if (work->flow.masqueraded != SVCLB_MASQUERADED_AT_UPLINK || !bpf_map_lookup_elem(&uplink_addresses, &key))
		return NULL;
	ask_route(skb, &work->pkt, work->flow.addr, &route);
	/* As the stack will ask: rules may go by the source, and of several paths the whole tuple chooses one. */
	if (work->pkt.v6)
		copy_addr(route.ipv6_src, work->pkt.tuple.saddr);
	else
		route.ipv4_src = work->pkt.tuple.saddr[3];
	route.sport = work->flow.client_port;
	route.dport = work->flow.port;
	found = bpf_fib_lookup(skb, &route, sizeof(route), 0);
	/* A packet that is too large has its route as well. */
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_NO_NEIGH &&
	    found != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return NULL;
	key = route.ifindex;
	row = bpf_map_lookup_elem(&uplink_addresses, &key);
	return row ? address_in(row, work->pkt.v6) : NULL;
}

/* `work.source` and its key, all but the port. 0, or REFUSE(). */
__noinline int prepare_source(struct __sk_buff *skb)
{
	struct work *work = work_on();
	struct svclb_flow_key6 *at;
	struct svclb_flow *source;
	const __be32 *own;

	if (!work)
		return REFUSE(FLOW_TABLE_FAILED);
	own = uplink_address(skb, work);
	if (!own)
		own = node_address(work->pkt.v6);
	if (!own)
		return REFUSE(NO_NODE_ADDRESS);
	at = &work->source_at;
	source = &work->source;
	source_key(at, work);
	*source = work->flow;
	source->kind = SVCLB_FLOW_SOURCE;
	source->masqueraded = 0;
	source->answered = 0;
	source->client_port = at->dport;
	copy_addr(source->addr, own);
	mark_source(at, source->addr);
	return 0;
}

/* The source port is ours: stores the way out. 0, or REFUSE(). */
__noinline int finish_source(void)
{
	struct work *work = work_on();
	const struct svclb_flow *there;
	int result = REFUSE(NO_FREE_TUPLE);

	if (!work)
		return REFUSE(FLOW_TABLE_FAILED);
	/* Client and backend may be each other's by way of two Services: what answers the other one stays. */
	there = find_entry(&work->source_at, work->pkt.v6);
	if (!there || there->kind == SVCLB_FLOW_SOURCE || dead(there, work->source_at.proto)) {
		if (there)
			remove_established(&work->source_at, work->pkt.v6);
		if (!store_transient(&work->source_at, &work->source, BPF_ANY, work->pkt.v6))
			return 0;
		result = REFUSE(FLOW_TABLE_FAILED);
	}
	remove_transient(&work->reply_at, work->pkt.v6);
	return result;
}

/* Gives `work.flow`, which is masqueraded, a port of this node. 0, or REFUSE(). */
__noinline int open_source(struct __sk_buff *skb)
{
	struct work *work = work_on();
	int result = prepare_source(skb);
	__u32 hash;

	if (!work)
		return REFUSE(FLOW_TABLE_FAILED);
	if (result)
		return result;
	hash = tuple_hash(&work->source_at);
	/* Unrolled: clang enters the loop in its middle, which older kernels refuse (5.10, 6.1). */
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < NODE_PORTS_TRIED; i++) {
		hash = i < NODE_PORTS_FREE ? mix(hash, i) : hash + 1;
		result = claim_source(hash, i >= NODE_PORTS_FREE);
		if (result != TAKEN)
			break;
	}
	if (result == TAKEN)
		return REFUSE(NO_FREE_SOURCE_PORT);
	if (result == CLAIM_FAILED)
		return REFUSE(FLOW_TABLE_FAILED);
	return finish_source();
}

/* The flow of kind SOURCE that belongs to `work.flow`, if one does, is in order. VERDICT_NONE, or a verdict. */
__noinline int keep_source(struct __sk_buff *skb)
{
	struct work *work = work_on();
	const struct svclb_flow *source;
	int result;

	if (!work)
		return VERDICT_DROP;
	if (!work->flow.masqueraded || work->flow.kind != SVCLB_FLOW_FORWARD)
		return VERDICT_NONE;
	source_key(&work->source_at, work);
	source = find_established(&work->source_at, work->pkt.v6);
	if (!source)
		source = find_transient(&work->source_at, work->pkt.v6);
	if (source && source->kind == SVCLB_FLOW_SOURCE)
		return VERDICT_NONE;
	result = open_source(skb);
	return result ? drop(&work->pkt, REFUSED_REASON(result)) : VERDICT_NONE;
}

/* Is the client one of the cluster's own pods (behaviour row 1.23)? */
__noinline int is_local_client(void)
{
	const struct svclb_masquerade *row;
	const struct svclb_cidr *range;
	struct work *work = work_on();
	__u32 zero = 0;

	row = bpf_map_lookup_elem(&masquerade, &zero);
	if (!work || !row)
		return 0;
	if (!(work->pkt.v6 ? row->has_v6 : row->has_v4))
		return work->pkt.tuple.direction == SVCLB_FROM_POD;
	range = &row->v4;
	if (work->pkt.v6) {
		range = &row->v6;
		asm volatile("" : "+r"(range)); /* as in address_in() */
	}
	return in_range(work->pkt.tuple.saddr, range);
}

/* Are flows of such a client to such a frontend to have the node as their source? */
static __always_inline bool masquerades(__u8 kind, __u8 outside_set, bool local)
{
	const struct svclb_masquerade *row;
	__u32 zero = 0;

	if (kind != SVCLB_FRONTEND_CLUSTER_IP)
		return outside_set == SVCLB_SET_CLUSTER;
	row = bpf_map_lookup_elem(&masquerade, &zero);
	return !local || (row && row->all);
}

/* Notes in `work.flow`, which is transient, and both its entries. */
static __always_inline void set_masqueraded(struct work *work, __u8 masqueraded)
{
	struct svclb_flow *entry;

	work->flow.masqueraded = masqueraded;
	entry = find_transient(&work->pkt.tuple, work->pkt.v6);
	if (entry)
		entry->masqueraded = masqueraded;
	reply_key(&work->reply_at, &work->pkt.tuple, &work->flow);
	entry = find_transient(&work->reply_at, work->pkt.v6);
	if (entry)
		entry->masqueraded = masqueraded;
}

/*
 * `work.flow` has just been opened. Notes in both its entries whether its source becomes the node: where the policy
 * wants that, and where it alone makes the answers come back, which is for clients outside whose backend is
 * not known to be on this node. A backend on the host network of this node is met at neither device: as with
 * kube-proxy it sees the client. keep_source() does what is noted.
 */
__noinline int note_source(int wanted)
{
	const struct svclb_backend *backend;
	struct work *work = work_on();
	bool here;

	if (!work || work->flow.kind != SVCLB_FLOW_FORWARD || work->host)
		return 0;
	backend = find_backend(work->flow.service, work->flow.addr, work->flow.port);
	here = backend && backend->flags & SVCLB_BACKEND_ON_NODE;
	forget_source(here ? SVCLB_TO_POD : SVCLB_TO_WIRE);
	if ((here || work->pkt.tuple.direction == SVCLB_FROM_POD) && (!wanted || !node_address(work->pkt.v6)))
		return 0;
	set_masqueraded(work, here ? SVCLB_MASQUERADED_AT_POD : SVCLB_MASQUERADED_AT_UPLINK);
	return 0;
}

/* May the sender of `work.pkt` not dial the frontend at all? */
static __always_inline bool turns_away(const struct svclb_frontend *frontend)
{
	return (frontend->flags & SVCLB_FRONTEND_SOURCE_RANGES) && !source_allowed(frontend->service);
}

/* A new flow of `work.pkt` to a frontend. 0, or REFUSE(). */
static __always_inline int open_to(const struct work *work, const struct svclb_frontend *frontend)
{
	__u8 outside_set = frontend->outside_set;
	__u32 index = frontend->service;
	__u8 kind = frontend->kind;
	__u8 set = frontend->set;
	bool local;
	int result;

	if (turns_away(frontend))
		return REFUSE(SOURCE_RANGE_DROPPED);
	local = work->host || is_local_client();
	result = open_flow(index, local ? set : outside_set);
	if (!result)
		note_source(masquerades(kind, outside_set, local));
	return result;
}

#endif
