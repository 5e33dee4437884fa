/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The one thing that the BPF programs and the C++ side share: map keys and values, limits, counters, drop reasons.
 * Plain C, C++ and BPF C include it; nothing in it may be typed a second time elsewhere.
 *
 * Byte order is in the type: __be16/__be32 are network order, everything else is host order.
 * Addresses are 16 bytes; an IPv4 address is stored IPv4-mapped (RFC 4291 section 2.5.5.2), so word 3 is the address.
 * A change of any pinned layout needs a new SVCLB_ABI_VERSION, and ends the flows of every node that is upgraded. Three
 * things do not: a new map, a padding byte that gets a meaning with 0 for what was so before, and growth of struct
 * svclb_agent_status at its end, which no program reads (a row of another size is replaced by a new one).
 */
#ifndef SVCLB_ABI_H
#define SVCLB_ABI_H

#include "svclb/abi/base.h"
#include "svclb/abi/filters.h"
#include "svclb/abi/flows.h"
#include "svclb/abi/sockets.h"
#include "svclb/abi/status.h"
#include "svclb/abi/tables.h"

#endif
