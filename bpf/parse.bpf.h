/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What a packet is: addresses, ports, offsets. Reads only; never changes a packet. */
#ifndef SVCLB_PARSE_BPF_H
#define SVCLB_PARSE_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "addr.bpf.h"
#include "svclb/abi.h"

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define SCTP_INIT 1
#define SCTP_INIT_ACK 2
#define SCTP_ABORT 6
#define SCTP_SHUTDOWN 7
#define SCTP_SHUTDOWN_ACK 8
#define SCTP_SHUTDOWN_COMPLETE 14

#define VLAN_HEADER_SIZE 4
#define VLAN_TAGS_MAX 2
#define IPV6_EXTENSIONS_MAX 6
#define IP4_FRAGMENT_MASK 0x3fff /* more fragments, and the offset */
#define IP4_OFFSET_MASK 0x1fff
#define IP6_FRAGMENT_MASK 0xfff9
#define IP6_OFFSET_MASK 0xfff8
#define IP6_FRAGMENT_SIZE 8
#define IP4_SIZE 20
#define IP6_SIZE 40
/* Ethernet, two VLAN tags, IPv6, two small extension headers and TCP: more than that is not parsed in one piece. */
#define HEADERS_MAX 128

enum parsed {
	PARSED_PORTS, /* everything below is set */
	PARSED_OTHER, /* no ports: another protocol */
	PARSED_FRAGMENT, /* addresses and proto only: a fragment */
	PARSED_LATER, /* a fragment that is not the first; see open_fragment() */
	PARSED_UNREAD, /* addresses only: a source route, where the destination is not the last one, or too many headers
			*/
	PARSED_MALFORMED, /* addresses only: its lengths contradict each other, the kernel will not take it either */
	PARSED_TRUNCATED, /* headers reach beyond the linear part of the packet */
	PARSED_NO_ADDRESSES, /* as PARSED_TRUNCATED, and so early that nothing below is set */
	PARSED_NOT_IP,
};

enum fragment {
	FRAGMENT_NONE,
	FRAGMENT_FIRST,
	FRAGMENT_LATER,
};

struct packet {
	/* The packet's own tuple, and the key of its flow in one. IPv4 is IPv4-mapped here, see narrow(). */
	struct svclb_flow_key6 tuple;
	__u32 length; /* of the whole frame */
	__u32 end; /* offset of the end of the IP packet: the frame may be padded */
	__u16 l3; /* offset of the IP header; 0: there is none before it */
	__u16 l4; /* offset of the transport header */
	__u16 ip_check; /* IPv4 header checksum as found */
	__u8 ip_ttl; /* IPv4 */
	__u8 tcp_flags; /* of SCTP, what its first chunk would be in TCP */
	bool v6;
	__u8 fragment; /* enum fragment */
	bool translated;
};

/* Are its flows connections, which are never cut? UDP's conversations move when their backend leaves. */
static __always_inline bool has_connections(__u8 proto)
{
	return proto != IPPROTO_UDP;
}

static __always_inline bool has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

static __always_inline bool is_icmp(const struct packet *pkt)
{
	return pkt->tuple.proto == (pkt->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

struct sctp_header {
	__be16 source;
	__be16 dest;
	__be32 tag;
	__u32 check;
	__u8 chunk; /* the first one's type */
	__u8 flags;
	__be16 length;
};

/* The chunks that begin and end an association, in the terms of TCP; all others belong into the middle of one. */
static __always_inline __u8 sctp_as_tcp(__u8 chunk)
{
	if (chunk == SCTP_INIT)
		return TCP_SYN;
	if (chunk == SCTP_INIT_ACK)
		return TCP_SYN | TCP_ACK;
	if (chunk == SCTP_ABORT)
		return TCP_RST;
	if (chunk == SCTP_SHUTDOWN || chunk == SCTP_SHUTDOWN_ACK || chunk == SCTP_SHUTDOWN_COMPLETE)
		return TCP_FIN | TCP_ACK;
	return TCP_ACK;
}

/* UDP's own length may be less than IP's. In IPv6 it may be zero, for a jumbogram (RFC 2675). */
static __always_inline bool right_length(const struct udphdr *udp, __u32 l4, const struct packet *pkt)
{
	__u32 length = bpf_ntohs(udp->len);

	if (!length && pkt->v6)
		length = sizeof(*udp);
	return length >= sizeof(*udp) && l4 + length <= pkt->end;
}

/* `l4` apart from pkt->l4: what the verifier knows of a number is lost when it is read back from a map. */
static __always_inline enum parsed parse_transport(void *data, void *data_end, __u32 l4, struct packet *pkt)
{
	pkt->l4 = l4;
	if (pkt->tuple.proto == IPPROTO_TCP) {
		struct tcphdr *tcp = data + l4;

		if ((void *)(tcp + 1) > data_end)
			return PARSED_TRUNCATED;
		if (tcp->doff * 4u < sizeof(*tcp) || l4 + tcp->doff * 4u > pkt->end)
			return PARSED_MALFORMED;
		pkt->tuple.sport = tcp->source;
		pkt->tuple.dport = tcp->dest;
		pkt->tcp_flags = ((__u8 *)tcp)[13];
		return PARSED_PORTS;
	}
	if (pkt->tuple.proto == IPPROTO_UDP) {
		struct udphdr *udp = data + l4;

		if ((void *)(udp + 1) > data_end)
			return PARSED_TRUNCATED;
		if (!right_length(udp, l4, pkt))
			return PARSED_MALFORMED;
		pkt->tuple.sport = udp->source;
		pkt->tuple.dport = udp->dest;
		pkt->tcp_flags = 0;
		return PARSED_PORTS;
	}
	if (pkt->tuple.proto == IPPROTO_SCTP) {
		struct sctp_header *sctp = data + l4;

		if ((void *)(sctp + 1) > data_end)
			return PARSED_TRUNCATED;
		if (l4 + sizeof(*sctp) > pkt->end)
			return PARSED_MALFORMED;
		pkt->tuple.sport = sctp->source;
		pkt->tuple.dport = sctp->dest;
		pkt->tcp_flags = sctp_as_tcp(sctp->chunk);
		return PARSED_PORTS;
	}
	return PARSED_OTHER;
}

/* The end of the IP packet as its header has it. A segmentation-offload packet of more than 64 KiB has the length 0. */
static __always_inline bool set_end(struct __sk_buff *skb, struct packet *pkt, __u32 l3, __u32 length, bool absent)
{
	pkt->end = absent && skb->gso_size ? pkt->length : l3 + length;
	return pkt->end <= pkt->length;
}

#define IP4_OPTIONS_MAX 40
#define IP4_OPTION_END 0
#define IP4_OPTION_NOP 1
#define IP4_OPTION_LSRR 131
#define IP4_OPTION_SSRR 137

/* With a source route, another destination may stand in the options, and that one counts for the checksum. */
__noinline int is_source_routed(struct __sk_buff *skb, __u32 l3, __u32 ihl)
{
	__u32 end = l3 + ihl * 4;
	__u32 at = l3 + IP4_SIZE;

	for (int i = 0; i < IP4_OPTIONS_MAX; i++) {
		struct {
			__u8 type;
			__u8 length;
		} option;

		if (at >= end || bpf_skb_load_bytes(skb, at, &option, sizeof(option)) || option.type == IP4_OPTION_END)
			return 0;
		if (option.type == IP4_OPTION_LSRR || option.type == IP4_OPTION_SSRR)
			return 1;
		at += option.type == IP4_OPTION_NOP || option.length < 2 ? 1 : option.length;
	}
	return 0;
}

static __always_inline enum parsed parse_v4(struct __sk_buff *skb, void *data, void *data_end, __u32 l3,
					    struct packet *pkt)
{
	struct iphdr *ip = data + l3;

	if ((void *)(ip + 1) > data_end)
		return PARSED_NO_ADDRESSES;
	if (ip->version != 4 || ip->ihl < 5)
		return PARSED_NOT_IP;
	set_v4(pkt->tuple.saddr, ip->saddr);
	set_v4(pkt->tuple.daddr, ip->daddr);
	pkt->tuple.proto = ip->protocol;
	pkt->ip_check = ip->check;
	pkt->ip_ttl = ip->ttl;
	if (!set_end(skb, pkt, l3, bpf_ntohs(ip->tot_len), !ip->tot_len) || pkt->end < l3 + ip->ihl * 4)
		return PARSED_MALFORMED;
	if (ip->ihl > 5 && is_source_routed(skb, l3, ip->ihl))
		return PARSED_UNREAD;
	if (ip->frag_off & bpf_htons(IP4_FRAGMENT_MASK))
		return PARSED_FRAGMENT;
	return parse_transport(data, data_end, l3 + ip->ihl * 4, pkt);
}

struct ipv6_extension {
	__u8 next;
	__u8 length; /* in 8 bytes, the first 8 not counted; not in a fragment header, which always has 8 */
	union {
		__be16 fragment; /* in a fragment header: offset, flags */
		struct {
			__u8 type;
			__u8 segments_left;
		} routing;
	};
};

static __always_inline bool is_extension(__u8 proto)
{
	return proto == IPPROTO_HOPOPTS || proto == IPPROTO_ROUTING || proto == IPPROTO_DSTOPTS ||
	       proto == IPPROTO_FRAGMENT;
}

static __always_inline __u32 extension_size(__u8 proto, __u8 length)
{
	return proto == IPPROTO_FRAGMENT ? IP6_FRAGMENT_SIZE : (length + 1) * 8;
}

#define CHAIN_OFFSET(end) ((__u32)(end) >> 8 & 0xffff)
#define CHAIN_PROTO(end) ((__u8)(end))
#define CHAIN_FIRST_FRAGMENT (1 << 30)

/* Follows a chain of extension headers from the header `proto` at `offset`. Returns where and with what it ends, to be
 * read with CHAIN_...(), or -enum parsed. A fragment that is the whole packet (RFC 6946) is none. */
__noinline int follow_chain(struct __sk_buff *skb, __u32 offset, __u32 proto)
{
	int fragment = 0;

	for (int i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		struct ipv6_extension extension;

		if (!is_extension(proto))
			break;
		if (bpf_skb_load_bytes(skb, offset, &extension, sizeof(extension)))
			return -PARSED_TRUNCATED;
		if (proto == IPPROTO_FRAGMENT && extension.fragment & bpf_htons(IP6_OFFSET_MASK))
			return -PARSED_FRAGMENT;
		if (proto == IPPROTO_FRAGMENT && extension.fragment & bpf_htons(IP6_FRAGMENT_MASK))
			fragment = CHAIN_FIRST_FRAGMENT;
		if (proto == IPPROTO_ROUTING && extension.routing.segments_left)
			return -PARSED_UNREAD;
		offset += extension_size(proto, extension.length);
		proto = extension.next;
	}
	if (is_extension(proto))
		return -PARSED_UNREAD;
	return (offset & 0xffff) << 8 | (proto & 0xff) | fragment;
}

static __always_inline enum parsed parse_v6(struct __sk_buff *skb, void *data, void *data_end, __u32 l3,
					    struct packet *pkt)
{
	struct ipv6hdr *ip = data + l3;
	__u32 offset = l3 + sizeof(*ip);
	__u8 proto;

	if ((void *)(ip + 1) > data_end)
		return PARSED_NO_ADDRESSES;
	if (ip->version != 6)
		return PARSED_NOT_IP;
	copy_addr(pkt->tuple.saddr, ip->saddr.in6_u.u6_addr32);
	copy_addr(pkt->tuple.daddr, ip->daddr.in6_u.u6_addr32);
	/* Such addresses belong on no wire (RFC 4291); here they would be taken for the IPv4 ones that they hold. */
	if (is_v4_mapped(pkt->tuple.saddr) || is_v4_mapped(pkt->tuple.daddr))
		return PARSED_NOT_IP;
	proto = ip->nexthdr;
	pkt->tuple.proto = proto;
	if (!set_end(skb, pkt, l3, IP6_SIZE + bpf_ntohs(ip->payload_len), !ip->payload_len))
		return PARSED_MALFORMED;
	if (is_extension(proto)) {
		int end = follow_chain(skb, offset, proto);

		if (end < 0)
			return -end;
		if (end & CHAIN_FIRST_FRAGMENT)
			return PARSED_FRAGMENT;
		pkt->tuple.proto = CHAIN_PROTO(end);
		offset = CHAIN_OFFSET(end);
		if (offset > HEADERS_MAX)
			return PARSED_UNREAD; /* longer chains stay untranslated */
		/* The bound once more, which the verifier of 5.10 loses between two copies of the number. */
		asm volatile("%0 &= 255" : "+r"(offset));
	}
	return parse_transport(data, data_end, offset, pkt);
}

/* `l3`: where the device's own header ends, ETH_HLEN or 0. */
static __always_inline enum parsed parse_once(struct __sk_buff *skb, struct packet *pkt, __u32 l3)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	__be16 protocol = skb->protocol;

	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		struct {
			__be16 tag;
			__be16 protocol;
		} *vlan = data + l3;

		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(vlan + 1) > data_end)
			return PARSED_NOT_IP;
		protocol = vlan->protocol;
		l3 += VLAN_HEADER_SIZE;
	}
	pkt->l3 = l3;
	pkt->length = skb->len;
	pkt->fragment = FRAGMENT_NONE;
	pkt->translated = false;
	pkt->v6 = protocol == bpf_htons(ETH_P_IPV6);
	if (protocol == bpf_htons(ETH_P_IP))
		return parse_v4(skb, data, data_end, l3, pkt);
	if (protocol == bpf_htons(ETH_P_IPV6))
		return parse_v6(skb, data, data_end, l3, pkt);
	return PARSED_NOT_IP;
}

/* A driver may leave headers in page fragments: pull them in once, then what is still missing is truly missing. */
static __noinline enum parsed parse_pulled(struct __sk_buff *skb, struct packet *pkt, __u32 l3)
{
	if (bpf_skb_pull_data(skb, skb->len < HEADERS_MAX ? skb->len : HEADERS_MAX))
		return PARSED_TRUNCATED;
	return parse_once(skb, pkt, l3);
}

static __always_inline enum parsed parse_at(struct __sk_buff *skb, struct packet *pkt, enum svclb_direction direction,
					    __u32 l3)
{
	enum parsed result = parse_once(skb, pkt, l3);

	if (result == PARSED_TRUNCATED || result == PARSED_NO_ADDRESSES)
		result = parse_pulled(skb, pkt, l3);
	pkt->tuple.direction = direction;
	pkt->tuple.pad = 0;
	return result;
}

/* Fills `pkt`; the packet is met in the program for `direction`. */
static __always_inline enum parsed parse(struct __sk_buff *skb, struct packet *pkt, enum svclb_direction direction)
{
	return parse_at(skb, pkt, direction, ETH_HLEN);
}

/* The same where packets begin with the IP header: TUN, WireGuard, IPIP and the like. */
static __always_inline enum parsed parse_bare(struct __sk_buff *skb, struct packet *pkt, enum svclb_direction direction)
{
	return parse_at(skb, pkt, direction, 0);
}

#endif
