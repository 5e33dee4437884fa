// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The programs of svclb, one for each hook. They translate packets between clients and the backends of Services, at the
 * host end of every pod's link: everything between sees plain pod-to-pod addresses.
 * Entry points only; each step lives in the file that is named after it.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "fragment.bpf.h"
#include "host.bpf.h"
#include "maps.bpf.h"
#include "parse.bpf.h"
#include "pod.bpf.h"
#include "uplink.bpf.h"
#include "verdict.bpf.h"
#include "work.bpf.h"
#include "xdp.bpf.h"

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
	if (!tell_sender(skb))
		return drop(&work->pkt, SVCLB_REASON_HOST_PACKET_UNROUTED);
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
	verdict = translate_outward(skb, work, bytes->reply);
	return work->pkt.fragment ? after_first_fragment(skb, verdict) : verdict;
}

/* What comes in from outside and from other nodes; the answers to flows of the node itself among it. */
static __always_inline int from_outside(struct __sk_buff *skb, struct work *work, const struct svclb_filters *bytes,
					__u32 parsed)
{
	int verdict;

	if (parsed == PARSED_PORTS && bytes->direct[filter_index(work->pkt.tuple.daddr, 0)]) {
		verdict = to_host(skb);
		if (verdict != VERDICT_NONE)
			return verdict;
		work->pkt.tuple.direction = SVCLB_FROM_WIRE;
	}
	return handle_wire(skb, work, parsed, false);
}

SEC("tcx/ingress")
int from_uplink(struct __sk_buff *skb)
{
	const struct svclb_filters *bytes = filter_bytes();
	struct work *work = work_on();

	if (!work || !bytes)
		return VERDICT_NEXT;
	return from_outside(skb, work, bytes, parse(skb, &work->pkt, SVCLB_FROM_WIRE));
}

SEC("tcx/egress")
int to_uplink(struct __sk_buff *skb)
{
	struct work *work = work_on();

	return work ? handle_wire(skb, work, parse(skb, &work->pkt, SVCLB_TO_WIRE), true) : VERDICT_NEXT;
}

/* The same for uplinks whose packets have no Ethernet header. */
SEC("tcx/ingress")
int from_tunnel(struct __sk_buff *skb)
{
	const struct svclb_filters *bytes = filter_bytes();
	struct work *work = work_on();

	if (!work || !bytes)
		return VERDICT_NEXT;
	/* It comes back without. */
	if (has_outer_headers(skb))
		return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
	return from_outside(skb, work, bytes, parse_bare(skb, &work->pkt, SVCLB_FROM_WIRE));
}

SEC("tcx/egress")
int to_tunnel(struct __sk_buff *skb)
{
	struct work *work = work_on();

	return work ? handle_wire(skb, work, parse_bare(skb, &work->pkt, SVCLB_TO_WIRE), true) : VERDICT_NEXT;
}

/* At uplinks, before from_uplink. */
SEC("xdp")
int from_wire(struct xdp_md *ctx)
{
	struct work *work = work_on();
	int action = work ? handle_frame(ctx, work) : XDP_PASS;

	if (action == XDP_PASS)
		count_action(ctx, SVCLB_XDP_PASSED);
	else
		count_action(ctx, action == XDP_DROP ? SVCLB_XDP_DROPPED : SVCLB_XDP_FORWARDED);
	return action;
}

char svclb_license[] SEC("license") = "GPL";
