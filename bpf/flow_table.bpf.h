/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The flow tables of both families under one key: find, store, remove. */
#ifndef SVCLB_FLOW_TABLE_BPF_H
#define SVCLB_FLOW_TABLE_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "maps.bpf.h"

static __always_inline struct svclb_flow_key4 narrow(const struct svclb_flow_key6 *key)
{
	struct svclb_flow_key4 narrowed = {
		.saddr = key->saddr[3],
		.daddr = key->daddr[3],
		.sport = key->sport,
		.dport = key->dport,
		.proto = key->proto,
		.direction = key->direction,
	};

	return narrowed;
}

/* Each lookup site sees one map, so that the kernel can call the map's own code directly. */
static __always_inline struct svclb_flow *find_established(const struct svclb_flow_key6 *key, bool v6)
{
	if (v6)
		return bpf_map_lookup_elem(&established6, key);

	struct svclb_flow_key4 key4 = narrow(key);

	return bpf_map_lookup_elem(&established4, &key4);
}

static __always_inline struct svclb_flow *find_transient(const struct svclb_flow_key6 *key, bool v6)
{
	if (v6)
		return bpf_map_lookup_elem(&transient6, key);

	struct svclb_flow_key4 key4 = narrow(key);

	return bpf_map_lookup_elem(&transient4, &key4);
}

/* In whichever table it is. */
static __always_inline struct svclb_flow *find_entry(const struct svclb_flow_key6 *key, bool v6)
{
	struct svclb_flow *flow = find_established(key, v6);

	return flow ? flow : find_transient(key, v6);
}

static __always_inline long store_established(const struct svclb_flow_key6 *key, const struct svclb_flow *flow, bool v6)
{
	if (v6)
		return bpf_map_update_elem(&established6, key, flow, BPF_ANY);

	struct svclb_flow_key4 key4 = narrow(key);

	return bpf_map_update_elem(&established4, &key4, flow, BPF_ANY);
}

static __always_inline long store_transient(const struct svclb_flow_key6 *key, const struct svclb_flow *flow, __u64 how,
					    bool v6)
{
	if (v6)
		return bpf_map_update_elem(&transient6, key, flow, how);

	struct svclb_flow_key4 key4 = narrow(key);

	return bpf_map_update_elem(&transient4, &key4, flow, how);
}

static __always_inline void remove_established(const struct svclb_flow_key6 *key, bool v6)
{
	struct svclb_flow_key4 key4 = narrow(key);

	if (v6)
		bpf_map_delete_elem(&established6, key);
	else
		bpf_map_delete_elem(&established4, &key4);
}

static __always_inline void remove_transient(const struct svclb_flow_key6 *key, bool v6)
{
	struct svclb_flow_key4 key4 = narrow(key);

	if (v6)
		bpf_map_delete_elem(&transient6, key);
	else
		bpf_map_delete_elem(&transient4, &key4);
}

static __always_inline void remove_entry(const struct svclb_flow_key6 *key, bool v6)
{
	remove_established(key, v6);
	remove_transient(key, v6);
}

#endif
