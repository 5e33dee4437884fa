/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From a frontend to a backend for a packet: the choice, and the two flow entries that remember it. */
#ifndef SVCLB_SERVICE_BPF_H
#define SVCLB_SERVICE_BPF_H

#include "choice.bpf.h"
#include "flow.bpf.h"
#include "maps.bpf.h"
#include "parse.bpf.h"
#include "verdict.bpf.h"
#include "work.bpf.h"

#define OTHER_BACKENDS_TRIED 3 /* when the tuple towards the chosen one is taken */
#define SOURCE_PORTS_TRIED 16
#define SOURCE_PORTS_FREE 12 /* so many must be free; of the others flows that are over make way (claim) */
#define SOURCE_PORT_FIRST 1024

/* Of the client's whole tuple: a retransmitted SYN meets the same backend even if its entry was evicted. */
static __always_inline __u32 tuple_hash(const struct svclb_flow_key6 *tuple)
{
	__u32 h = settings.hash_seed;

	for (int i = 0; i < SVCLB_ADDR_WORDS; i++)
		h = mix(mix(h, tuple->saddr[i]), tuple->daddr[i]);
	return mix(mix(h, (__u32)tuple->sport << 16 | tuple->dport), tuple->proto);
}

/* The same on every node that is dialled by whatever address of the Service, a node's own included. */
static __always_inline __u32 shared_hash(const struct svclb_flow_key6 *tuple)
{
	__u32 h = 0x9747b28c;

	for (int i = 0; i < SVCLB_ADDR_WORDS; i++)
		h = mix(h, tuple->saddr[i]);
	return mix(mix(h, (__u32)tuple->sport << 16 | tuple->dport), tuple->proto);
}

static __always_inline const struct svclb_frontend *find_frontend(const struct svclb_flow_key6 *tuple)
{
	return frontend_at(tuple->daddr, tuple->dport, tuple->proto);
}

static __always_inline bool is_cluster_ip(const struct svclb_flow_key6 *tuple)
{
	return frontend_at(tuple->daddr, 0, 0);
}

/* Puts the backend into `work.slot` that this client was last sent to, if that still holds (behaviour row 1.18). */
__noinline int remembered_backend(__u32 service, __u32 set, __u32 affinity_s)
{
	struct work *work = work_on();

	return work && last_backend(service, set, affinity_s, work->pkt.tuple.saddr, &work->slot);
}

/* The client of `work.pkt` was sent to the backend of `work.flow`. */
__noinline int remember_backend(__u32 service)
{
	struct work *work = work_on();

	if (!work)
		return 0;
	return keep_backend(service, work->pkt.tuple.saddr, work->flow.addr, work->flow.port);
}

/* crossed_by(): what an entry is that is over. */
enum over {
	OVER_IS_NONE,
	OVER_COUNTS,
	OVER_GOES,
};

/*
 * Two pods may be each other's backends and dial from the very ports that they serve. Then what the one sends passes
 * for an answer to the other, at whichever device. Which kind of entry has the tuple of `work.reply_at` the other way
 * round? 0: none.
 */
__noinline int crossed_by(int over)
{
	const struct svclb_wire_filters *wire = wire_filter_bytes();
	const struct svclb_filters *bytes = filter_bytes();
	struct work *work = work_on();
	struct svclb_flow_key6 *across;
	struct svclb_flow *owner;
	__u32 index;
	bool v6;

	if (!work || !bytes || !wire || !(work->reply_at.direction & SVCLB_DIRECTION_TO))
		return 0;
	index = filter_index(work->reply_at.daddr, work->reply_at.dport);
	if (!bytes->backend[index] && !bytes->reply[index] && !wire->reply[index])
		return 0;
	v6 = work->pkt.v6;
	across = &work->across;
	same_protocol(across, &work->reply_at);
	copy_addr(across->saddr, work->reply_at.daddr);
	across->sport = work->reply_at.dport;
	copy_addr(across->daddr, work->reply_at.saddr);
	across->dport = work->reply_at.sport;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < 2; i++) {
		across->direction = i ? SVCLB_TO_WIRE : SVCLB_TO_POD;
		owner = find_entry(across, v6);
		if (!owner || (owner->kind != SVCLB_FLOW_REPLY && owner->kind != SVCLB_FLOW_DIRECT))
			continue;
		if (over == OVER_COUNTS || !dead(owner, across->proto))
			return owner->kind;
		if (over == OVER_IS_NONE)
			continue;
		forget(work, across, owner);
	}
	return 0;
}

/* Is the tuple of `work.reply_at` another one's the other way round? Of a flow that was there before (`restored`), what
 * its backend sent while the reply entry was missing may have passed for a direct conversation: only a connection ends
 * by that. */
static __always_inline bool is_crossed(const struct work *work, bool restored, int over)
{
	int kind = crossed_by(over);

	return kind == SVCLB_FLOW_REPLY || (kind && (!restored || has_connections(work->reply_at.proto)));
}

/* claim(), unless the tuple is in use the other way round. Returns enum claim. */
static __always_inline enum claim claim_apart(struct work *work, bool press, bool restored)
{
	enum claim result;

	if (is_crossed(work, restored, OVER_IS_NONE))
		return TAKEN;
	result = claim(press);
	/* Once more: of two at the same time one sees the other. */
	if (result != CLAIMED || !is_crossed(work, restored, OVER_GOES))
		return result;
	remove_transient(&work->reply_at, work->pkt.v6);
	return TAKEN;
}

/* Stores both entries of the flow `work.flow` to `work.slot` with the source port `port`; `press` as in claim().
 * Returns enum claim. */
static __always_inline enum claim open_towards(struct work *work, __be16 port, bool press)
{
	const struct svclb_flow_key6 *tuple = &work->pkt.tuple;
	struct svclb_flow *forward = &work->flow;
	enum claim result;

	copy_addr(forward->addr, work->slot.addr);
	forward->port = work->slot.port;
	forward->backend = work->slot.backend;
	forward->client_port = port;
	forward->host = work->host;
	forward->kind = tuple->direction == SVCLB_FROM_POD && same_addr(work->slot.addr, tuple->saddr)
				? SVCLB_FLOW_HAIRPIN
				: SVCLB_FLOW_FORWARD;
	reply_key(&work->reply_at, tuple, forward);
	reply_flow(&work->reply, tuple, forward);
	/* The reply entry first: it alone decides whether the tuple is free. */
	result = claim_apart(work, press, false);
	if (result != CLAIMED)
		return result;
	if (store_transient(tuple, forward, BPF_ANY, work->pkt.v6)) {
		remove_transient(&work->reply_at, work->pkt.v6);
		return CLAIM_FAILED;
	}
	return CLAIMED;
}

/* Opens `work.flow` to `work.slot` with another source port. */
__noinline int open_translated(__u32 hash)
{
	struct work *work = work_on();

	if (!work)
		return REFUSE(FLOW_TABLE_FAILED);
	for (__u32 i = 0; i < SOURCE_PORTS_TRIED; i++) {
		enum claim result;

		hash = mix(hash, i);
		result = open_towards(work,
				      work->host ? source_port(hash, true)
						 : bpf_htons(SOURCE_PORT_FIRST + hash % (65536 - SOURCE_PORT_FIRST)),
				      i >= SOURCE_PORTS_FREE);
		if (result == CLAIMED)
			return 0;
		if (result == CLAIM_FAILED)
			return REFUSE(FLOW_TABLE_FAILED);
	}
	return REFUSE(NO_FREE_TUPLE);
}

static __always_inline void begin_flow(struct svclb_flow *forward, __u32 service, __u32 epoch)
{
	__builtin_memset(forward, 0, sizeof(*forward));
	forward->service = service;
	forward->epoch = epoch;
	stamp(forward);
}

/* Marks where replies of `work.flow` will come from, before the first one can; a pod's to itself by where they go. */
static __always_inline void mark_reply(const struct work *work)
{
	const struct svclb_flow *forward = &work->flow;
	struct svclb_wire_filters *wire = wire_filter_bytes();
	struct svclb_filters *bytes = filter_bytes();

	if (!bytes || !wire)
		return;
	if (forward->kind == SVCLB_FLOW_HAIRPIN)
		bytes->direct[filter_index(work->pkt.tuple.daddr, forward->client_port)] = 1;
	if (work->pkt.tuple.direction == SVCLB_FROM_WIRE) {
		wire->reply[filter_index(forward->addr, forward->port)] = 1;
		wire->reply[filter_index(forward->addr, 0)] = 1;
		return;
	}
	bytes->reply[filter_index(forward->addr, forward->port)] = 1;
	bytes->reply[filter_index(forward->addr, 0)] = 1;
}

/* A new flow of `work.pkt` to a frontend of service port `index`. 0, or REFUSE(). */
__noinline int open_flow(__u32 index, __u32 set)
{
	const struct svclb_service *service = bpf_map_lookup_elem(&services, &index);
	struct work *work = work_on();
	enum claim result = TAKEN;
	__u32 affinity_s;
	bool remembered;
	__u8 algorithm;
	__u32 hash;

	if (!work || !service)
		return REFUSE(STALE_SLOT);
	affinity_s = service->affinity_s;
	algorithm = service->algorithm;
	if (!svclb_run_count(read_run(service, set)))
		return refusal(service, set);
	begin_flow(&work->flow, index, *(volatile const __u32 *)&service->epoch);
	hash = algorithm == SVCLB_ALGORITHM_MAGLEV ? shared_hash(&work->pkt.tuple) : tuple_hash(&work->pkt.tuple);
	remembered = affinity_s && remembered_backend(index, set, affinity_s);
	for (__u32 i = 0; i <= OTHER_BACKENDS_TRIED && result == TAKEN; i++) {
		if (!remembered && !choose_slot(service, index, set, hash, &work->slot))
			return REFUSE(STALE_SLOT);
		if (work->host)
			break; /* always with a source port that no direct conversation has */
		result = open_towards(work, work->pkt.tuple.sport, false);
		if (remembered)
			break;
		hash = mix(hash, i);
	}
	if (result == CLAIM_FAILED)
		return REFUSE(FLOW_TABLE_FAILED);
	if (result == TAKEN) {
		int refused = open_translated(hash);

		if (refused)
			return refused;
	}
	mark_reply(work);
	if (affinity_s)
		remember_backend(index);
	count_flow(index, work->flow.backend);
	return 0;
}

/*
 * `work.pkt` is the first packet, or any UDP one, of a conversation that dials a backend itself, or the answer to one
 * who dials from a backend's port. Keeps its tuple from being given to a flow; where a flow has it already, the
 * conversation becomes a flow with another source port.
 * 0: not translated; 1: `work.flow` says how; or REFUSE().
 */
__noinline int meet_direct(void)
{
	struct svclb_filters *bytes = filter_bytes();
	struct work *work = work_on();
	struct svclb_flow *owner;
	bool answers, v6;
	int result;

	if (!work || !bytes)
		return 0;
	v6 = work->pkt.v6;
	begin_flow(&work->flow, SVCLB_NONE, 0);
	copy_addr(work->flow.addr, work->pkt.tuple.daddr);
	work->flow.port = work->pkt.tuple.dport;
	work->flow.client_port = work->pkt.tuple.sport;
	reply_key(&work->reply_at, &work->pkt.tuple, &work->flow);
	answers = work->pkt.tcp_flags & TCP_ACK;
	if (answers || !has_connections(work->reply_at.proto)) {
		int asked = crossed_by(OVER_COUNTS);

		if (asked == SVCLB_FLOW_REPLY || (asked && answers))
			return 0;
	}
	owner = find_entry(&work->reply_at, v6);
	if (owner && owner->kind == SVCLB_FLOW_DIRECT && !owner->backend_fin) {
		touch(owner);
		return 0;
	}
	if (!owner || owner->kind == SVCLB_FLOW_DIRECT || dead(owner, work->reply_at.proto)) {
		if (owner)
			forget(work, &work->reply_at, owner);
		work->flow.kind = SVCLB_FLOW_DIRECT;
		if (!store_transient(&work->reply_at, &work->flow, BPF_NOEXIST, v6)) {
			forget_source(SVCLB_TO_POD);
			forget_source(SVCLB_TO_WIRE);
		}
		return 0;
	}
	if (answers)
		return 0;

	__builtin_memset(&work->slot, 0, sizeof(work->slot));
	copy_addr(work->slot.addr, work->pkt.tuple.daddr);
	work->slot.port = work->pkt.tuple.dport;
	result = open_translated(tuple_hash(&work->pkt.tuple));
	if (result)
		return result;
	forget_source(SVCLB_TO_POD);
	forget_source(SVCLB_TO_WIRE);
	mark_reply(work);
	bytes->direct[filter_index(work->pkt.tuple.daddr, work->pkt.tuple.dport)] = 1;
	return 1;
}

#endif
