/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * SCTP (RFC 9260): its checksum, and the end of its associations in the terms of TCP's flags. The checksum is a CRC32c
 * of the whole packet, without addresses. A CRC is linear: what another port changes in it depends on that change and
 * on the packet's length alone, so no byte of the packet is read.
 */
#ifndef SVCLB_SCTP_BPF_H
#define SVCLB_SCTP_BPF_H

#include "nat.bpf.h"
#include "parse.bpf.h"
#include "work.bpf.h"

#define SCTP_CHECK_OFFSET 8
#define SCTP_SIZE 12
#define CRC32C_POLYNOMIAL 0x82f63b78 /* bit 31 is x^0, as in the packet */
#define CRC32C_ONE 0x80000000

/* Bytes of the packet, and its CRC, as a number: little-endian. */
static __always_inline __u32 le32(__u32 word)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	return __builtin_bswap32(word);
#else
	return word;
#endif
}

/* `value` if `bit` is one, else zero. A product: a branch doubles the verifier's ways with each bit, and so does a
 * mask, which newer verifiers take apart. */
static __always_inline __u32 if_set(__u32 bit, __u32 value)
{
	asm volatile("" : "+r"(bit));
	return value * bit;
}

static __always_inline __u32 times_x(__u32 a)
{
	return a >> 1 ^ if_set(a & 1, CRC32C_POLYNOMIAL);
}

/* Product of two polynomials over GF(2), modulo CRC32c's. */
__noinline __u32 crc32c_multiply(__u32 a, __u32 b)
{
	__u32 product = 0;

	for (int i = 0; i < 32; i++) {
		product ^= if_set(a >> 31, b);
		a <<= 1;
		b = times_x(b);
	}
	return product;
}

/* How the CRC of `length` bytes changes when the first four of them change by the exclusive or `change`. */
__noinline __u32 crc32c_change(__u32 change, __u32 length)
{
	__u32 power = CRC32C_ONE; /* becomes x to the number of bits */

	for (int bit = 15; bit >= 0; bit--) {
		__u32 shifted;

		power = crc32c_multiply(power, power);
		shifted = power;
		for (int i = 0; i < 8; i++)
			shifted = times_x(shifted);
		power ^= if_set(length >> bit & 1, power ^ shifted);
	}
	return crc32c_multiply(change, power);
}

/*
 * Changes the checksum at `offset` of an SCTP packet of `length` bytes for other ports; adds to `change` what that adds
 * to a one's complement sum around it. Zero means that a device is to compute it: SCTP sends so over veth.
 */
static __always_inline long adjust_crc32c(struct __sk_buff *skb, __u32 offset, __u32 length, __u32 old_ports,
					  __u32 new_ports, __u32 *change)
{
	__u32 old, check;

	if (bpf_skb_load_bytes(skb, offset, &old, sizeof(old)))
		return -1;
	if (!old || old_ports == new_ports)
		return 0;
	check = old ^ le32(crc32c_change(le32(old_ports ^ new_ports), length & 0xffff));
	*change = word_diff(old, check, *change);
	return bpf_skb_store_bytes(skb, offset, &check, sizeof(check), BPF_F_RECOMPUTE_CSUM);
}

/* As rewrite_packet(). */
__noinline int rewrite_sctp(struct __sk_buff *skb)
{
	struct work *work = work_on();
	const struct packet *pkt;
	__u32 ignored = 0;

	if (!work)
		return -1;
	pkt = &work->pkt;
	/* The checksum depends on the length of the whole packet, which its first fragment does not tell. */
	if (pkt->fragment && (pkt->tuple.sport != work->wire.to.sport || pkt->tuple.dport != work->wire.to.dport))
		return -1;
	if (store_addrs(skb, pkt, work->wire.to.saddr, work->wire.to.daddr, addr_diff(pkt, &work->wire.to)) ||
	    bpf_skb_store_bytes(skb, pkt->l4, &work->wire.to.sport, 4, BPF_F_RECOMPUTE_CSUM))
		return -1;
	return adjust_crc32c(skb, pkt->l4 + SCTP_CHECK_OFFSET, pkt->end - pkt->l4,
			     (__u32)pkt->tuple.sport | (__u32)pkt->tuple.dport << 16,
			     (__u32)work->wire.to.sport | (__u32)work->wire.to.dport << 16, &ignored);
}

#endif
