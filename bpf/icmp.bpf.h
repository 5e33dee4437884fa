/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * ICMP and ICMPv6 errors about translated packets, both ways (RFC 5508 section 4.2): their reader looks its connection
 * up by the packet that they quote, so the quote must be the packet that the reader has sent. Path MTU discovery is
 * made of these.
 */
#ifndef SVCLB_ICMP_BPF_H
#define SVCLB_ICMP_BPF_H

#include <linux/icmpv6.h>

#include "flow.bpf.h"
#include "nat.bpf.h"
#include "parse.bpf.h"
#include "reject.bpf.h"
#include "sctp.bpf.h"
#include "verdict.bpf.h"
#include "work.bpf.h"

#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define QUOTED_TRANSPORT_MIN 8 /* of the transport header, an error quotes that much at least (RFC 792) */

/* Not redirects: they are about the route to the backend, and would be taken for one to the frontend. */
static __always_inline bool is_icmp_error(__u8 type, bool v6)
{
	if (v6)
		return type >= ICMPV6_DEST_UNREACH && type <= ICMPV6_PARAMPROB;
	return type == ICMP_DEST_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM;
}

static __always_inline bool read_quoted_v4(struct __sk_buff *skb, struct packet *quoted)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, quoted->l3, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5 ||
	    ip.frag_off & bpf_htons(IP4_OFFSET_MASK))
		return false;
	set_v4(quoted->tuple.saddr, ip.daddr);
	set_v4(quoted->tuple.daddr, ip.saddr);
	quoted->tuple.proto = ip.protocol;
	quoted->ip_check = ip.check;
	quoted->l4 = quoted->l3 + ip.ihl * 4;
	quoted->end = quoted->l3 + bpf_ntohs(ip.tot_len);
	return true;
}

static __always_inline bool read_quoted_v6(struct __sk_buff *skb, struct packet *quoted)
{
	struct ipv6hdr ip;
	int end;

	if (bpf_skb_load_bytes(skb, quoted->l3, &ip, sizeof(ip)) || ip.version != 6)
		return false;
	copy_addr(quoted->tuple.saddr, ip.daddr.in6_u.u6_addr32);
	copy_addr(quoted->tuple.daddr, ip.saddr.in6_u.u6_addr32);
	quoted->end = quoted->l3 + IP6_SIZE + bpf_ntohs(ip.payload_len);
	end = follow_chain(skb, quoted->l3 + IP6_SIZE, ip.nexthdr);
	if (end < 0)
		return false;
	quoted->tuple.proto = CHAIN_PROTO(end);
	quoted->l4 = CHAIN_OFFSET(end);
	return true;
}

/* Fills `work.quoted`. Its tuple is that of the answers to the quoted packet: they are met where the error is. */
static __always_inline bool read_quote(struct __sk_buff *skb, struct work *work)
{
	struct packet *quoted = &work->quoted;
	__be16 ports[2];

	quoted->v6 = work->pkt.v6;
	quoted->l3 = work->pkt.l4 + ICMP_SIZE;
	if (!(quoted->v6 ? read_quoted_v6(skb, quoted) : read_quoted_v4(skb, quoted)))
		return false;
	if (!has_ports(quoted->tuple.proto) || quoted->l4 + QUOTED_TRANSPORT_MIN > work->pkt.end ||
	    bpf_skb_load_bytes(skb, quoted->l4, ports, sizeof(ports)))
		return false;
	quoted->tuple.sport = ports[1];
	quoted->tuple.dport = ports[0];
	quoted->tuple.direction = work->pkt.tuple.direction;
	quoted->tuple.pad = 0;
	/* An error goes to the sender of what it quotes. */
	return same_addr(work->pkt.tuple.daddr, quoted->tuple.daddr);
}

static __always_inline bool quote_may_concern(const struct svclb_flow_key6 *tuple)
{
	const struct svclb_wire_filters *wire = wire_filter_bytes();
	const struct svclb_filters *bytes = filter_bytes();

	if (!bytes || !wire)
		return false;
	if (tuple->direction & SVCLB_DIRECTION_TO) {
		__u32 from = filter_index(tuple->saddr, tuple->sport);

		return (tuple->direction == SVCLB_TO_WIRE ? wire->reply[from] : bytes->reply[from]) ||
		       wire->source[filter_index(tuple->daddr, tuple->dport)];
	}
	if (is_source_port(tuple->dport))
		return true;
	return bytes->frontend[filter_index(tuple->daddr, 0)] ||
	       bytes->direct[filter_index(tuple->daddr, tuple->dport)];
}

/* Adds `diff` to the checksum at `offset`; `absent` says that zero means there is none, as in UDP. What that adds to
 * the sum of what is around it comes back in `change`. */
static __always_inline long adjust_checksum(struct __sk_buff *skb, __u32 offset, __u32 diff, bool absent, __u32 *change)
{
	__u16 old, check;

	if (bpf_skb_load_bytes(skb, offset, &old, sizeof(old)))
		return -1;
	if (absent && !old)
		return 0;
	check = csum_fold(csum_add(diff, (__u16)~old));
	if (absent && !check)
		check = 0xffff;
	*change = csum_add(csum_add(*change, (__u16)~old), check);
	return bpf_skb_store_bytes(skb, offset, &check, sizeof(check), BPF_F_RECOMPUTE_CSUM);
}

/* The checksum of the quoted transport header, if it is within the quote. */
static __always_inline long adjust_quoted_transport(struct __sk_buff *skb, const struct work *work, __u32 diff,
						    __u32 old_ports, __u32 new_ports, __u32 *change)
{
	const struct packet *quoted = &work->quoted;
	bool udp = quoted->tuple.proto == IPPROTO_UDP;
	__u32 check = quoted->l4 + (udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));

	if (quoted->tuple.proto == IPPROTO_SCTP) {
		if (quoted->l4 + SCTP_SIZE > work->pkt.end)
			return 0;
		return adjust_crc32c(skb, quoted->l4 + SCTP_CHECK_OFFSET, quoted->end - quoted->l4, old_ports,
				     new_ports, change);
	}
	if (check + sizeof(__u16) > work->pkt.end)
		return 0;
	return adjust_checksum(skb, check, diff, udp, change);
}

/* Makes the quoted packet the one that had been sent before `work.wire.to`, the translation of its answers. Adds to
 * `change` what that changes in the sum over the quote. */
static __always_inline long rewrite_quote(struct __sk_buff *skb, struct work *work, __u32 *change)
{
	const struct packet *quoted = &work->quoted;
	const struct rewrite *to = &work->wire.to;
	struct {
		__be16 sport;
		__be16 dport;
	} ports = {.sport = to->dport, .dport = to->sport};
	__u32 addrs = addr_diff(quoted, to);
	__u32 old_ports = (__u32)quoted->tuple.dport | (__u32)quoted->tuple.sport << 16;
	__u32 new_ports = (__u32)ports.sport | (__u32)ports.dport << 16;
	__u32 both = word_diff(old_ports, new_ports, 0);

	if (store_addrs(skb, quoted, to->daddr, to->saddr, addrs))
		return -1;
	/* In IPv4 the header's checksum makes up for the addresses. */
	*change = csum_add(quoted->v6 ? addrs : 0, both);
	if (bpf_skb_store_bytes(skb, quoted->l4, &ports, sizeof(ports), BPF_F_RECOMPUTE_CSUM))
		return -1;
	return adjust_quoted_transport(skb, work, csum_add(addrs, both), old_ports, new_ports, change);
}

/* An error that a router sent keeps its sender; one of the backend's own comes from the frontend. */
static __always_inline long rewrite_error(struct __sk_buff *skb, struct work *work)
{
	const struct packet *pkt = &work->pkt;
	struct rewrite outer;
	__u32 change = 0, ignored = 0;
	__u32 addrs;

	copy_addr(outer.saddr,
		  same_addr(pkt->tuple.saddr, work->quoted.tuple.saddr) ? work->wire.to.saddr : pkt->tuple.saddr);
	copy_addr(outer.daddr, work->wire.to.daddr);
	addrs = addr_diff(pkt, &outer);
	if (rewrite_quote(skb, work, &change))
		return -1;
	if (adjust_checksum(skb, pkt->l4 + ICMP_CHECK_OFFSET, pkt->v6 ? csum_add(change, addrs) : change, false,
			    &ignored))
		return -1;
	return store_addrs(skb, pkt, outer.saddr, outer.daddr, addrs);
}

/* `work.pkt` is ICMP. VERDICT_NONE: no error about a packet of a flow, and untouched. */
__noinline int translate_error(struct __sk_buff *skb)
{
	struct work *work = work_on();
	const struct svclb_flow *flow;
	__u8 type, kind;

	if (!work || bpf_skb_load_bytes(skb, work->pkt.l4, &type, sizeof(type)) || !is_icmp_error(type, work->pkt.v6) ||
	    !read_quote(skb, work) || !quote_may_concern(&work->quoted.tuple))
		return VERDICT_NONE;
	flow = find_entry(&work->quoted.tuple, work->pkt.v6);
	if (!flow || flow->kind == SVCLB_FLOW_DIRECT)
		return VERDICT_NONE;
	work->flow = *flow;
	kind = work->flow.kind;
	if (kind == SVCLB_FLOW_ENCAPSULATED)
		return VERDICT_ENCAPSULATE;
	translation(&work->wire.to, &work->quoted.tuple, &work->flow);
	if (rewrite_error(skb, work))
		return drop(&work->pkt, SVCLB_REASON_REWRITE_FAILED);
	work->pkt.translated = true;
	if (kind == SVCLB_FLOW_HAIRPIN || kind == SVCLB_FLOW_HAIRPIN_REPLY)
		return send_back(skb);
	return VERDICT_NEXT;
}

#endif
