// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The programs of svclb, one for each hook. They translate packets between clients and the backends of Services, at the
 * host end of every pod's link: everything between sees plain pod-to-pod addresses.
 * Read from the end: entry points first, then the file that each step lives in.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "choice.bpf.h"
#include "flow.bpf.h"
#include "fragment.bpf.h"
#include "host.bpf.h"
#include "icmp.bpf.h"
#include "maps.bpf.h"
#include "nat.bpf.h"
#include "parse.bpf.h"
#include "reject.bpf.h"
#include "sctp.bpf.h"
#include "service.bpf.h"
#include "source_range.bpf.h"
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
	count_packet(&work->pkt, flow->service, flow->backend);
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

	if (!flow)
		return false;
	from_client = !is_reply_among_clients(flow->kind);
	if (from_client && (has_connections(pkt->tuple.proto) ? is_first_syn(pkt) && client_is_done(flow)
							      : !backend_serves(work, flow))) {
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
 * The client goes on with the transient `work.flow`: restores its reply entry if that was evicted alone, or makes the
 * flow established once it has been answered. `entry` is where it is; a full table is tried again when the tick has
 * changed. False: the tuple has gone to another flow meanwhile.
 */
static __always_inline bool go_on(struct work *work, struct svclb_flow *entry, bool later)
{
	const struct svclb_flow *reply;

	reply_key(&work->reply_at, &work->pkt.tuple, &work->flow);
	reply = find_transient(&work->reply_at, work->pkt.v6);
	if (!reply || !answers_to(reply, &work->pkt.tuple)) {
		reply_flow(&work->reply, &work->pkt.tuple, &work->flow);
		return claim() != TAKEN;
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
		answered(work, flow);
		return 1;
	}
	tcp = has_connections(work->pkt.tuple.proto);
	stays = (tcp && !is_first_syn(&work->pkt)) || (!(tcp && client_is_done(flow)) && backend_serves(work, flow));
	later = follow(work, flow, true);
	if (stays) {
		work->flow = *flow;
		if (go_on(work, flow, later))
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

/* Looks for the flow, not established, that `work.pkt` is an answer to. 1: `work.flow` says how to translate. */
__noinline int found_transient_reply(void)
{
	struct work *work = work_on();
	struct svclb_flow *flow;

	if (!work)
		return 0;
	flow = find_transient(&work->pkt.tuple, work->pkt.v6);
	if (!flow)
		return 0;
	if (flow->kind == SVCLB_FLOW_DIRECT) {
		touch(flow);
		if (work->pkt.tcp_flags & (TCP_FIN | TCP_RST)) {
			stamp(flow); /* the backend's memory of the connection begins now */
			flow->backend_fin = 1;
		}
		return 0;
	}
	answered(work, flow);
	return 1;
}

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
	__u32 set;
	int result;

	if (!work || !bytes)
		return VERDICT_NEXT;
	pkt = &work->pkt;
	if (found_transient())
		return VERDICT_NONE;
	frontend = find_frontend(&pkt->tuple);
	if (frontend || is_cluster_ip(&pkt->tuple)) {
		/* Begun before we came, or already forgotten by both ends: the kernel's conntrack may know better. */
		if (has_connections(pkt->tuple.proto) && !is_first_syn(pkt))
			return pass(pkt, SVCLB_REASON_NO_FLOW);
		if (!frontend)
			return reject(skb, SVCLB_REASON_UNKNOWN_PORT_REJECTED);
		index = frontend->service;
		set = frontend->set;
		if ((frontend->flags & SVCLB_FRONTEND_SOURCE_RANGES) && !source_allowed(index))
			return drop(pkt, SVCLB_REASON_SOURCE_RANGE_DROPPED);
		result = open_flow(index, set);
		return result ? refuse(skb, pkt, result) : VERDICT_NONE;
	}
	if (has_connections(pkt->tuple.proto) && !is_first_syn(pkt))
		return VERDICT_NEXT;
	index = filter_index(pkt->tuple.daddr, pkt->tuple.dport);
	if (bytes->reply[index] || bytes->backend[index]) {
		result = meet_direct();
		if (result < 0)
			return drop(pkt, REFUSED_REASON(result));
		return result ? VERDICT_NONE : VERDICT_NEXT;
	}
	if (in_service_cidr(pkt->tuple.daddr))
		return drop(pkt, SVCLB_REASON_UNALLOCATED_DROPPED);
	return VERDICT_NEXT;
}

/* Can the packet concern us though it has no established flow? Most packets that are not for a frontend end here. */
static __always_inline bool may_begin(const struct packet *pkt, const struct svclb_filters *bytes, bool may_have_flow,
				      __u32 index)
{
	if (may_have_flow)
		return true;
	if (has_connections(pkt->tuple.proto) && !is_first_syn(pkt))
		return false;
	return bytes->reply[index] || bytes->backend[index] || has_service_cidr();
}

static __always_inline int handle_from_pod(struct __sk_buff *skb, struct work *work, const struct svclb_filters *bytes)
{
	const struct packet *pkt = &work->pkt;
	__u32 index = filter_index(pkt->tuple.daddr, pkt->tuple.dport);
	bool may_have_flow = bytes->frontend[filter_index(pkt->tuple.daddr, 0)] || bytes->direct[index];
	int verdict;

	if (bytes->direct[filter_index(pkt->tuple.daddr, 0)] && pkt->fragment == FRAGMENT_NONE) {
		verdict = to_host(skb);
		if (verdict != VERDICT_NONE)
			return verdict;
	}
	if (!may_have_flow || !found_established(work)) {
		if (!may_begin(pkt, bytes, may_have_flow, index))
			return VERDICT_NEXT;
		verdict = begin(skb);
		if (verdict != VERDICT_NONE)
			return verdict;
	}
	return translate(skb, work);
}

static __always_inline int handle_to_pod(struct __sk_buff *skb, struct work *work, const struct svclb_filters *bytes)
{
	const struct packet *pkt = &work->pkt;
	struct svclb_flow *flow;

	if (!bytes->reply[filter_index(pkt->tuple.saddr, pkt->tuple.sport)])
		return VERDICT_NEXT;
	flow = find_established(&pkt->tuple, pkt->v6);
	if (flow) {
		follow(work, flow, false);
		work->flow = *flow;
	} else if (!found_transient_reply()) {
		return VERDICT_NEXT;
	}
	return translate(skb, work);
}

/* `work.pkt` has no ports and is meant for a frontend's address. What asks a ClusterIP for something is told that this
 * is not there (behaviour row 1.26); what we cannot translate goes on untouched. */
static __always_inline int portless_to_frontend(struct __sk_buff *skb, const struct packet *pkt, __u32 parsed)
{
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
		return portless_to_frontend(skb, pkt, parsed);
	if (parsed == PARSED_OTHER && in_service_cidr(pkt->tuple.daddr) && (!is_icmp(pkt) || is_ping(skb, pkt)))
		return drop(pkt, SVCLB_REASON_UNALLOCATED_DROPPED);
	return VERDICT_NEXT;
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

#include "uplink.bpf.h"

/* `work.pkt`, from a pod or from the node itself. */
static __always_inline int from_client(struct __sk_buff *skb, struct work *work, const struct svclb_filters *bytes,
				       __u32 parsed)
{
	int verdict;

	if (parsed == PARSED_FRAGMENT)
		parsed = open_fragment(skb);
	if (parsed != PARSED_PORTS)
		return portless_from_pod(skb, parsed);
	verdict = handle_from_pod(skb, work, bytes);
	return work->pkt.fragment ? after_first_fragment(skb, verdict) : verdict;
}

SEC("tcx/ingress")
int from_pod(struct __sk_buff *skb)
{
	const struct svclb_filters *bytes = filter_bytes();
	struct work *work = work_on();

	if (!work || !bytes)
		return VERDICT_NEXT;
	work->host = 0;
	return from_client(skb, work, bytes, parse(skb, &work->pkt, SVCLB_FROM_POD));
}

/* At the program side of the catch-all's pair of devices. Only the Service CIDRs are routed to it. */
SEC("tcx/ingress")
int from_host(struct __sk_buff *skb)
{
	const struct svclb_filters *bytes = filter_bytes();
	struct work *work = work_on();
	__u32 parsed;
	int verdict;

	if (!work || !bytes)
		return VERDICT_DROP;
	parsed = parse(skb, &work->pkt, SVCLB_FROM_POD);
	if (parsed == PARSED_NOT_IP || parsed == PARSED_NO_ADDRESSES)
		return VERDICT_DROP;
	work->host = is_from_node(skb);
	verdict = from_client(skb, work, bytes, parsed);
	return verdict == VERDICT_NEXT ? leave_host(skb, parsed) : verdict;
}

SEC("tcx/egress")
int to_pod(struct __sk_buff *skb)
{
	const struct svclb_filters *bytes = filter_bytes();
	struct work *work = work_on();
	__u32 parsed;
	int verdict;

	if (!work || !bytes)
		return VERDICT_NEXT;
	parsed = parse(skb, &work->pkt, SVCLB_TO_POD);
	if (parsed == PARSED_FRAGMENT)
		parsed = open_fragment(skb);
	if (parsed != PARSED_PORTS)
		return portless_to_pod(skb, parsed);
	verdict = handle_to_pod(skb, work, bytes);
	return work->pkt.fragment ? after_first_fragment(skb, verdict) : verdict;
}

/* What comes in from outside and from other nodes; the answers to flows of the node itself among it. */
SEC("tcx/ingress")
int from_uplink(struct __sk_buff *skb)
{
	const struct svclb_filters *bytes = filter_bytes();
	struct work *work = work_on();
	__u32 parsed;
	int verdict;

	if (!work || !bytes)
		return VERDICT_NEXT;
	parsed = parse(skb, &work->pkt, SVCLB_FROM_WIRE);
	if (parsed == PARSED_PORTS && bytes->direct[filter_index(work->pkt.tuple.daddr, 0)]) {
		verdict = to_host(skb);
		if (verdict != VERDICT_NONE)
			return verdict;
		work->pkt.tuple.direction = SVCLB_FROM_WIRE;
	}
	return handle_wire(skb, work, parsed, false);
}

SEC("tcx/egress")
int to_uplink(struct __sk_buff *skb)
{
	struct work *work = work_on();

	return work ? handle_wire(skb, work, parse(skb, &work->pkt, SVCLB_TO_WIRE), true) : VERDICT_NEXT;
}

char svclb_license[] SEC("license") = "GPL";
