/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Fragments. Only the first one of a datagram has ports: it is translated like any packet, and what becomes of the
 * addresses is remembered for those that follow. One that comes before its first is kept whole in a map, because a
 * program cannot hold a packet back; when the first has come it is put into a clone of that and sent on its way again.
 */
#ifndef SVCLB_FRAGMENT_BPF_H
#define SVCLB_FRAGMENT_BPF_H

#include "maps.bpf.h"
#include "nat.bpf.h"
#include "parse.bpf.h"
#include "reject.bpf.h"
#include "verdict.bpf.h"
#include "work.bpf.h"

/* Shorter than the kernel's 30 for reassembly: a busy sender uses an id again sooner, and then a fragment that comes
 * before its first would be taken for one of the old datagram. */
#define FRAGMENT_TIMEOUT_S 5
#define TCP_FLAGS_OFFSET 13
#define SCTP_CHUNK_OFFSET 12

/* Reads `work.pkt`'s fragment header: fills work.fragment, and pkt->l4 if it is the first one. */
static __always_inline bool read_fragment_v4(struct __sk_buff *skb, struct work *work)
{
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, work->pkt.l3, &ip, sizeof(ip)))
		return false;
	work->fragment.id = bpf_ntohs(ip.id);
	work->fragment.proto = ip.protocol;
	work->pkt.fragment = ip.frag_off & bpf_htons(IP4_OFFSET_MASK) ? FRAGMENT_LATER : FRAGMENT_FIRST;
	work->pkt.l4 = work->pkt.l3 + ip.ihl * 4;
	return true;
}

static __always_inline bool read_fragment_v6(struct __sk_buff *skb, struct work *work)
{
	__u32 offset = work->pkt.l3 + IP6_SIZE;
	struct {
		__u8 next;
		__u8 length;
		__be16 fragment;
		__be32 id;
	} header = {};
	__u8 proto = 0;
	int end;

	if (bpf_skb_load_bytes(skb, work->pkt.l3 + offsetof(struct ipv6hdr, nexthdr), &proto, sizeof(proto)))
		return false;
	for (int i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		if (!is_extension(proto) || bpf_skb_load_bytes(skb, offset, &header, sizeof(header)))
			return false;
		if (proto == IPPROTO_FRAGMENT)
			break;
		proto = header.next;
		offset += extension_size(IPPROTO_DSTOPTS, header.length);
	}
	if (proto != IPPROTO_FRAGMENT)
		return false;
	work->fragment.id = bpf_ntohl(header.id);
	work->fragment.proto = header.next;
	work->pkt.fragment = header.fragment & bpf_htons(IP6_OFFSET_MASK) ? FRAGMENT_LATER : FRAGMENT_FIRST;
	if (work->pkt.fragment == FRAGMENT_LATER)
		return true;
	end = follow_chain(skb, offset, IPPROTO_FRAGMENT);
	if (end < 0)
		return false;
	work->pkt.tuple.proto = CHAIN_PROTO(end);
	work->pkt.l4 = CHAIN_OFFSET(end);
	return true;
}

/* The ports of a first fragment; false: its protocol has none. */
static __always_inline bool read_ports(struct __sk_buff *skb, struct packet *pkt)
{
	__be16 ports[2];
	__u8 byte = 0;

	if (!has_ports(pkt->tuple.proto) || bpf_skb_load_bytes(skb, pkt->l4, ports, sizeof(ports)))
		return false;
	if (pkt->tuple.proto == IPPROTO_TCP && bpf_skb_load_bytes(skb, pkt->l4 + TCP_FLAGS_OFFSET, &byte, 1))
		return false;
	if (pkt->tuple.proto == IPPROTO_SCTP && bpf_skb_load_bytes(skb, pkt->l4 + SCTP_CHUNK_OFFSET, &byte, 1))
		return false;
	pkt->tuple.sport = ports[0];
	pkt->tuple.dport = ports[1];
	pkt->tcp_flags = pkt->tuple.proto == IPPROTO_SCTP ? sctp_as_tcp(byte) : byte;
	return true;
}

/* Can fragments with these addresses belong to a flow? A datagram without ports never does. */
static __always_inline bool fragments_may_concern(const struct svclb_flow_key6 *tuple)
{
	const struct svclb_wire_filters *wire = wire_filter_bytes();
	const struct svclb_filters *bytes = filter_bytes();

	if (!bytes || !wire)
		return false;
	if (tuple->direction & SVCLB_DIRECTION_TO) {
		__u32 from = filter_index(tuple->saddr, 0);

		return (tuple->direction == SVCLB_TO_WIRE ? wire->reply[from] : bytes->reply[from]) ||
		       wire->source[filter_index(tuple->daddr, 0)];
	}
	return bytes->frontend[filter_index(tuple->daddr, 0)] || bytes->direct[filter_index(tuple->daddr, 0)];
}

/* `work.pkt` is a fragment. PARSED_PORTS: the first one of a datagram, to be handled like a whole packet.
 * PARSED_LATER: one for later_fragment(). Else none of our business. */
__noinline int open_fragment(struct __sk_buff *skb)
{
	struct work *work = work_on();
	struct packet *pkt;

	if (!work)
		return PARSED_FRAGMENT;
	pkt = &work->pkt;
	__builtin_memset(&work->fragment, 0, sizeof(work->fragment));
	if (!(pkt->v6 ? read_fragment_v6(skb, work) : read_fragment_v4(skb, work)))
		return PARSED_FRAGMENT;
	copy_addr(work->fragment.saddr, pkt->tuple.saddr);
	copy_addr(work->fragment.daddr, pkt->tuple.daddr);
	work->fragment.direction = pkt->tuple.direction;
	if (pkt->fragment == FRAGMENT_FIRST)
		return read_ports(skb, pkt) ? PARSED_PORTS : PARSED_FRAGMENT;
	/* In IPv6 the ports may be behind another header, which is in the first one. */
	if ((has_ports(work->fragment.proto) || is_extension(work->fragment.proto)) &&
	    fragments_may_concern(&pkt->tuple))
		return PARSED_LATER;
	return PARSED_FRAGMENT;
}

static __always_inline const struct svclb_fragment *find_fragments(const struct work *work)
{
	const struct svclb_fragment *found = bpf_map_lookup_elem(&fragments, &work->fragment);

	return found && now_s() - found->seen_s < FRAGMENT_TIMEOUT_S ? found : NULL;
}

static __always_inline int translate_later(struct __sk_buff *skb, struct work *work, const struct svclb_fragment *as)
{
	struct rewrite *to = &work->wire.to;
	__u8 kind = as->kind;

	if (kind == SVCLB_FRAGMENT_UNTRANSLATED)
		return VERDICT_NEXT;
	if (kind == SVCLB_FRAGMENT_ENCAPSULATED) {
		copy_addr(work->flow.addr, as->daddr);
		work->flow.service = as->service;
		work->flow.backend = as->backend;
		return VERDICT_ENCAPSULATE;
	}
	copy_addr(to->saddr, as->saddr);
	copy_addr(to->daddr, as->daddr);
	count_packet(&work->pkt, as->service, as->backend);
	if (store_addrs(skb, &work->pkt, to->saddr, to->daddr, addr_diff(&work->pkt, to)))
		return drop(&work->pkt, SVCLB_REASON_REWRITE_FAILED);
	return kind == SVCLB_FRAGMENT_SENT_BACK ? send_back(skb) : VERDICT_NEXT;
}

/* Keeps a copy of the packet, which comes before its first. */
static __always_inline bool keep_fragment(struct __sk_buff *skb, struct work *work, struct held_key *at)
{
	__u32 zero = 0;
	struct held *held = bpf_map_lookup_elem(&frame_area, &zero);
	__u64 length = skb->len;

	asm volatile("" : "+r"(length));
	if (!held || length < ETH_HLEN || length > HELD_FRAME_MAX || bpf_skb_load_bytes(skb, 0, held->frame, length))
		return false;
	held->length = length;
	at->of = work->fragment;
	for (__u32 i = 0; i < HELD_FRAGMENTS_MAX; i++) {
		at->index = i;
		if (!bpf_map_update_elem(&held_fragments, at, held, BPF_NOEXIST))
			return true;
	}
	return false;
}

/* `work.pkt` is a fragment without ports that belongs to a flow, or may. Returns the verdict. */
__noinline int later_fragment(struct __sk_buff *skb)
{
	struct work *work = work_on();
	const struct svclb_fragment *as;
	struct held_key at;

	if (!work)
		return VERDICT_DROP;
	as = find_fragments(work);
	if (as)
		return translate_later(skb, work, as);
	if (!keep_fragment(skb, work, &at))
		return drop(&work->pkt, SVCLB_REASON_FRAGMENT_LOST);
	/* The first one may have come meanwhile, on another CPU. */
	as = find_fragments(work);
	if (as) {
		bpf_map_delete_elem(&held_fragments, &at);
		return translate_later(skb, work, as);
	}
	return drop(&work->pkt, SVCLB_REASON_FRAGMENT_HELD);
}

/* Makes `skb` the frame `held`. */
static __always_inline long become(struct __sk_buff *skb, const struct held *held)
{
	__u64 length = held->length;

	asm volatile("" : "+r"(length));
	if (length < ETH_HLEN || length > HELD_FRAME_MAX)
		return -1;
	if (bpf_skb_change_tail(skb, length, 0))
		return -1;
	return bpf_skb_store_bytes(skb, 0, held->frame, length, BPF_F_RECOMPUTE_CSUM);
}

/*
 * Sends the fragments on their way that came before `skb`, their first, and makes `skb` itself again. They come back to
 * the program of this direction; on egress they do so at once, in the midst of this, and so the work area is lost.
 */
static __always_inline long release_held(struct __sk_buff *skb, struct work *work, struct held_key *at, bool going_out)
{
	__u32 zero = 0;
	struct held *first = bpf_map_lookup_elem(&frame_area, &zero);
	const struct held *held;
	__u64 length = skb->len;

	at->of = work->fragment;
	at->index = 0;
	if (!first || !bpf_map_lookup_elem(&held_fragments, at))
		return 0;
	asm volatile("" : "+r"(length));
	if (length < ETH_HLEN || length > HELD_FRAME_MAX || bpf_skb_load_bytes(skb, 0, first->frame, length))
		return 0;
	first->length = length;
	for (__u32 i = 0; i < HELD_FRAGMENTS_MAX; i++) {
		at->index = i;
		held = bpf_map_lookup_elem(&held_fragments, at);
		if (!held)
			break;
		if (become(skb, held))
			break;
		bpf_map_delete_elem(&held_fragments, at);
		if (!bpf_clone_redirect(skb, skb->ifindex, going_out ? 0 : BPF_F_INGRESS))
			count_reason(&work->pkt, SVCLB_REASON_FRAGMENT_RELEASED);
	}
	return become(skb, first);
}

/* `work.pkt` was the first fragment of a datagram and is to get `verdict`: remembers for the others what became of it.
 * Returns the verdict. */
__noinline int after_first_fragment(struct __sk_buff *skb, int verdict)
{
	struct work *work = work_on();
	struct svclb_fragment as = {.seen_s = now_s()};
	struct held_key at;
	__u8 kind;

	if (!work || verdict == VERDICT_DROP || !fragments_may_concern(&work->pkt.tuple))
		return verdict;
	if (verdict == VERDICT_ENCAPSULATE) {
		as.kind = SVCLB_FRAGMENT_ENCAPSULATED;
		as.service = work->flow.service;
		as.backend = work->flow.backend;
		copy_addr(as.daddr, work->flow.addr);
	} else if (work->pkt.translated) {
		kind = work->flow.kind;
		as.kind = kind == SVCLB_FLOW_HAIRPIN || kind == SVCLB_FLOW_HAIRPIN_REPLY ? SVCLB_FRAGMENT_SENT_BACK
											 : SVCLB_FRAGMENT_TRANSLATED;
		as.service = work->flow.service;
		as.backend = work->flow.backend;
		copy_addr(as.saddr, work->wire.to.saddr);
		copy_addr(as.daddr, work->wire.to.daddr);
	} else if (verdict != VERDICT_NEXT) {
		return verdict;
	}
	bpf_map_update_elem(&fragments, &work->fragment, &as, BPF_ANY);
	if (release_held(skb, work, &at, work->pkt.tuple.direction & SVCLB_DIRECTION_TO))
		return VERDICT_DROP;
	return verdict;
}

#endif
