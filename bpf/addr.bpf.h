/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Addresses of both families in 16 bytes, as abi.h has them. */
#ifndef SVCLB_ADDR_BPF_H
#define SVCLB_ADDR_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "svclb/abi.h"

static __always_inline void set_v4(__be32 addr[SVCLB_ADDR_WORDS], __be32 v4)
{
	addr[0] = 0;
	addr[1] = 0;
	addr[2] = bpf_htonl(SVCLB_V4_MAPPED_PREFIX);
	addr[3] = v4;
}

static __always_inline void copy_addr(__be32 to[SVCLB_ADDR_WORDS], const __be32 from[SVCLB_ADDR_WORDS])
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

static __always_inline bool is_v4_mapped(const __be32 addr[SVCLB_ADDR_WORDS])
{
	return !addr[0] && !addr[1] && addr[2] == bpf_htonl(SVCLB_V4_MAPPED_PREFIX);
}

static __always_inline bool is_loopback(const __be32 addr[SVCLB_ADDR_WORDS])
{
	if (addr[0] || addr[1])
		return false;
	return addr[2] ? is_v4_mapped(addr) && (addr[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000)
		       : addr[3] == bpf_htonl(1);
}

static __always_inline bool same_addr(const __be32 a[SVCLB_ADDR_WORDS], const __be32 b[SVCLB_ADDR_WORDS])
{
	return a[3] == b[3] && a[2] == b[2] && a[1] == b[1] && a[0] == b[0];
}

#endif
