/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Verdicts and counters. Nothing is dropped, or left untranslated, without a named and counted reason. */
#ifndef SVCLB_VERDICT_BPF_H
#define SVCLB_VERDICT_BPF_H

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

#include "choice.bpf.h"
#include "maps.bpf.h"
#include "parse.bpf.h"

/* Not "ok": other programs and filters of the device still run. As TCX_NEXT and as a clsact verdict. */
#define VERDICT_NEXT TC_ACT_UNSPEC
#define VERDICT_DROP TC_ACT_SHOT
#define VERDICT_NONE 64 /* not decided yet. No verdict has this value */
#define VERDICT_ENCAPSULATE 65 /* nor this: to the backend of `work.flow`, see dsr.bpf.h */

/* The node's ports towards backends are of two kinds, for the node's own flows by way of the catch-all and for clients
 * that are masqueraded: the answers of each are looked for elsewhere, so neither knows which ports the other has. */
static __always_inline __be16 source_port(__u32 hash, bool host)
{
	__u32 own = svclb_host_ports(settings.source_ports);
	__u32 port = host ? hash % own : own + hash % (settings.source_ports - own);

	return bpf_htons(settings.source_port_first + port);
}

static __always_inline bool is_source_port(__be16 port)
{
	return (__u32)bpf_ntohs(port) - settings.source_port_first < settings.source_ports;
}

static __always_inline struct svclb_wire_filters *wire_filter_bytes(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&wire_filters, &zero);
}

static __always_inline void count_reason(const struct packet *pkt, __u32 reason)
{
	count_unmet(reason, pkt->length);
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

#endif
