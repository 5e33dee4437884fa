// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The two ends of a flood of datagrams: one sends frames out by a device, the other counts and drops them. */
#include <linux/bpf.h>

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAGIC 0x53564c42

const volatile __u32 device = 0;
const volatile __u32 clients = 1; /* ports of the client that take turns, from the frame's on */

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} received SEC(".maps");

#define FRAME_SIZE 66 /* Ethernet, IPv6, UDP and the word above */

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u8[FRAME_SIZE]);
} frame SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} turn SEC(".maps");

/* RFC 1624, equation 3 */
static __always_inline void add_to_port(struct udphdr* udp, __u32 number) {
    __u16 port = bpf_htons(bpf_ntohs(udp->source) + number);
    __u32 sum = (__u16)~udp->check + (__u16)~udp->source + port;

    sum = (sum & 0xffff) + (sum >> 16);
    udp->check = ~((sum & 0xffff) + (sum >> 16));
    udp->source = port;
}

/* Test-run takes frames that have come back as their last user left them. */
SEC("xdp")
int emit(struct xdp_md* ctx) {
    void* data_end = (void*)(long)ctx->data_end;
    void* data = (void*)(long)ctx->data;
    struct ethhdr* eth = data;
    const __u8* bytes;
    __u32 zero = 0, *next;

    bytes = bpf_map_lookup_elem(&frame, &zero);
    next = bpf_map_lookup_elem(&turn, &zero);
    if (!bytes || !next || data + FRAME_SIZE > data_end) return XDP_DROP;
    __builtin_memcpy(data, bytes, FRAME_SIZE);
    add_to_port(
        (void*)(eth + 1) + (eth->h_proto == bpf_htons(ETH_P_IPV6) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)),
        *next);
    *next = *next + 1 < clients ? *next + 1 : 0;
    return bpf_redirect(device, 0);
}

SEC("xdp")
int sink(struct xdp_md* ctx) {
    void* data_end = (void*)(long)ctx->data_end;
    struct ethhdr* eth = (void*)(long)ctx->data;
    __u32 zero = 0;
    __u64* count;
    __u32* magic;

    if ((void*)(eth + 1) > data_end) return XDP_PASS;
    magic = (void*)(eth + 1) + sizeof(struct udphdr) +
            (eth->h_proto == bpf_htons(ETH_P_IPV6) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
    if ((void*)(magic + 1) > data_end || *magic != bpf_htonl(MAGIC)) return XDP_PASS;
    count = bpf_map_lookup_elem(&received, &zero);
    if (count) ++*count;
    return XDP_DROP;
}

char wire_load_license[] SEC("license") = "GPL";
