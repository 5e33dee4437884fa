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

#define IP4_FIELDS_SIZE 12 /* from TTL to destination */
#define IP6_FIELDS_SIZE 32
#define PORTS_SIZE 4
#define UDP_REST_SIZE 4 /* from behind the ports to the end of the checksum */
#define TCP_REST_SIZE 14

/* The transport header from behind its ports on. */
struct transport_rest {
	union {
		struct {
			__be16 length;
			__u16 check;
		} udp;
		struct {
			__u32 words[3];
			__u16 check;
		} tcp;
	};
};

/* The four fields that translation may change. */
struct rewrite {
	__be32 saddr[SVCLB_ADDR_WORDS];
	__be32 daddr[SVCLB_ADDR_WORDS];
	__be16 sport;
	__be16 dport;
};

/* The same as they lie in a packet, with what is between and behind them, so that one store writes it all. */
struct wire {
	struct rewrite to;
	struct transport_rest rest; /* IPv6: right behind `to` */
	struct {
		__u8 ttl;
		__u8 proto;
		__u16 check;
		__be32 saddr;
		__be32 daddr;
		__be16 sport;
		__be16 dport;
		struct transport_rest rest;
	} v4;
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

static __always_inline void fill_v4(struct wire *wire, const struct packet *pkt, __u32 addrs)
{
	wire->v4.ttl = pkt->ip_ttl;
	wire->v4.proto = pkt->tuple.proto;
	wire->v4.check = csum_fold(csum_add(addrs, (__u16)~pkt->ip_check));
	wire->v4.saddr = wire->to.saddr[3];
	wire->v4.daddr = wire->to.daddr[3];
	wire->v4.sport = wire->to.sport;
	wire->v4.dport = wire->to.dport;
}

static __always_inline __u32 sum_words(const __be32 *words, int count, __u32 sum)
{
	for (int i = 0; i < count; i++)
		sum = csum_add(sum, words[i]);
	return sum;
}

/* Sum of the pseudo header; the same in both directions. Without words 0 to 2 for IPv4: they are no part of it. */
static __always_inline __u32 pseudo_sum(const struct packet *pkt, __u8 proto, __u16 length)
{
	__u32 sum = csum_add(bpf_htonl(length), bpf_htonl(proto));

	if (!pkt->v6)
		return csum_add(csum_add(sum, pkt->tuple.saddr[3]), pkt->tuple.daddr[3]);
	return sum_words(pkt->tuple.saddr, SVCLB_ADDR_WORDS, sum_words(pkt->tuple.daddr, SVCLB_ADDR_WORDS, sum));
}

static __always_inline __u32 ports_diff(const struct packet *pkt, const struct rewrite *to, __u32 sum)
{
	return word_diff((__u32)pkt->tuple.sport | (__u32)pkt->tuple.dport << 16,
			 (__u32)to->sport | (__u32)to->dport << 16, sum);
}

/* Behind the ports, in a packet with the usual headers. */
static __always_inline const struct transport_rest *rest_of(struct __sk_buff *skb, const struct packet *pkt)
{
	void *data_end = (void *)(long)skb->data_end;
	void *data = (void *)(long)skb->data;
	const struct transport_rest *rest = data + ETH_HLEN + PORTS_SIZE + (pkt->v6 ? IP6_SIZE : IP4_SIZE);

	return (void *)(rest + 1) > data_end ? NULL : rest;
}

static __always_inline __u16 check_of(const struct transport_rest *rest, bool udp)
{
	return udp ? rest->udp.check : rest->tcp.check;
}

/* Is the checksum complete for sure? One left to a device has to be the pseudo header's sum, but where the packet is
 * yet to be cut into segments. */
static __always_inline bool is_complete(struct __sk_buff *skb, const struct packet *pkt, __u16 check)
{
	return check != (__u16)~csum_fold(pseudo_sum(pkt, pkt->tuple.proto, pkt->end - pkt->l4)) && !skb->gso_size;
}

/*
 * Writes `wire.to` into a packet with the usual headers, all of it with one store. 0, or negative with the packet in an
 * undefined state (it has to be dropped), or 1 where it has to be done step by step.
 * Whether a checksum is complete or partial, only the kernel knows. Where the packet itself does not tell, its helper
 * does: it leaves a partial one alone that is to change by something else than the pseudo header.
 */
static __always_inline long rewrite_at_once(struct __sk_buff *skb, const struct packet *pkt, struct wire *wire)
{
	bool udp = pkt->tuple.proto == IPPROTO_UDP;
	__u32 size = PORTS_SIZE + (udp ? UDP_REST_SIZE : TCP_REST_SIZE);
	__u32 addrs = addr_diff(pkt, &wire->to);
	__u32 all = ports_diff(pkt, &wire->to, addrs);
	const struct transport_rest *old = rest_of(skb, pkt);
	struct transport_rest *rest = pkt->v6 ? &wire->rest : &wire->v4.rest;
	__u16 check;

	if (pkt->l3 != ETH_HLEN || pkt->l4 != ETH_HLEN + (pkt->v6 ? IP6_SIZE : IP4_SIZE) || !old)
		return 1;
	check = check_of(old, udp);
	if (!check)
		return 1;
	if (is_complete(skb, pkt, check)) {
		check = csum_fold(csum_add(all, (__u16)~check));
		if (udp && !check)
			check = 0xffff;
	} else {
		__u32 at = pkt->l4 + (udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
		__u64 flags = udp ? BPF_F_MARK_MANGLED_0 : 0;

		if (!csum_fold(all) || csum_fold(all) == 0xffff)
			return 1; /* no change to tell by */
		if (bpf_l4_csum_replace(skb, at, 0, all, flags))
			return -1;
		old = rest_of(skb, pkt);
		if (!old)
			return -1;
		if (check_of(old, udp) != check)
			return bpf_l4_csum_replace(skb, at, 0, (__u32)~all, flags) ? -1 : 1;
		check = ~csum_fold(csum_add(addrs, check));
	}
	if (udp) {
		rest->udp.length = old->udp.length;
		rest->udp.check = check;
	} else {
		rest->tcp.words[0] = old->tcp.words[0];
		rest->tcp.words[1] = old->tcp.words[1];
		rest->tcp.words[2] = old->tcp.words[2];
		rest->tcp.check = check;
	}
	if (pkt->v6)
		return bpf_skb_store_bytes(skb, ETH_HLEN + IP6_SADDR_OFFSET, &wire->to, IP6_FIELDS_SIZE + size,
					   BPF_F_RECOMPUTE_CSUM);
	fill_v4(wire, pkt, addrs);
	return bpf_skb_store_bytes(skb, ETH_HLEN + IP4_TTL_OFFSET, &wire->v4, IP4_FIELDS_SIZE + size,
				   BPF_F_RECOMPUTE_CSUM);
}

/* Addresses and ports, with one store where they are neighbours, which is always but for IP options and extension
 * headers. */
static __always_inline long store_fields(struct __sk_buff *skb, const struct packet *pkt, const struct wire *wire)
{
	bool neighbours = pkt->l4 == pkt->l3 + (pkt->v6 ? IP6_SIZE : IP4_SIZE);
	__u32 ports = neighbours ? PORTS_SIZE : 0;

	if (pkt->v6 ? bpf_skb_store_bytes(skb, pkt->l3 + IP6_SADDR_OFFSET, &wire->to, IP6_FIELDS_SIZE + ports, 0)
		    : bpf_skb_store_bytes(skb, pkt->l3 + IP4_TTL_OFFSET, &wire->v4, IP4_FIELDS_SIZE + ports, 0))
		return -1;
	return neighbours ? 0 : bpf_skb_store_bytes(skb, pkt->l4, &wire->to.sport, PORTS_SIZE, 0);
}

/*
 * The same step by step, for any headers. The transport checksum goes through the helper, because only the kernel knows
 * whether the packet carries a complete or a partial one. UDP: a zero checksum stays zero, one that computes to zero
 * becomes 0xffff. 0, or negative.
 */
static __always_inline long rewrite_in_steps(struct __sk_buff *skb, const struct packet *pkt, struct wire *wire)
{
	bool udp = pkt->tuple.proto == IPPROTO_UDP;
	__u32 csum = pkt->l4 + (udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
	__u64 flags = udp ? BPF_F_MARK_MANGLED_0 : 0;
	__u32 diff = addr_diff(pkt, &wire->to);
	__u32 old_ports = (__u32)pkt->tuple.sport | (__u32)pkt->tuple.dport << 16;
	__u32 new_ports = (__u32)wire->to.sport | (__u32)wire->to.dport << 16;

	fill_v4(wire, pkt, diff);
	if (store_fields(skb, pkt, wire))
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
