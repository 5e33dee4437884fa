/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Direct server return at the backend's node: takes the outer header off what is for a backend here. The inner packet
 * is translated like any from outside (uplink.bpf.h).
 */
#ifndef SVCLB_DSR_UNWRAP_BPF_H
#define SVCLB_DSR_UNWRAP_BPF_H

#include "dsr.bpf.h"
#include "flow_life.bpf.h"
#include "fragment.bpf.h"
#include "icmp.bpf.h"
#include "parse.bpf.h"
#include "service.bpf.h"
#include "source_range.bpf.h"
#include "work.bpf.h"

static __always_inline bool is_encapsulated(const struct packet *pkt)
{
	return pkt->tuple.proto == outer_proto(pkt) && pkt->l3 == ETH_HLEN && pkt->l4 == ETH_HLEN + outer_size(pkt);
}

/* Fills `work.pkt` with what is inside of it. */
static __always_inline enum parsed parse_inner(struct __sk_buff *skb, struct packet *pkt)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;

	pkt->l3 = ETH_HLEN + outer_size(pkt);
	return pkt->v6 ? parse_v6(skb, data, data_end, ETH_HLEN + IP6_SIZE, pkt)
		       : parse_v4(skb, data, data_end, ETH_HLEN + IP4_SIZE, pkt);
}

/* The port of every backend of a service port with direct server return: the model sees to it that they are alike. */
static __always_inline bool backend_port(const struct svclb_service *service, __u32 index, struct work *work)
{
	__u64 run = read_run(service, SVCLB_SET_CLUSTER);

	return svclb_run_count(run) && slot_at(index, run, 0, &work->slot);
}

/* `work.pkt` came for the backend `work.outer` names: opens its flow to that one. 1, or 0. */
__noinline int open_named(__u32 index)
{
	const struct svclb_service *service = bpf_map_lookup_elem(&services, &index);
	const struct svclb_backend *backend;
	struct work *work = work_on();
	enum claim result;

	if (!work || !service || !backend_port(service, index, work))
		return 0;
	copy_addr(work->slot.addr, work->outer.tuple.daddr);
	backend = find_backend(index, work->slot.addr, work->slot.port);
	if (!backend || !(backend->flags & SVCLB_BACKEND_ON_NODE))
		return 0;
	work->slot.backend = backend->id;
	remove_established(&work->pkt.tuple, work->pkt.v6); /* a flow that this one takes the place of */
	begin_flow(&work->flow, index, *(volatile const __u32 *)&service->epoch);
	result = open_towards(work, work->pkt.tuple.sport, false);
	if (result == CLAIM_FAILED || (result == TAKEN && open_translated(tuple_hash(&work->pkt.tuple))))
		return 0;
	mark_reply(work);
	forget_source(SVCLB_TO_POD);
	count_flow(index, work->flow.backend);
	return 1;
}

static __always_inline bool goes_to(const struct svclb_flow *flow, const struct work *work)
{
	return flow->kind == SVCLB_FLOW_FORWARD && same_addr(flow->addr, work->outer.tuple.daddr);
}

/* `work.pkt`, with ports, is inside of another packet: does it have a flow to the backend that this is for, or get one?
 * Any packet opens one, not only a SYN: which backend is meant stands on it. */
__noinline int has_named_flow(void)
{
	const struct svclb_frontend *frontend;
	struct work *work = work_on();
	const struct svclb_flow *flow;
	__u32 index;
	__u8 flags;
	bool syn;

	if (!work)
		return 0;
	syn = has_connections(work->pkt.tuple.proto) && is_first_syn(&work->pkt);
	flow = find_entry(&work->pkt.tuple, work->pkt.v6);
	if (flow && goes_to(flow, work) && !(syn && client_is_done(flow)))
		return 1;
	frontend = find_frontend(&work->pkt.tuple);
	if (!frontend)
		return 0;
	index = frontend->service;
	flags = frontend->flags;
	if (!(flags & SVCLB_FRONTEND_DSR) || ((flags & SVCLB_FRONTEND_SOURCE_RANGES) && !source_allowed(index)) ||
	    (flow && has_connections(work->pkt.tuple.proto) && !syn)) {
		count_reason(&work->outer, SVCLB_REASON_DSR_NOT_TAKEN);
		return 0;
	}
	if (open_named(index))
		return 1;
	count_reason(&work->outer, SVCLB_REASON_DSR_NOT_TAKEN);
	return 0;
}

/* The same for an ICMP error about what the backend has sent. */
__noinline int quotes_named_flow(struct __sk_buff *skb)
{
	struct work *work = work_on();
	const struct svclb_flow *flow;
	__u8 type;

	if (!work || bpf_skb_load_bytes(skb, work->pkt.l4, &type, sizeof(type)) || !is_icmp_error(type, work->pkt.v6) ||
	    !read_quote(skb, work))
		return 0;
	flow = find_entry(&work->quoted.tuple, work->pkt.v6);
	return flow && goes_to(flow, work);
}

static __always_inline bool is_taken(struct __sk_buff *skb, struct work *work, __u32 parsed)
{
	const struct svclb_fragment *as;

	if (parsed == PARSED_FRAGMENT)
		parsed = open_fragment(skb);
	if (parsed == PARSED_PORTS)
		return has_named_flow();
	if (parsed == PARSED_OTHER)
		return is_icmp(&work->pkt) && quotes_named_flow(skb);
	if (parsed != PARSED_LATER)
		return false;
	as = find_fragments(work);
	return as && as->kind == SVCLB_FRAGMENT_TRANSLATED && same_addr(as->daddr, work->outer.tuple.daddr);
}

/*
 * `work.pkt` has another IP packet inside. If that is for a frontend with direct server return, and itself for a
 * backend of that on this node, it becomes the inner one; else it stays untouched. Returns what it is, as parse() does.
 */
__noinline int unwrap(struct __sk_buff *skb)
{
	const struct svclb_filters *bytes = filter_bytes();
	struct work *work = work_on();
	enum parsed parsed;
	__u32 size;

	if (!work || !bytes)
		return PARSED_OTHER;
	work->outer = work->pkt;
	size = outer_size(&work->pkt);
	parsed = parse_inner(skb, &work->pkt);
	if (parsed != PARSED_NOT_IP && parsed != PARSED_NO_ADDRESSES &&
	    bytes->direct[filter_index(work->pkt.tuple.daddr, 0)] && is_taken(skb, work, parsed) &&
	    !bpf_skb_adjust_room(skb, -(__s32)size, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO)) {
		work->pkt.l3 -= size;
		work->pkt.l4 -= size;
		work->pkt.end -= size;
		work->pkt.length -= size;
		return parsed;
	}
	work->pkt = work->outer;
	return PARSED_OTHER;
}

#endif
