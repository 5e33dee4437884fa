/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Verdicts and counters. Nothing is dropped, or left untranslated, without a named and counted reason. */
#ifndef SVCLB_VERDICT_BPF_H
#define SVCLB_VERDICT_BPF_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "maps.bpf.h"
#include "parse.bpf.h"

/* Not "ok": other programs and filters of the device still run. As TCX_NEXT and as a clsact verdict. */
#define VERDICT_NEXT TC_ACT_UNSPEC
#define VERDICT_DROP TC_ACT_SHOT
#define VERDICT_NONE 64 /* not decided yet. No verdict has this value */

static __always_inline void count_reason(const struct packet *pkt, __u32 reason)
{
	struct svclb_drop_counter *counter = bpf_map_lookup_elem(&drop_counters, &reason);

	if (!counter)
		return;
	counter->packets++;
	counter->bytes += pkt->length;
}

static __always_inline int drop(const struct packet *pkt, __u32 reason)
{
	count_reason(pkt, reason);
	return VERDICT_DROP;
}

static __always_inline int pass(const struct packet *pkt, __u32 reason)
{
	count_reason(pkt, reason);
	return VERDICT_NEXT;
}

static __always_inline void count_packet(const struct packet *pkt, __u32 service, __u32 backend)
{
	struct svclb_counter *counter = bpf_map_lookup_elem(&service_counters, &service);

	if (counter) {
		counter->packets++;
		counter->bytes += pkt->length;
	}
	counter = bpf_map_lookup_elem(&backend_counters, &backend);
	if (counter) {
		counter->packets++;
		counter->bytes += pkt->length;
	}
}

static __always_inline void count_flow(__u32 service, __u32 backend)
{
	struct svclb_counter *counter = bpf_map_lookup_elem(&service_counters, &service);

	if (counter)
		counter->flows++;
	counter = bpf_map_lookup_elem(&backend_counters, &backend);
	if (counter)
		counter->flows++;
}

static __always_inline struct svclb_filters *filter_bytes(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&filters, &zero);
}

/* Masked once more, for the verifier. */
static __always_inline __u32 filter_index(const __be32 addr[SVCLB_ADDR_WORDS], __be16 port)
{
	return svclb_filter_index(addr, port) & (SVCLB_FILTER_SIZE - 1);
}

static __always_inline __u32 now_s(void)
{
	return bpf_ktime_get_ns() / 1000000000;
}

#endif
