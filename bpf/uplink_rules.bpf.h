/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which packets from outside concern us, and which may not come in: asked by tc and by XDP, which must agree. */
#ifndef SVCLB_UPLINK_RULES_BPF_H
#define SVCLB_UPLINK_RULES_BPF_H

#include "choice.bpf.h"
#include "maps.bpf.h"
#include "service.bpf.h"
#include "source.bpf.h"
#include "verdict.bpf.h"

/* May the destination be a frontend's? */
static __always_inline bool is_frontend_address(const struct svclb_filters *bytes, const struct svclb_flow_key6 *tuple)
{
	return bytes->direct[filter_index(tuple->daddr, tuple->dport)] ||
	       bytes->frontend[filter_index(tuple->daddr, 0)];
}

/* Or one to which a flow's backend answers? */
static __always_inline bool may_have_flow(const struct svclb_filters *bytes, const struct svclb_flow_key6 *tuple)
{
	return is_frontend_address(bytes, tuple) ||
	       (is_source_port(tuple->dport) && bytes->direct[filter_index(tuple->daddr, 0)]);
}

/* A ClusterIP, that is, where clients outside may dial none. `frontend`: of a frontend's address or a ClusterIP, NULL
 * where it has no such port. */
static __always_inline bool closed_to_outside(const struct svclb_frontend *frontend)
{
	return !settings.external_cluster_ip && (!frontend || frontend->kind == SVCLB_FRONTEND_CLUSTER_IP);
}

/* Why `work.pkt` cannot begin a flow to a frontend's address: REFUSE(), or 0. */
static __always_inline int refused_by_frontend(const struct work *work)
{
	const struct svclb_flow_key6 *tuple = &work->pkt.tuple;
	const struct svclb_frontend *frontend = find_frontend(tuple);
	const struct svclb_service *service;
	__u8 set, outside_set;
	__u32 index;

	if (!frontend && !is_cluster_ip(tuple))
		return 0;
	if (closed_to_outside(frontend))
		return REFUSE(CLUSTER_IP_FROM_OUTSIDE);
	if (!frontend)
		return 0;
	outside_set = frontend->outside_set;
	index = frontend->service;
	set = frontend->set;
	if (turns_away(frontend))
		return REFUSE(SOURCE_RANGE_DROPPED);
	if (!is_local_client())
		set = outside_set;
	service = bpf_map_lookup_elem(&services, &index);
	return !service || svclb_run_count(read_run(service, set)) ? 0 : refusal(service, set);
}

#endif
