/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Rewrites addresses and ports with incremental checksums (RFC 1624): right for complete, partial and absent ones. */
#ifndef SVCLB_NAT_BPF_H
#define SVCLB_NAT_BPF_H

#include "parse.bpf.h"

#define IP4_TTL_OFFSET 8
#define IP4_CHECK_OFFSET 10
#define IP6_SADDR_OFFSET 8
#define ICMP_CHECK_OFFSET 2

static __always_inline __u32 csum_add(__u32 sum, __u32 word)
{
	sum += word;
	return sum + (sum < word);
}

static __always_inline __u16 csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* The four fields that translation may change. */
struct rewrite {
	__be32 saddr[SVCLB_ADDR_WORDS];
	__be32 daddr[SVCLB_ADDR_WORDS];
	__be16 sport;
	__be16 dport;
};

/* What `flow` makes of a packet with the tuple `tuple`. */
static __always_inline void translation(struct rewrite *to, const struct svclb_flow_key6 *tuple,
					const struct svclb_flow *flow)
{
	__u8 kind = flow->kind;

	if (kind == SVCLB_FLOW_FORWARD || kind == SVCLB_FLOW_HAIRPIN || kind == SVCLB_FLOW_SOURCE_REPLY) {
		copy_addr(to->saddr, kind == SVCLB_FLOW_HAIRPIN ? tuple->daddr : tuple->saddr);
		copy_addr(to->daddr, flow->addr);
		to->sport = flow->client_port;
		to->dport = flow->port;
	} else {
		copy_addr(to->saddr, flow->addr);
		copy_addr(to->daddr, kind == SVCLB_FLOW_HAIRPIN_REPLY ? tuple->saddr : tuple->daddr);
		to->sport = flow->port;
		to->dport = flow->client_port;
	}
}

/* What replacing `from` by `to` adds to a one's complement sum. */
static __always_inline __u32 word_diff(__be32 from, __be32 to, __u32 sum)
{
	return csum_add(csum_add(sum, ~from), to);
}

/* Of both addresses; in IPv4-mapped ones only the last word can differ. */
static __always_inline __u32 addr_diff(const struct packet *pkt, const struct rewrite *to)
{
	__u32 sum = 0;

	for (int i = pkt->v6 ? 0 : SVCLB_ADDR_WORDS - 1; i < SVCLB_ADDR_WORDS; i++) {
		sum = word_diff(pkt->tuple.saddr[i], to->saddr[i], sum);
		sum = word_diff(pkt->tuple.daddr[i], to->daddr[i], sum);
	}
	return sum;
}

/* Writes both addresses into the IP header at `pkt->l3`, and the IPv4 header's checksum, which `diff` is added to. */
static __always_inline long store_addrs(struct __sk_buff *skb, const struct packet *pkt, const __be32 *saddr,
					const __be32 *daddr, __u32 diff)
{
	struct {
		__be32 saddr[SVCLB_ADDR_WORDS];
		__be32 daddr[SVCLB_ADDR_WORDS];
	} v6;
	struct {
		__u16 pad;
		__u16 check;
		__be32 saddr;
		__be32 daddr;
	} v4 = {
		.check = csum_fold(csum_add(diff, (__u16)~pkt->ip_check)),
		.saddr = saddr[3],
		.daddr = daddr[3],
	};

	if (!pkt->v6)
		return bpf_skb_store_bytes(skb, pkt->l3 + IP4_CHECK_OFFSET, &v4.check, sizeof(v4) - sizeof(v4.pad),
					   BPF_F_RECOMPUTE_CSUM);
	copy_addr(v6.saddr, saddr);
	copy_addr(v6.daddr, daddr);
	return bpf_skb_store_bytes(skb, pkt->l3 + IP6_SADDR_OFFSET, &v6, sizeof(v6), BPF_F_RECOMPUTE_CSUM);
}

/* One store where addresses and ports are neighbours, which is always but for IP options and extension headers. */
static __always_inline long store_v4(struct __sk_buff *skb, const struct packet *pkt, const struct rewrite *to,
				     __u32 diff)
{
	struct {
		__u8 ttl;
		__u8 proto;
		__u16 check;
		__be32 saddr;
		__be32 daddr;
		__be16 sport;
		__be16 dport;
	} fields = {
		.ttl = pkt->ip_ttl,
		.proto = pkt->tuple.proto,
		.check = csum_fold(csum_add(diff, (__u16)~pkt->ip_check)),
		.saddr = to->saddr[3],
		.daddr = to->daddr[3],
		.sport = to->sport,
		.dport = to->dport,
	};

	if (pkt->l4 == pkt->l3 + IP4_SIZE)
		return bpf_skb_store_bytes(skb, pkt->l3 + IP4_TTL_OFFSET, &fields, sizeof(fields), 0);
	if (bpf_skb_store_bytes(skb, pkt->l3 + IP4_TTL_OFFSET, &fields, IP4_SIZE - IP4_TTL_OFFSET, 0))
		return -1;
	return bpf_skb_store_bytes(skb, pkt->l4, &to->sport, 4, 0);
}

static __always_inline long store_v6(struct __sk_buff *skb, const struct packet *pkt, const struct rewrite *to)
{
	if (pkt->l4 == pkt->l3 + IP6_SIZE)
		return bpf_skb_store_bytes(skb, pkt->l3 + IP6_SADDR_OFFSET, to, sizeof(*to), 0);
	if (bpf_skb_store_bytes(skb, pkt->l3 + IP6_SADDR_OFFSET, to, IP6_SIZE - IP6_SADDR_OFFSET, 0))
		return -1;
	return bpf_skb_store_bytes(skb, pkt->l4, &to->sport, 4, 0);
}

/*
 * Writes `to` into the packet. 0, or negative with the packet in an undefined state (it has to be dropped).
 * The transport checksum goes through the helper, because only the kernel knows whether the packet carries a complete
 * or a partial one. UDP: a zero checksum stays zero, one that computes to zero becomes 0xffff.
 */
static __always_inline long rewrite_packet(struct __sk_buff *skb, const struct packet *pkt, const struct rewrite *to)
{
	bool udp = pkt->tuple.proto == IPPROTO_UDP;
	__u32 csum = pkt->l4 + (udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
	__u64 flags = udp ? BPF_F_MARK_MANGLED_0 : 0;
	__u32 diff = addr_diff(pkt, to);
	__u32 old_ports = (__u32)pkt->tuple.sport | (__u32)pkt->tuple.dport << 16;
	__u32 new_ports = (__u32)to->sport | (__u32)to->dport << 16;

	if (pkt->v6 ? store_v6(skb, pkt, to) : store_v4(skb, pkt, to, diff))
		return -1;
	if (bpf_l4_csum_replace(skb, csum, 0, diff, BPF_F_PSEUDO_HDR | flags))
		return -1;
	/* The helper takes the pseudo header's change as a change of the packet's own sum (CHECKSUM_COMPLETE). In IPv4
	 * the header checksum makes up for the addresses and that is right; IPv6 has none, so take it back. */
	if (pkt->v6)
		bpf_csum_update(skb, diff);
	if (old_ports != new_ports && bpf_l4_csum_replace(skb, csum, old_ports, new_ports, 4 | flags))
		return -1;
	return 0;
}

#endif
