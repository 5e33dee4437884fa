/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* How flows that exist go on with a packet, at every hook: whether it still belongs to them, and its translation. */
#ifndef SVCLB_FLOW_LIFE_BPF_H
#define SVCLB_FLOW_LIFE_BPF_H

#include "flow.bpf.h"
#include "maps.bpf.h"
#include "nat.bpf.h"
#include "parse.bpf.h"
#include "reject.bpf.h"
#include "sctp.bpf.h"
#include "service.bpf.h"
#include "verdict.bpf.h"
#include "work.bpf.h"

/* Writes `work.wire.to` into the packet. 0, or negative. */
__noinline int rewrite_packet(struct __sk_buff *skb)
{
	struct work *work = work_on();

	if (!work)
		return -1;
	return rewrite_in_steps(skb, &work->pkt, &work->wire);
}

/* Applies `work.flow` to the packet. */
static __always_inline int translate(struct __sk_buff *skb, struct work *work)
{
	const struct svclb_flow *flow = &work->flow;
	__u8 kind = flow->kind;
	long failed;

	translation(&work->wire.to, &work->pkt.tuple, flow);
	if (kind != SVCLB_FLOW_SOURCE && kind != SVCLB_FLOW_SOURCE_REPLY)
		count_packet(&work->pkt, flow->service, flow->backend); /* at the other step */
	work->pkt.translated = true;
	if (work->pkt.tuple.proto == IPPROTO_SCTP)
		failed = rewrite_sctp(skb);
	else
		failed = rewrite_at_once(skb, &work->pkt, &work->wire);
	if (failed > 0)
		failed = rewrite_packet(skb);
	if (failed)
		return drop(&work->pkt, SVCLB_REASON_REWRITE_FAILED);
	if (kind == SVCLB_FLOW_HAIRPIN || kind == SVCLB_FLOW_HAIRPIN_REPLY)
		return send_back(skb);
	return VERDICT_NEXT;
}

static __always_inline bool is_first_syn(const struct packet *pkt)
{
	return (pkt->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
}

/*
 * Does a backend's SYN-ACK to the node answer somebody else's connection? The port's own is over; a kube-proxy beside
 * us masquerades by the same ports. What follows on it is to find nothing here.
 */
static __always_inline bool answers_another(const struct packet *pkt, const struct svclb_flow *flow)
{
	return flow->kind == SVCLB_FLOW_SOURCE_REPLY && (pkt->tcp_flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK) &&
	       closed(flow);
}

/* Does the packet begin a flow, as far as its own headers tell? */
static __always_inline bool opens_flow(const struct packet *pkt)
{
	return !has_connections(pkt->tuple.proto) || is_first_syn(pkt);
}

/* `work.flow` goes on only if its frontend leads to the same service port and its backend still serves. */
__noinline int still_serves(void)
{
	struct work *work = work_on();
	const struct svclb_frontend *frontend;
	const struct svclb_backend *backend;

	if (!work)
		return 0;
	frontend = find_frontend(&work->pkt.tuple);
	if (!frontend || frontend->service != work->flow.service)
		return 0;
	backend = find_backend(work->flow.service, work->flow.addr, work->flow.port);
	return backend && backend->flags & SVCLB_BACKEND_SERVING;
}

/* Whether the backend still serves; one load unless its service port has changed since the last packet. */
static __always_inline bool backend_serves(struct work *work, struct svclb_flow *flow)
{
	__u32 index = flow->service;
	const struct svclb_service *service = bpf_map_lookup_elem(&services, &index);
	__u32 epoch;

	if (!service)
		return false;
	epoch = *(volatile const __u32 *)&service->epoch;
	if (epoch == flow->epoch)
		return true;
	work->flow = *flow;
	if (!still_serves())
		return false;
	flow->epoch = epoch;
	return true;
}

/* Would the client of this flow begin anew with a SYN? Not while the flow may be alive: a SYN can be late, and behind
 * the acknowledgment that followed it. */
static __always_inline bool client_is_done(const struct svclb_flow *flow)
{
	return closed(flow) || flow->client_fin || idle_s(flow) > settings.half_open_timeout_s;
}

/* The flow of a pod's packet, if it has been answered and the packet still belongs to it: TCP is never cut, UDP moves
 * at once. */
static __always_inline bool found_established(struct work *work)
{
	const struct packet *pkt = &work->pkt;
	struct svclb_flow *flow = find_established(&pkt->tuple, pkt->v6);
	bool from_client;
	bool over;

	if (!flow)
		return false;
	from_client = !is_reply_among_clients(flow->kind);
	if (!from_client)
		over = answers_another(pkt, flow);
	else if (has_connections(pkt->tuple.proto))
		over = is_first_syn(pkt) && client_is_done(flow);
	else
		over = !backend_serves(work, flow);
	if (over) {
		remove_established(&pkt->tuple, pkt->v6);
		return false;
	}
	follow(work, flow, from_client);
	work->flow = *flow;
	return true;
}

/* Restores the client's entry of the flow with the reply entry `work.reply`, if that was evicted alone. */
__noinline int keep_forward(void)
{
	struct work *work = work_on();
	struct svclb_flow_key6 forward_at;
	struct svclb_flow forward;

	if (!work)
		return 0;
	forward_key(&forward_at, &work->reply_at, &work->reply);
	if (find_transient(&forward_at, work->pkt.v6) || find_established(&forward_at, work->pkt.v6))
		return 0;
	forward_flow(&forward, &work->reply_at, &work->reply);
	forward.answered = 0;
	return store_transient(&forward_at, &forward, BPF_NOEXIST, work->pkt.v6);
}

/*
 * A packet of the backend has found `flow`, its reply entry, in the transient table. It is the client that has to go on
 * for the flow to become established, but a backend that does is proof enough: TCP that speaks after its SYN-ACK, or
 * datagrams that come for longer than a tick. Leaves the entry in `work.flow`.
 */
static __always_inline void answered(struct work *work, struct svclb_flow *flow)
{
	bool tcp = has_connections(work->pkt.tuple.proto);
	bool syn = work->pkt.tcp_flags & TCP_SYN;
	bool later = follow(work, flow, false);
	bool goes_on = flow->answered && (tcp ? !syn : later);

	if (work->pkt.tcp_flags & TCP_RST)
		goes_on = false;
	else if (!tcp || syn)
		flow->answered = 1;
	work->flow = *flow;
	work->reply_at = work->pkt.tuple;
	work->reply = *flow;
	if (goes_on)
		promote();
	else if (flow->answered)
		keep_forward();
}

/*
 * The client goes on with the transient `work.flow`, whose answers do not pass here: that it goes on is all there is to
 * tell that it was answered. TCP that speaks after its SYN, datagrams that come for longer than a tick.
 */
static __always_inline void go_on_unanswered(struct work *work, struct svclb_flow *entry, bool later)
{
	bool tcp = has_connections(work->pkt.tuple.proto);
	bool goes_on = tcp ? !(work->pkt.tcp_flags & (TCP_SYN | TCP_RST)) : later;

	if (!goes_on || (entry->answered && !later))
		return;
	entry->answered = 1;
	work->flow.answered = 1;
	stamp(&work->flow);
	if (store_established(&work->pkt.tuple, &work->flow, work->pkt.v6))
		count_reason(&work->pkt, SVCLB_REASON_ESTABLISHED_FULL);
	else
		remove_transient(&work->pkt.tuple, work->pkt.v6);
}

/*
 * The client goes on with the transient `work.flow`: restores its reply entry if that was evicted alone, or makes the
 * flow established once it has been answered. `entry` is where it is; a full table is tried again when the tick has
 * changed. `crosses`: others may have the tuple the other way round. False: it has gone to another flow meanwhile.
 */
static __always_inline bool go_on(struct work *work, struct svclb_flow *entry, bool later, bool crosses)
{
	const struct svclb_flow *reply;

	if (work->flow.kind == SVCLB_FLOW_ENCAPSULATED) {
		go_on_unanswered(work, entry, later);
		return true;
	}
	reply_key(&work->reply_at, &work->pkt.tuple, &work->flow);
	reply = find_transient(&work->reply_at, work->pkt.v6);
	if (!reply || !answers_to(reply, &work->pkt.tuple)) {
		reply_flow(&work->reply, &work->pkt.tuple, &work->flow);
		return (crosses ? claim_apart(work, false, true) : (enum claim)claim(0)) != TAKEN;
	}
	if (reply->answered && !(work->pkt.tcp_flags & (TCP_SYN | TCP_RST)) && (!entry->answered || later)) {
		entry->answered = 1;
		work->reply = *reply;
		promote();
	}
	return true;
}

/*
 * Looks for `work.pkt` among the flows that are not established. A retransmitted SYN, and UDP, stay with the backend as
 * long as it serves. 1: `work.flow` says how to translate.
 */
__noinline int found_transient(void)
{
	const struct svclb_flow *reply;
	struct work *work = work_on();
	struct svclb_flow *flow;
	bool stays;
	bool later;
	bool tcp;

	if (!work)
		return 0;
	flow = find_transient(&work->pkt.tuple, work->pkt.v6);
	if (!flow)
		return 0;
	if (is_reply_among_clients(flow->kind)) {
		if (answers_another(&work->pkt, flow)) {
			remove_transient(&work->pkt.tuple, work->pkt.v6);
			return 0;
		}
		answered(work, flow);
		return 1;
	}
	tcp = has_connections(work->pkt.tuple.proto);
	stays = (tcp && !is_first_syn(&work->pkt)) || (!(tcp && client_is_done(flow)) && backend_serves(work, flow));
	later = follow(work, flow, true);
	if (stays) {
		work->flow = *flow;
		if (go_on(work, flow, later, true))
			return 1;
	}
	/* TCP: a late answer of the old backend must not be taken for the new one's. */
	if (tcp) {
		reply_key(&work->reply_at, &work->pkt.tuple, flow);
		reply = find_transient(&work->reply_at, work->pkt.v6);
		if (reply && answers_to(reply, &work->pkt.tuple))
			remove_transient(&work->reply_at, work->pkt.v6);
	}
	remove_transient(&work->pkt.tuple, work->pkt.v6);
	return 0;
}

/* Looks for `work.pkt`, on its way to a pod or out, among the flows that are not established: an answer of a backend,
 * or what a client sends to one that is to see the node. VERDICT_NONE: `work.flow` says how to translate. */
__noinline int found_transient_outward(void)
{
	struct work *work = work_on();
	struct svclb_flow *flow;
	bool later;

	if (!work)
		return VERDICT_NEXT;
	flow = find_transient(&work->pkt.tuple, work->pkt.v6);
	if (!flow)
		return VERDICT_NEXT;
	if (flow->kind == SVCLB_FLOW_DIRECT) {
		touch(flow);
		if (work->pkt.tcp_flags & (TCP_FIN | TCP_RST)) {
			stamp(flow); /* the backend's memory of the connection begins now */
			flow->backend_fin = 1;
		}
		return VERDICT_NEXT;
	}
	if (flow->kind != SVCLB_FLOW_SOURCE) {
		answered(work, flow);
		return VERDICT_NONE;
	}
	later = follow(work, flow, true);
	work->flow = *flow;
	if (go_on(work, flow, later, false))
		return VERDICT_NONE;
	/* Its port went to another flow while the entry of the answers was evicted: its first half takes a new one. */
	remove_transient(&work->pkt.tuple, work->pkt.v6);
	return drop(&work->pkt, SVCLB_REASON_NO_FREE_SOURCE_PORT);
}

/* A packet at the egress of a pod link or uplink. `reply`: the filter of the answers that are met there. */
static __always_inline int translate_outward(struct __sk_buff *skb, struct work *work, const __u8 *reply)
{
	const struct svclb_wire_filters *wire = wire_filter_bytes();
	const struct svclb_flow_key6 *tuple = &work->pkt.tuple;
	struct svclb_flow *flow;
	int verdict;

	if (!wire)
		return VERDICT_NEXT;
	if (!reply[filter_index(tuple->saddr, tuple->sport)] && !wire->source[filter_index(tuple->daddr, tuple->dport)])
		return VERDICT_NEXT;
	flow = find_established(tuple, work->pkt.v6);
	if (flow) {
		follow(work, flow, flow->kind == SVCLB_FLOW_SOURCE);
		work->flow = *flow;
		return translate(skb, work);
	}
	verdict = found_transient_outward();
	return verdict == VERDICT_NONE ? translate(skb, work) : verdict;
}

#endif
