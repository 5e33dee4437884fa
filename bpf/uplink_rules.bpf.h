/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Which packets from outside concern us, and which may not come in: asked by tc and by XDP, which must agree. */
#ifndef SVCLB_UPLINK_RULES_BPF_H
#define SVCLB_UPLINK_RULES_BPF_H

#include "choice.bpf.h"
#include "maps.bpf.h"
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

#endif
