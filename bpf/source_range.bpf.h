/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Who may begin a flow to a frontend that not everybody may dial (behaviour row 1.25): by the client's address before
 * any translation, so that a hook calls it before it chooses a backend. */
#ifndef SVCLB_SOURCE_RANGE_BPF_H
#define SVCLB_SOURCE_RANGE_BPF_H

#include "maps.bpf.h"
#include "work.bpf.h"

/* May the sender of `work.pkt` dial service port `service`? */
__noinline int source_allowed(__u32 service)
{
	struct svclb_source_range key = {.prefix = 8 * (sizeof(key) - sizeof(key.prefix)), .service = service};
	struct work *work = work_on();

	if (!work)
		return 0;
	copy_addr(key.addr, work->pkt.tuple.saddr);
	return bpf_map_lookup_elem(&source_ranges, &key) ? 1 : 0;
}

#endif
