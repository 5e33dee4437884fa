/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Flows: find, claim, promote, forget. A flow is two entries, each enough to translate its direction and to
 * rebuild the other one. It is born in the transient tables and moves to the established ones when the client goes on
 * after the backend's first answer: no flood of SYNs or of single datagrams gets there, answered or not.
 */
#ifndef SVCLB_FLOW_BPF_H
#define SVCLB_FLOW_BPF_H

#include <linux/errno.h>

#include "flow_table.bpf.h"
#include "parse.bpf.h"
#include "verdict.bpf.h"
#include "work.bpf.h"

#define HANDSHAKE_S 1 /* in whole seconds of the clock: up to two */
#define TIME_WAIT_S 60 /* Linux's, from the last FIN on */
#define JIFFIES_PER_TICK_SHIFT 10 /* one to ten seconds, by the kernel's HZ; a jiffy costs no clock read */

/* A flow outlives nothing that its endpoints consider closed; the collector removes it a little later. */
static __always_inline bool closed(const struct svclb_flow *flow)
{
	return flow->reset || (flow->client_fin && flow->backend_fin);
}

/* Seconds without a packet of either direction: each tells the other's entry. */
static __always_inline __u32 idle_s(const struct svclb_flow *flow)
{
	return now_s() - flow->seen_s;
}

/* May another flow have this one's tuple? Only where nobody can still be using it, the backend's TIME_WAIT included: it
 * would measure the other's SYN by the sequence numbers and time stamps of this one. */
static __always_inline bool dead(const struct svclb_flow *flow, __u8 proto)
{
	__u32 idle = idle_s(flow);

	if (closed(flow))
		return flow->reset || flow->backend_fin != SVCLB_FIN_FIRST || proto != IPPROTO_TCP ||
		       idle > TIME_WAIT_S;
	if (flow->kind == SVCLB_FLOW_DIRECT && has_connections(proto))
		/* The client's FIN is not followed; after the backend's only the last words remain. */
		return (flow->backend_fin && idle > settings.half_open_timeout_s) ||
		       idle > settings.tcp_established_timeout_s;
	if (!flow->answered)
		return idle > settings.half_open_timeout_s;
	return idle > (proto == IPPROTO_UDP ? settings.udp_answered_timeout_s : settings.tcp_established_timeout_s);
}

/* Writes the time of the last packet, once a tick; true if it did. */
static __always_inline bool touch(struct svclb_flow *flow)
{
	__u32 tick = bpf_jiffies64() >> JIFFIES_PER_TICK_SHIFT;

	if (flow->tick == tick)
		return false;
	flow->tick = tick;
	flow->seen_s = now_s();
	return true;
}

static __always_inline void stamp(struct svclb_flow *flow)
{
	flow->tick = bpf_jiffies64() >> JIFFIES_PER_TICK_SHIFT;
	flow->seen_s = now_s();
}

/* Replies that are met in the program of clients' packets. */
static __always_inline bool is_reply_among_clients(__u8 kind)
{
	return kind == SVCLB_FLOW_HAIRPIN_REPLY || kind == SVCLB_FLOW_SOURCE_REPLY;
}

static __always_inline void same_protocol(struct svclb_flow_key6 *to, const struct svclb_flow_key6 *from)
{
	to->proto = from->proto;
	to->pad = 0;
}

/* Key of the backend's replies to a flow, from the key and value of its forward entry. */
static __always_inline void reply_key(struct svclb_flow_key6 *reply, const struct svclb_flow_key6 *key,
				      const struct svclb_flow *forward)
{
	bool hairpin = forward->kind == SVCLB_FLOW_HAIRPIN;

	same_protocol(reply, key);
	if (forward->kind == SVCLB_FLOW_SOURCE) {
		copy_addr(reply->saddr, key->daddr);
		reply->sport = key->dport;
		copy_addr(reply->daddr, forward->addr);
		reply->dport = forward->port;
		reply->direction = key->direction & ~SVCLB_DIRECTION_TO;
		return;
	}
	copy_addr(reply->saddr, forward->addr);
	reply->sport = forward->port;
	/* A pod that reached itself sees the frontend as its peer, and answers it through from_pod. */
	copy_addr(reply->daddr, hairpin ? key->daddr : key->saddr);
	reply->dport = forward->client_port;
	reply->direction = hairpin ? SVCLB_FROM_POD : key->direction | SVCLB_DIRECTION_TO;
}

/* Key of the client's packets, from the key and value of the reply entry. */
static __always_inline void forward_key(struct svclb_flow_key6 *forward, const struct svclb_flow_key6 *key,
					const struct svclb_flow *reply)
{
	bool hairpin = reply->kind == SVCLB_FLOW_HAIRPIN_REPLY;

	same_protocol(forward, key);
	if (reply->kind == SVCLB_FLOW_SOURCE_REPLY) {
		copy_addr(forward->saddr, reply->addr);
		forward->sport = reply->port;
		copy_addr(forward->daddr, key->saddr);
		forward->dport = key->sport;
		forward->direction = key->direction | SVCLB_DIRECTION_TO;
		return;
	}
	copy_addr(forward->saddr, hairpin ? key->saddr : key->daddr);
	forward->sport = reply->client_port;
	copy_addr(forward->daddr, reply->addr);
	forward->dport = reply->port;
	forward->direction = key->direction & ~SVCLB_DIRECTION_TO;
}

/* The value of the forward entry, from the key and value of the reply entry; and the other way about below. */
static __always_inline void forward_flow(struct svclb_flow *forward, const struct svclb_flow_key6 *key,
					 const struct svclb_flow *reply)
{
	*forward = *reply;
	if (reply->kind == SVCLB_FLOW_SOURCE_REPLY) {
		copy_addr(forward->addr, key->daddr);
		forward->port = key->dport;
		forward->client_port = key->sport;
		forward->kind = SVCLB_FLOW_SOURCE;
		return;
	}
	copy_addr(forward->addr, key->saddr);
	forward->port = key->sport;
	forward->client_port = key->dport;
	forward->kind = reply->kind == SVCLB_FLOW_HAIRPIN_REPLY ? SVCLB_FLOW_HAIRPIN : SVCLB_FLOW_FORWARD;
}

static __always_inline void reply_flow(struct svclb_flow *reply, const struct svclb_flow_key6 *key,
				       const struct svclb_flow *forward)
{
	*reply = *forward;
	if (forward->kind == SVCLB_FLOW_SOURCE) {
		copy_addr(reply->addr, key->saddr);
		reply->port = key->sport;
		reply->client_port = key->dport;
		reply->kind = SVCLB_FLOW_SOURCE_REPLY;
		return;
	}
	copy_addr(reply->addr, key->daddr);
	reply->port = key->dport;
	reply->client_port = key->sport;
	reply->kind = forward->kind == SVCLB_FLOW_HAIRPIN ? SVCLB_FLOW_HAIRPIN_REPLY : SVCLB_FLOW_REPLY;
}

/* Do two reply entries of one key belong to the same conversation of the client? */
static __always_inline bool same_conversation(const struct svclb_flow *a, const struct svclb_flow *b)
{
	return a->kind == b->kind && a->client_port == b->client_port && a->port == b->port &&
	       same_addr(a->addr, b->addr);
}

/* Does the forward entry send to where the reply entry at `key` answers from? The client may have moved on since. */
static __always_inline bool answered_by(const struct svclb_flow *forward, const struct svclb_flow_key6 *key)
{
	if (forward->kind == SVCLB_FLOW_SOURCE)
		return forward->port == key->dport && same_addr(forward->addr, key->daddr);
	return forward->port == key->sport && forward->client_port == key->dport &&
	       same_addr(forward->addr, key->saddr);
}

/* Does the reply entry answer the client whose forward entry is at `key`? */
static __always_inline bool answers_to(const struct svclb_flow *reply, const struct svclb_flow_key6 *key)
{
	if (reply->kind == SVCLB_FLOW_SOURCE_REPLY)
		return reply->port == key->sport && same_addr(reply->addr, key->saddr);
	return reply->client_port == key->sport && reply->port == key->dport && same_addr(reply->addr, key->daddr);
}

/* Removes a flow by the key of its reply entry, and its forward entry with it. */
static __always_inline void forget(struct work *work, const struct svclb_flow_key6 *key, const struct svclb_flow *reply)
{
	struct svclb_flow_key6 *forward_at = &work->forgotten_at;
	struct svclb_flow *forward;
	bool v6 = work->pkt.v6;

	if (reply->kind != SVCLB_FLOW_DIRECT) {
		forward_key(forward_at, key, reply);
		forward = find_established(forward_at, v6);
		if (forward && answered_by(forward, key))
			remove_established(forward_at, v6);
		forward = find_transient(forward_at, v6);
		if (forward && answered_by(forward, key))
			remove_transient(forward_at, v6);
	}
	remove_entry(key, v6);
}

/*
 * The tuple `work.reply_at` has just gone to a new conversation. What a former one with the node as its source has left
 * behind at the device that `direction` stands for would be taken for this one's, with the end that it came to.
 */
__noinline int forget_source(__u32 direction)
{
	const struct svclb_wire_filters *wire = wire_filter_bytes();
	const struct svclb_flow *there;
	struct work *work = work_on();
	struct svclb_flow_key6 reply_at;
	struct svclb_flow_key6 *at;
	bool v6;

	if (!work || !wire)
		return 0;
	v6 = work->pkt.v6;
	at = &work->source_at;
	if (!wire->source[filter_index(work->reply_at.saddr, work->reply_at.sport)])
		return 0;
	copy_addr(at->saddr, work->reply_at.daddr);
	at->sport = work->reply_at.dport;
	copy_addr(at->daddr, work->reply_at.saddr);
	at->dport = work->reply_at.sport;
	at->direction = direction;
	same_protocol(at, &work->reply_at);
	there = find_entry(at, v6);
	if (!there || there->kind != SVCLB_FLOW_SOURCE)
		return 0;
	reply_key(&reply_at, at, there);
	remove_entry(at, v6);
	there = find_entry(&reply_at, v6);
	if (there && answers_to(there, at))
		remove_entry(&reply_at, v6);
	return 0;
}

enum claim {
	CLAIMED,
	TAKEN, /* the tuple belongs to somebody who may still be using it */
	CLAIM_FAILED,
};

/* The client has closed and gone, to judge by its new SYN, but the backend's end is still open: it would not take it.
 */
static __always_inline bool half_closed(const struct svclb_flow *flow)
{
	return flow->client_fin && !flow->backend_fin && !flow->reset;
}

/* May `reply`, with the key of `owner`, take its place? */
static __always_inline bool may_replace(const struct svclb_flow *owner, const struct svclb_flow *reply, __u8 proto)
{
	return same_conversation(owner, reply) ? !half_closed(owner) : dead(owner, proto);
}

/* Of a flow that is not established: has its handshake been given up, to all appearance? */
static __always_inline bool waits_in_vain(const struct svclb_flow *flow)
{
	return flow->kind != SVCLB_FLOW_DIRECT && idle_s(flow) > HANDSHAKE_S;
}

/*
 * Makes the flow `work.reply` the owner of the tuple `work.reply_at`, unless another flow or a direct conversation has
 * it: two flows with one tuple towards the backend would get each other's replies. With `press` also in the place of
 * one that both ends have closed, whose backend may want its SYN twice, or that is not established, as a full table
 * would do, unless its handshake may be under way. Returns enum claim.
 */
__noinline int claim(int press)
{
	struct work *work = work_on();
	struct svclb_flow *owner;
	__u64 how = BPF_NOEXIST;
	long failed;
	bool v6;

	if (!work)
		return CLAIM_FAILED;
	v6 = work->pkt.v6;
	owner = find_established(&work->reply_at, v6);
	if (owner) {
		if (!may_replace(owner, &work->reply, work->reply_at.proto) && !(press && closed(owner)))
			return TAKEN;
		forget(work, &work->reply_at, owner);
	}
	/* An LRU table makes room before it looks whether there is an entry: so we look first. */
	owner = find_transient(&work->reply_at, v6);
	if (owner) {
		if (!may_replace(owner, &work->reply, work->reply_at.proto) &&
		    !(press && (closed(owner) || waits_in_vain(owner))))
			return TAKEN;
		how = BPF_ANY;
		if (!same_conversation(owner, &work->reply))
			forget(work, &work->reply_at, owner);
	}
	failed = store_transient(&work->reply_at, &work->reply, how, v6);
	if (!failed)
		return CLAIMED;
	return failed == -EEXIST ? TAKEN : CLAIM_FAILED;
}

/*
 * The flow with the reply entry `work.reply` at `work.reply_at` becomes established, unless its client has been sent
 * elsewhere since. When there is no room it stays where it is, which works but can be evicted.
 */
__noinline int promote(void)
{
	struct work *work = work_on();
	struct svclb_flow_key6 forward_at;
	struct svclb_flow forward;
	struct svclb_flow *old;
	bool v6;

	if (!work)
		return 0;
	v6 = work->pkt.v6;
	forward_key(&forward_at, &work->reply_at, &work->reply);
	old = find_transient(&forward_at, v6);
	if (!old)
		old = find_established(&forward_at, v6);
	if (old && !answered_by(old, &work->reply_at))
		return 0;
	work->reply.answered = 1;
	stamp(&work->reply);
	forward_flow(&forward, &work->reply_at, &work->reply);
	if (!store_established(&work->reply_at, &work->reply, v6)) {
		if (!store_established(&forward_at, &forward, v6)) {
			remove_transient(&work->reply_at, v6);
			remove_transient(&forward_at, v6);
			return 0;
		}
		remove_established(&work->reply_at, v6);
	}
	count_reason(&work->pkt, SVCLB_REASON_ESTABLISHED_FULL);
	return 0;
}

/* What FIN and RST say about the connection. Only the end of it is believed at once: a RST may be forged, and traffic
 * that goes on says so. */
static __always_inline void note_end(struct svclb_flow *flow, __u8 tcp_flags, bool from_client)
{
	if (tcp_flags & TCP_RST) {
		flow->reset = 1;
		return;
	}
	if (tcp_flags & TCP_FIN) {
		flow->seen_s = now_s();
		if (from_client)
			flow->client_fin = 1;
		else if (!flow->backend_fin)
			flow->backend_fin = flow->client_fin ? 1 : SVCLB_FIN_FIRST;
	}
	if (!(tcp_flags & TCP_SYN))
		flow->reset = 0;
}

/* `work.pkt`, of the flow `work.flow`, is told to the entry of the other direction. */
__noinline int tell_other_direction(int from_client)
{
	struct work *work = work_on();
	struct svclb_flow_key6 other_at;
	struct svclb_flow *other;

	if (!work)
		return 0;
	if (from_client)
		reply_key(&other_at, &work->pkt.tuple, &work->flow);
	else
		forward_key(&other_at, &work->pkt.tuple, &work->flow);
	other = find_entry(&other_at, work->pkt.v6);
	/* The client's tuple may have gone to a new flow since. */
	if (!other || !(from_client ? answers_to(other, &work->pkt.tuple) : answered_by(other, &work->pkt.tuple)))
		return 0;
	touch(other);
	note_end(other, work->pkt.tcp_flags, from_client);
	return 0;
}

/* Follows the flow through `work.pkt`, in both entries: that it lives, once a tick, and its end. `flow` is the entry of
 * the packet's direction. True once a tick. */
static __always_inline bool follow(struct work *work, struct svclb_flow *flow, bool from_client)
{
	__u8 flags = work->pkt.tcp_flags;
	bool later = touch(flow);

	if (!later && !(flags & (TCP_FIN | TCP_RST)) && !flow->reset)
		return false;
	note_end(flow, flags, from_client);
	work->flow = *flow;
	tell_other_direction(from_client);
	return later;
}

#endif
