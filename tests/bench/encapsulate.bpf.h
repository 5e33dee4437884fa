/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * For comparison, on the same machine in the same minute: what an XDP load balancer of Katran's kind does with a packet
 * of an established flow. It finds the virtual address, the flow in the LRU table of its CPU, and the server's address;
 * counts in five places; puts an outer IP header before the packet. Written for this measurement: no packet of it is
 * right beyond what its cost depends on. It does less than Katran
 * itself, so it flatters the other side.
 */
#ifndef SVCLB_ENCAPSULATE_BPF_H
#define SVCLB_ENCAPSULATE_BPF_H

#include "nat.bpf.h"
#include "parse.bpf.h"

#define BALANCED_FLOWS 524288 /* as many as the bench gives our own tables */
#define BALANCER_CPUS 2       /* CPUs with even and with odd numbers: the bench runs on one */
#define BALANCER_COUNTERS 8

struct balanced {
    __be32 saddr[SVCLB_ADDR_WORDS];
    __be32 daddr[SVCLB_ADDR_WORDS];
    __u32 ports;
    __u8 proto;
    __u8 pad[3];
};

struct virtual_address {
    __u32 flags;
    __u32 number;
};

struct server {
    __be32 addr[SVCLB_ADDR_WORDS];
    __u8 flags;
    __u8 pad[3];
};

struct server_of_flow {
    __u32 server;
    __u64 seen_ns; /* UDP */
};

struct balancer_counter {
    __u64 packets;
    __u64 bytes;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 512);
    __type(key, struct svclb_frontend_key);
    __type(value, struct virtual_address);
} virtual_addresses SEC(".maps");

struct flows_of_cpu {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, BALANCED_FLOWS);
    __type(key, struct balanced);
    __type(value, struct server_of_flow);
} balanced_flows SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, BALANCER_CPUS);
    __type(key, __u32);
    __array(values, struct flows_of_cpu);
} balanced_flows_by_cpu SEC(".maps") = {.values = {&balanced_flows, &balanced_flows}};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4096);
    __type(key, __u32);
    __type(value, struct server);
} servers SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, BALANCER_COUNTERS);
    __type(key, __u32);
    __type(value, struct balancer_counter);
} balancer_counters SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 4096);
    __type(key, __u32);
    __type(value, struct balancer_counter);
} server_counters SEC(".maps");

static __always_inline void count_balanced(__u32 index, __u32 bytes) {
    struct balancer_counter* counter = bpf_map_lookup_elem(&balancer_counters, &index);

    if (!counter) return;
    counter->packets++;
    counter->bytes += bytes;
}

/* The number of the server of `flow`; a new one gets the first. */
static __always_inline __u32 server_of(const struct balanced* flow) {
    __u32 cpu = bpf_get_smp_processor_id() % BALANCER_CPUS;
    void* flows = bpf_map_lookup_elem(&balanced_flows_by_cpu, &cpu);
    struct server_of_flow first = {.server = 1};
    struct server_of_flow* known;

    if (!flows) return 0;
    known = bpf_map_lookup_elem(flows, flow);
    if (!known) {
        bpf_map_update_elem(flows, flow, &first, BPF_ANY);
        count_balanced(3, 0);
        return first.server;
    }
    if (flow->proto == IPPROTO_UDP) known->seen_ns = bpf_ktime_get_ns();
    return known->server;
}

/* An outer header of the packet's own family, and off with it again: the next run expects the packet as it was. */
static __always_inline int encapsulate_balanced(struct xdp_md* ctx, const struct balanced* flow,
                                                const struct server* to, __u32 length, bool v6) {
    int size = v6 ? IP6_SIZE : IP4_SIZE;
    struct ethhdr* ethernet;
    void* data_end;

    if (bpf_xdp_adjust_head(ctx, -size)) return XDP_DROP;
    ethernet = (void*)(long)ctx->data;
    data_end = (void*)(long)ctx->data_end;
    if ((void*)(ethernet + 1) + IP6_SIZE > data_end) return XDP_DROP;
    __builtin_memset(ethernet, 2, 2 * ETH_ALEN);
    ethernet->h_proto = bpf_htons(v6 ? ETH_P_IPV6 : ETH_P_IP);
    if (v6) {
        struct ipv6hdr* ip = (void*)(ethernet + 1);

        __builtin_memset(ip, 0, sizeof(*ip));
        ip->version = 6;
        ip->payload_len = bpf_htons(length);
        ip->nexthdr = IPPROTO_IPV6;
        ip->hop_limit = 64;
        copy_addr(ip->saddr.in6_u.u6_addr32, flow->saddr);
        copy_addr(ip->daddr.in6_u.u6_addr32, to->addr);
    } else {
        struct iphdr* ip = (void*)(ethernet + 1);
        __u32 sum = 0;

        __builtin_memset(ip, 0, sizeof(*ip));
        ip->version = 4;
        ip->ihl = 5;
        ip->tot_len = bpf_htons(length + IP4_SIZE);
        ip->ttl = 64;
        ip->protocol = IPPROTO_IPIP;
        ip->saddr = flow->saddr[3] ^ flow->ports;
        ip->daddr = to->addr[3];
        for (int i = 0; i < IP4_SIZE / 4; i++) sum = csum_add(sum, ((__be32*)ip)[i]);
        ip->check = csum_fold(sum);
    }
    return bpf_xdp_adjust_head(ctx, size) ? XDP_DROP : XDP_TX;
}

static __always_inline int balance(struct xdp_md* ctx, bool v6) {
    void* data = (void*)(long)ctx->data;
    void* data_end = (void*)(long)ctx->data_end;
    const struct virtual_address* virtual;
    struct svclb_frontend_key dialled = {};
    struct balanced flow = {};
    const struct server* to;
    struct server copied;
    __u32 length, number, server;
    __u32 l4 = ETH_HLEN + (v6 ? IP6_SIZE : IP4_SIZE);
    __be16* ports;

    if (data + l4 + sizeof(struct udphdr) > data_end) return XDP_PASS;
    length = data_end - data - ETH_HLEN;
    if (v6) {
        struct ipv6hdr* ip = data + ETH_HLEN;

        if (ip->version != 6) return XDP_PASS;
        flow.proto = ip->nexthdr;
        copy_addr(flow.saddr, ip->saddr.in6_u.u6_addr32);
        copy_addr(flow.daddr, ip->daddr.in6_u.u6_addr32);
    } else {
        struct iphdr* ip = data + ETH_HLEN;

        if (ip->ihl != 5 || ip->frag_off & bpf_htons(IP4_FRAGMENT_MASK)) return XDP_PASS;
        flow.proto = ip->protocol;
        set_v4(flow.saddr, ip->saddr);
        set_v4(flow.daddr, ip->daddr);
    }
    ports = data + l4;
    flow.ports = ports[0] | (__u32)ports[1] << 16;
    copy_addr(dialled.addr, flow.daddr);
    dialled.port = ports[1];
    dialled.proto = flow.proto;
    virtual = bpf_map_lookup_elem(&virtual_addresses, &dialled);
    if (!virtual) return XDP_PASS;
    number = virtual->number;
    count_balanced(0, length);
    server = server_of(&flow);
    to = bpf_map_lookup_elem(&servers, &server);
    if (!to) return XDP_DROP;
    copied = *to;
    count_balanced(1, length);
    count_balanced(number, length);
    count_balanced(2, length);
    struct balancer_counter* counter = bpf_map_lookup_elem(&server_counters, &server);

    if (counter) {
        counter->packets++;
        counter->bytes += length;
    }
    return encapsulate_balanced(ctx, &flow, &copied, length, v6);
}

#endif
