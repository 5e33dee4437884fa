/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Uplinks that XDP serves. */
#ifndef SVCLB_ABI_UPLINKS_H
#define SVCLB_ABI_UPLINKS_H

#include "svclb/abi/base.h"

#define SVCLB_XDP_LINKS 256 /* at most, of one node */

enum svclb_xdp_mode {
	SVCLB_XDP_NATIVE = 1, /* in the driver */
	SVCLB_XDP_GENERIC = 2,
};

/* xdp_links: by ifindex, while from_wire is attached there; set by the agent. */
struct svclb_xdp_link {
	__u8 mac[6]; /* the device's: what is sent to another one is not for the node */
	__u8 mode; /* enum svclb_xdp_mode */
	__u8 pad; /* always zero */
};
static_assert(sizeof(struct svclb_xdp_link) == 8, "value layout is pinned");

/* What from_wire does with a frame: it goes out again, it ends there, or tc is to see it. */
enum svclb_xdp_action {
	SVCLB_XDP_FORWARDED,
	SVCLB_XDP_DROPPED,
	SVCLB_XDP_PASSED,
	SVCLB_XDP_ACTIONS,
};

/* xdp_counters: by enum svclb_xdp_action. */
struct svclb_xdp_counter {
	__u64 packets;
	__u64 bytes;
};

#endif
