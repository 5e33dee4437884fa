/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Refusals: turns a client's packet into the answer that tells it so at once, and sends that back out of the device it
 * came from. RST for TCP (RFC 9293 section 3.10.7.1): an ICMPv6 error leaves connect() waiting for its second SYN.
 * ICMP and ICMPv6 port unreachable for the rest (RFC 792, RFC 4443 section 3.1). And the answer to a ping.
 */
#ifndef SVCLB_REJECT_BPF_H
#define SVCLB_REJECT_BPF_H

#include <linux/icmpv6.h>
#include <linux/if_packet.h>

#include "nat.bpf.h"
#include "parse.bpf.h"
#include "verdict.bpf.h"
#include "work.bpf.h"

#define ANSWER_TTL 64
#define TCP_SIZE 20
#define TCP_CHECK_OFFSET 16
#define ICMP_SIZE 8
/* linux/icmp.h drags in C library headers. */
#define ICMP_ECHO_REPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_PORT_UNREACH 3
#define ICMP_FRAG_NEEDED 4
#define ICMP_ECHO 8
#define IP4_MULTICAST 224
#define IP6_MULTICAST 0xff

/* A token bucket for each client, topped up once a second. */
static __always_inline bool may_answer(const struct packet *pkt)
{
	struct svclb_reject_key key;
	struct svclb_reject_budget *budget;
	struct svclb_reject_budget full = {.tokens = settings.reject_per_s - 1, .filled_s = now_s()};

	copy_addr(key.client, pkt->tuple.saddr);
	budget = bpf_map_lookup_elem(&rejects, &key);
	if (!budget || budget->filled_s != full.filled_s) {
		bpf_map_update_elem(&rejects, &key, &full, BPF_ANY);
		return true;
	}
	if (!budget->tokens)
		return false;
	budget->tokens--;
	return true;
}

/* Only a packet of one sender to one receiver is answered (RFC 1122 section 3.2.2, RFC 4443 section 2.4). */
static __always_inline bool is_unicast(const struct __sk_buff *skb, const struct packet *pkt)
{
	const __be32 *source = pkt->tuple.saddr;
	__u32 octet = bpf_ntohl(source[pkt->v6 ? 0 : SVCLB_ADDR_WORDS - 1]) >> 24;

	if (skb->pkt_type == PACKET_BROADCAST || skb->pkt_type == PACKET_MULTICAST || is_loopback(source))
		return false;
	if (pkt->v6)
		return octet != IP6_MULTICAST && (source[0] || source[1] || source[2] || source[3]);
	return octet && octet < IP4_MULTICAST;
}

static __always_inline long swap_macs(struct __sk_buff *skb)
{
	__u8 macs[2 * ETH_ALEN];
	__u8 swapped[2 * ETH_ALEN];

	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)))
		return -1;
	__builtin_memcpy(swapped, macs + ETH_ALEN, ETH_ALEN);
	__builtin_memcpy(swapped + ETH_ALEN, macs, ETH_ALEN);
	return bpf_skb_store_bytes(skb, 0, swapped, sizeof(swapped), 0);
}

/* Back out of the device the packet came in by, to its sender; that one has Ethernet headers. */
static __always_inline int send_back(struct __sk_buff *skb)
{
	if (swap_macs(skb))
		return VERDICT_DROP;
	return bpf_redirect(skb->ifindex, 0);
}

/* The same where packets have no Ethernet header. A route is looked up, for a tunnel without a fixed far end (tunl0)
 * takes that from it; the helper wants a header that it can remove. */
static __always_inline int send_back_bare(struct __sk_buff *skb)
{
	if (bpf_skb_change_head(skb, ETH_HLEN, 0))
		return VERDICT_DROP;
	return bpf_redirect_neigh(skb->ifindex, NULL, 0, 0);
}

static __always_inline int send_answer(struct __sk_buff *skb, const struct packet *pkt)
{
	return pkt->l3 ? send_back(skb) : send_back_bare(skb);
}

/* The IP header of an answer, made from that of the packet: addresses swapped, new length, new hop limit. */
static __always_inline long answer_ip(struct __sk_buff *skb, struct work *work, __u8 proto, __u16 payload)
{
	const struct packet *pkt = &work->pkt;

	__builtin_memset(work->quote, 0, IP6_SIZE);
	if (pkt->v6) {
		struct ipv6hdr *ip = (struct ipv6hdr *)work->quote;

		ip->version = 6;
		ip->payload_len = bpf_htons(payload);
		ip->nexthdr = proto;
		ip->hop_limit = ANSWER_TTL;
		copy_addr(ip->saddr.in6_u.u6_addr32, pkt->tuple.daddr);
		copy_addr(ip->daddr.in6_u.u6_addr32, pkt->tuple.saddr);
		return bpf_skb_store_bytes(skb, pkt->l3, ip, sizeof(*ip), BPF_F_RECOMPUTE_CSUM);
	}

	struct iphdr *ip = (struct iphdr *)work->quote;

	ip->version = 4;
	ip->ihl = IP4_SIZE / 4;
	ip->tot_len = bpf_htons(IP4_SIZE + payload);
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = ANSWER_TTL;
	ip->protocol = proto;
	ip->saddr = pkt->tuple.daddr[3];
	ip->daddr = pkt->tuple.saddr[3];
	ip->check = csum_fold(sum_words((__be32 *)ip, IP4_SIZE / 4, 0));
	return bpf_skb_store_bytes(skb, pkt->l3, ip, sizeof(*ip), BPF_F_RECOMPUTE_CSUM);
}

/*
 * Is the packet's checksum partial, to be completed by a device? No helper tells, but replacing a word that is not in
 * the pseudo header changes a complete checksum only. Leaves the field in an undefined state.
 */
static __always_inline bool has_partial_checksum(struct __sk_buff *skb, __u32 check_offset)
{
	__be16 zero = 0, after = 0;

	bpf_skb_store_bytes(skb, check_offset, &zero, sizeof(zero), BPF_F_RECOMPUTE_CSUM);
	bpf_l4_csum_replace(skb, check_offset, 0, bpf_htons(1), 2);
	bpf_skb_load_bytes(skb, check_offset, &after, sizeof(after));
	/* The other way about: no word was replaced, and the packet's own sum (CHECKSUM_COMPLETE) must not think so. */
	bpf_l4_csum_replace(skb, check_offset, bpf_htons(1), 0, 2);
	return after == 0;
}

/* Octets of sequence space that the refused segment takes: a RST acknowledges them. */
static __always_inline __u32 segment_length(const struct packet *pkt, const struct tcphdr *tcp)
{
	return pkt->end - pkt->l4 - tcp->doff * 4 + tcp->syn + tcp->fin;
}

static __always_inline bool has_plain_ip(const struct packet *pkt)
{
	return pkt->l4 == pkt->l3 + (pkt->v6 ? IP6_SIZE : IP4_SIZE);
}

/* For packets with has_plain_ip() only: headers between IP and TCP would have to go. */
static __noinline int answer_reset(struct __sk_buff *skb, struct work *work)
{
	const struct packet *pkt = &work->pkt;
	struct tcphdr tcp = {};
	struct tcphdr reset = {};
	bool partial;
	__u32 sum;

	if (bpf_skb_load_bytes(skb, pkt->l4, &tcp, sizeof(tcp)))
		return -1;
	reset.source = tcp.dest;
	reset.dest = tcp.source;
	reset.doff = TCP_SIZE / 4;
	reset.rst = 1;
	if (tcp.ack) {
		reset.seq = tcp.ack_seq;
	} else {
		reset.ack = 1;
		reset.ack_seq = bpf_htonl(bpf_ntohl(tcp.seq) + segment_length(pkt, &tcp));
	}
	if (bpf_skb_change_tail(skb, pkt->l4 + TCP_SIZE, 0))
		return -1;
	partial = has_partial_checksum(skb, pkt->l4 + TCP_CHECK_OFFSET);
	sum = pseudo_sum(pkt, IPPROTO_TCP, TCP_SIZE);
	/* A partial checksum holds the pseudo header's sum, not inverted. */
	reset.check = partial ? (__u16)~csum_fold(sum) : csum_fold(sum_words((__be32 *)&reset, TCP_SIZE / 4, sum));
	if (bpf_skb_store_bytes(skb, pkt->l4, &reset, sizeof(reset), BPF_F_RECOMPUTE_CSUM))
		return -1;
	return answer_ip(skb, work, IPPROTO_TCP, TCP_SIZE);
}

/* An ICMP or ICMPv6 error; `rest` is what follows its checksum. */
static __noinline int answer_error(struct __sk_buff *skb, struct work *work, __u8 type, __u8 code, __be32 rest)
{
	const struct packet *pkt = &work->pkt;
	__u32 header = (pkt->v6 ? IP6_SIZE : IP4_SIZE) + ICMP_SIZE;
	struct {
		__u8 type;
		__u8 code;
		__u16 check;
		__be32 rest;
	} icmp = {.type = type, .code = code, .rest = rest};
	__u64 quote = pkt->end - pkt->l3;
	__u32 sum;

	if (quote > QUOTE_MAX)
		quote = QUOTE_MAX;
	if (pkt->l3 + quote < pkt->length) {
		if (bpf_skb_change_tail(skb, pkt->l3 + quote, 0))
			return -1;
	}
	/* Known already, but not to the verifier once the compiler has spilled it. */
	asm volatile("" : "+r"(quote));
	if (quote > QUOTE_MAX || quote < IP4_SIZE)
		return -1;
	/* Zeros behind the quote do not count. */
	__builtin_memset(work->quote, 0, sizeof(work->quote));
	if (bpf_skb_load_bytes(skb, pkt->l3, work->quote, quote))
		return -1;
	if (bpf_skb_adjust_room(skb, header, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return -1;
	sum = pkt->v6 ? pseudo_sum(pkt, IPPROTO_ICMPV6, ICMP_SIZE + quote) : 0;
	sum = sum_words((__be32 *)&icmp, ICMP_SIZE / 4, sum);
	icmp.check = csum_fold(bpf_csum_diff(NULL, 0, (__be32 *)work->quote, sizeof(work->quote), sum));
	if (bpf_skb_store_bytes(skb, pkt->l3 + header - ICMP_SIZE, &icmp, sizeof(icmp), BPF_F_RECOMPUTE_CSUM))
		return -1;
	return answer_ip(skb, work, pkt->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, ICMP_SIZE + quote);
}

static __always_inline int answer_unreachable(struct __sk_buff *skb, struct work *work)
{
	bool v6 = work->pkt.v6;

	return answer_error(skb, work, v6 ? ICMPV6_DEST_UNREACH : ICMP_DEST_UNREACH,
			    v6 ? ICMPV6_PORT_UNREACH : ICMP_PORT_UNREACH, 0);
}

/* RFC 1191 section 4, RFC 4443 section 3.2. */
static __always_inline int answer_too_big(struct __sk_buff *skb, struct work *work, __u32 mtu)
{
	bool v6 = work->pkt.v6;

	return answer_error(skb, work, v6 ? ICMPV6_PKT_TOOBIG : ICMP_DEST_UNREACH, v6 ? 0 : ICMP_FRAG_NEEDED,
			    bpf_htonl(mtu));
}

static __always_inline bool is_ping(struct __sk_buff *skb, const struct packet *pkt)
{
	__u8 type;

	return !bpf_skb_load_bytes(skb, pkt->l4, &type, sizeof(type)) &&
	       type == (pkt->v6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO);
}

/* Makes the echo request the reply to it: what it carries, and the headers in front of that, come back as they are. */
static __noinline int answer_ping(struct __sk_buff *skb, struct work *work)
{
	const struct packet *pkt = &work->pkt;
	__u16 from = bpf_htons((pkt->v6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO) << 8);
	__u16 to = bpf_htons((pkt->v6 ? ICMPV6_ECHO_REPLY : ICMP_ECHO_REPLY) << 8);
	__u8 type = pkt->v6 ? ICMPV6_ECHO_REPLY : ICMP_ECHO_REPLY;
	__u8 ttl = ANSWER_TTL;
	__u16 check;
	__u32 sum;

	if (bpf_skb_load_bytes(skb, pkt->l4 + ICMP_CHECK_OFFSET, &check, sizeof(check)))
		return -1;
	check = csum_fold(word_diff(from, to, (__u16)~check));
	if (bpf_skb_store_bytes(skb, pkt->l4, &type, sizeof(type), BPF_F_RECOMPUTE_CSUM) ||
	    bpf_skb_store_bytes(skb, pkt->l4 + ICMP_CHECK_OFFSET, &check, sizeof(check), BPF_F_RECOMPUTE_CSUM))
		return -1;
	if (bpf_skb_store_bytes(skb, pkt->l3 + (pkt->v6 ? offsetof(struct ipv6hdr, hop_limit) : IP4_TTL_OFFSET), &ttl,
				sizeof(ttl), BPF_F_RECOMPUTE_CSUM))
		return -1;
	sum = pkt->v6 ? 0 : word_diff(bpf_htons(pkt->ip_ttl << 8), bpf_htons(ANSWER_TTL << 8), 0);
	return store_addrs(skb, pkt, pkt->tuple.daddr, pkt->tuple.saddr, sum);
}

/* Makes the packet the answer that refuses it for `reason`, which is counted also where the client is not told.
 * VERDICT_NONE: it is that now, and is to go to its sender; or a verdict. */
static __always_inline int make_refusal(struct __sk_buff *skb, struct work *work, __u32 reason)
{
	const struct packet *pkt = &work->pkt;

	count_reason(pkt, reason);
	/* Never an answer to a reset: two refusing ends would go on for ever. */
	if (pkt->tuple.proto == IPPROTO_TCP && pkt->tcp_flags & TCP_RST)
		return VERDICT_DROP;
	if (!is_unicast(skb, pkt))
		return drop(pkt, SVCLB_REASON_REJECT_FAILED);
	if (!may_answer(pkt))
		return drop(pkt, SVCLB_REASON_REJECT_RATE_LIMITED);
	if (pkt->tuple.proto == IPPROTO_TCP && has_plain_ip(pkt) ? answer_reset(skb, work)
								 : answer_unreachable(skb, work))
		return drop(pkt, SVCLB_REASON_REJECT_FAILED);
	return VERDICT_NONE;
}

/* Refuses `work.pkt`, which has come in by this device. Returns the verdict. */
__noinline int reject(struct __sk_buff *skb, __u32 reason)
{
	struct work *work = work_on();
	int verdict;

	if (!work)
		return VERDICT_DROP;
	verdict = make_refusal(skb, work, reason);
	return verdict == VERDICT_NONE ? send_answer(skb, &work->pkt) : verdict;
}

/* `work.pkt` is a ping to a ClusterIP. Returns the verdict. */
__noinline int echo(struct __sk_buff *skb)
{
	struct work *work = work_on();

	if (!work)
		return VERDICT_DROP;
	if (!settings.ping_reply)
		return reject(skb, SVCLB_REASON_UNKNOWN_PORT_REJECTED);
	if (!is_unicast(skb, &work->pkt) || answer_ping(skb, work))
		return drop(&work->pkt, SVCLB_REASON_REJECT_FAILED);
	count_reason(&work->pkt, SVCLB_REASON_PING_ANSWERED);
	return send_answer(skb, &work->pkt);
}

#endif
