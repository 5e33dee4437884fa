/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What a program works on. It stands in a per-CPU map and not on the stack for two reasons: the steps that begin, end
 * or refuse a flow are global functions, which the kernel verifies once each and not once for every way that leads
 * there, and before 5.12 such a function takes no pointer but the packet's context; and 512 bytes of stack are few. A
 * program is never interrupted by another one on its CPU.
 */
#ifndef SVCLB_WORK_BPF_H
#define SVCLB_WORK_BPF_H

#include "maps.bpf.h"
#include "nat.bpf.h"
#include "parse.bpf.h"

/* Of a refused packet, as much as an ICMP error may carry in 576 octets (RFC 1812 section 4.3.2.3), rounded down to
 * what one call of bpf_csum_diff takes. */
#define QUOTE_MAX 512

struct work {
	struct packet pkt;
	struct svclb_flow flow; /* the flow's entry for the packet's direction */
	struct svclb_flow_key6 reply_at; /* the flow's reply entry, while one is opened */
	struct svclb_flow reply;
	struct svclb_flow_key6 across; /* `reply_at` the other way round */
	struct svclb_flow_key6 forgotten_at; /* the client's entry of a flow that is forgotten */
	struct svclb_flow_key6 source_at; /* the flow of kind SOURCE, while it is opened */
	struct svclb_flow source;
	struct svclb_slot slot; /* the backend under consideration */
	struct wire wire; /* the fields to write */
	__u32 host; /* the packet comes from the node itself, by way of the catch-all */
	struct svclb_fragment_key fragment; /* of a fragment: its datagram */
	struct packet outer; /* the packet that `pkt` was inside of, or is */
	struct packet quoted; /* what an ICMP error quotes, with its ends exchanged */
	__u8 quote[QUOTE_MAX]; /* of a refused packet; and the headers of the answer */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct work);
} work_area SEC(".maps");

static __always_inline struct work *work_on(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&work_area, &zero);
}

#endif
