// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The programs as they are, behind a wrapper that lays the packet down again: the kernel's test-run repeats a program
 * on the packet as the last run left it. The floors do all but call them.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

/* In one piece with the wrapper, as the kernel runs them; the attribute holds for the definitions below. */
int from_pod(struct __sk_buff* skb) __attribute__((always_inline));
int to_pod(struct __sk_buff* skb) __attribute__((always_inline));

#include "svclb.bpf.c"

#include "datapath_bench.h"
#include "encapsulate.bpf.h"

#define V4_CHECK 24
#define V4_SADDR_LOW 28
#define V4_DADDR_LOW 32
#define V4_L4 34
#define V6_SADDR_LOW 36
#define V6_DADDR_LOW 52
#define V6_L4 54
#define TCP_CHECK 16
#define UDP_CHECK 6

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct bench_plan);
} bench SEC(".maps");

static __always_inline void add_to_check(__u16* check, __u32 sum) {
    *check = csum_fold(csum_add(sum, (__u16) ~*check));
}

/* The step whose packet it has laid down, or NULL. */
static __always_inline const struct bench_step* lay_down_at(void* data, void* data_end, bool v6) {
    __u32 l4 = v6 ? V6_L4 : V4_L4;
    const struct bench_step* step;
    struct bench_plan* plan;
    __be16 address, port;
    __u32 zero = 0;
    __u32 at;

    plan = bpf_map_lookup_elem(&bench, &zero);
    if (!plan || data + (v6 ? BENCH_HEADERS_V6 : BENCH_HEADERS_V4) > data_end) return NULL;
    at = plan->step;
    if (at >= BENCH_STEPS) return NULL;
    step = &plan->steps[at];
    __builtin_memcpy(data, step->headers, v6 ? BENCH_HEADERS_V6 : BENCH_HEADERS_V4);

    address = bpf_htons(plan->flow >> BENCH_PORT_BITS);
    port = bpf_htons(BENCH_FIRST_PORT + (plan->flow & ((1u << BENCH_PORT_BITS) - 1)));
    if (step->reply) {
        *(__be16*)(data + (v6 ? V6_DADDR_LOW : V4_DADDR_LOW)) = address;
        *(__be16*)(data + l4 + 2) = port;
    } else {
        *(__be16*)(data + (v6 ? V6_SADDR_LOW : V4_SADDR_LOW)) = address;
        *(__be16*)(data + l4) = port;
    }
    if (!v6) add_to_check(data + V4_CHECK, address);
    add_to_check(data + l4 + (step->udp ? UDP_CHECK : TCP_CHECK), (__u32)address + port);

    if (++at == plan->step_count) {
        at = 0;
        plan->flow = (plan->flow + 1) & plan->flow_mask;
    }
    plan->step = at;
    return step;
}

static __always_inline const struct bench_step* lay_down(struct __sk_buff* skb, bool v6) {
    return lay_down_at((void*)(long)skb->data, (void*)(long)skb->data_end, v6);
}

SEC("tc")
int floor_empty(struct __sk_buff* skb) {
    return VERDICT_NEXT;
}

SEC("tc")
int floor_v4(struct __sk_buff* skb) {
    return lay_down(skb, false) ? VERDICT_NEXT : VERDICT_DROP;
}

SEC("tc")
int floor_v6(struct __sk_buff* skb) {
    return lay_down(skb, true) ? VERDICT_NEXT : VERDICT_DROP;
}

SEC("tc")
int from_pod_v4(struct __sk_buff* skb) {
    return lay_down(skb, false) ? from_pod(skb) : VERDICT_DROP;
}

SEC("tc")
int from_pod_v6(struct __sk_buff* skb) {
    return lay_down(skb, true) ? from_pod(skb) : VERDICT_DROP;
}

SEC("tc")
int to_pod_v4(struct __sk_buff* skb) {
    return lay_down(skb, false) ? to_pod(skb) : VERDICT_DROP;
}

SEC("tc")
int to_pod_v6(struct __sk_buff* skb) {
    return lay_down(skb, true) ? to_pod(skb) : VERDICT_DROP;
}

SEC("tc")
int both_v4(struct __sk_buff* skb) {
    const struct bench_step* step = lay_down(skb, false);

    if (!step) return VERDICT_DROP;
    return step->reply ? to_pod(skb) : from_pod(skb);
}

SEC("tc")
int both_v6(struct __sk_buff* skb) {
    const struct bench_step* step = lay_down(skb, true);

    if (!step) return VERDICT_DROP;
    return step->reply ? to_pod(skb) : from_pod(skb);
}

/* What no translation can do without: the packet's tuple, and its entry. */
static __always_inline int look_up(struct __sk_buff* skb, bool v6) {
    struct work* work = work_on();

    if (!lay_down(skb, v6) || !work || parse(skb, &work->pkt, SVCLB_FROM_POD) != PARSED_PORTS) return VERDICT_DROP;
    return find_established(&work->pkt.tuple, v6) ? VERDICT_NEXT : VERDICT_DROP;
}

SEC("tc")
int lookup_v4(struct __sk_buff* skb) {
    return look_up(skb, false);
}

SEC("tc")
int lookup_v6(struct __sk_buff* skb) {
    return look_up(skb, true);
}

static __always_inline int balance_laid_down(struct xdp_md* ctx, bool v6) {
    return lay_down_at((void*)(long)ctx->data, (void*)(long)ctx->data_end, v6) ? balance(ctx, v6) : XDP_DROP;
}

SEC("xdp")
int balance_v4(struct xdp_md* ctx) {
    return balance_laid_down(ctx, false);
}

SEC("xdp")
int balance_v6(struct xdp_md* ctx) {
    return balance_laid_down(ctx, true);
}
