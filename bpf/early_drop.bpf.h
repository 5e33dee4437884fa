/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What XDP drops: the first packets of flows that from_uplink would drop without an answer, by the same rules in the
 * same order and under the same reasons. A packet of any flow is never dropped here, nor is one that the sender is to
 * be told about. What floods are made of ends before the kernel has allocated anything for it.
 */
#ifndef SVCLB_EARLY_DROP_BPF_H
#define SVCLB_EARLY_DROP_BPF_H

#include "flow_life.bpf.h"
#include "parse.bpf.h"
#include "service.bpf.h"
#include "source.bpf.h"
#include "uplink_rules.bpf.h"
#include "work.bpf.h"

/* Is `work.pkt` of a flow from outside, or answers one of the node's own (to_host)? */
static __always_inline bool has_flow(struct work *work, const struct svclb_filters *bytes)
{
	bool found = find_entry(&work->pkt.tuple, work->pkt.v6);

	if (found || !bytes->direct[filter_index(work->pkt.tuple.daddr, 0)])
		return found;
	work->pkt.tuple.direction = SVCLB_TO_POD;
	found = find_entry(&work->pkt.tuple, work->pkt.v6);
	work->pkt.tuple.direction = SVCLB_FROM_WIRE;
	return found;
}

/* Is `work.pkt`, which may begin a flow and is of none that is established, to be dropped? Counts it under its reason.
 */
static __always_inline bool drops_early(struct work *work, const struct svclb_filters *bytes)
{
	const struct packet *pkt = &work->pkt;
	int result = 0;

	if (!may_have_flow(bytes, &pkt->tuple)) {
		if (in_service_cidr(pkt->tuple.daddr))
			result = REFUSE(UNALLOCATED_DROPPED);
	} else if (is_frontend_address(bytes, &pkt->tuple)) {
		result = refused_by_frontend(work);
	}
	if (!result || result == REFUSE(NO_BACKEND_REJECTED) || has_flow(work, bytes))
		return false;
	count_reason(pkt, REFUSED_REASON(result));
	return true;
}

#endif
