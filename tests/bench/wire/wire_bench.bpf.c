// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The XDP program behind a wrapper that lays the packet down again, as bench.bpf.c does for the others; and the floor.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

int from_wire(struct xdp_md* ctx) __attribute__((always_inline));

#include "svclb.bpf.c"

#define LAID_DOWN 74 /* Ethernet, IPv6, TCP */

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u8[LAID_DOWN]);
} laid_down SEC(".maps");

static __always_inline int lay_down(struct xdp_md* ctx) {
    void* data_end = (void*)(long)ctx->data_end;
    void* data = (void*)(long)ctx->data;
    const __u8* bytes;
    __u32 zero = 0;

    bytes = bpf_map_lookup_elem(&laid_down, &zero);
    if (!bytes || data + LAID_DOWN > data_end) return 0;
    __builtin_memcpy(data, bytes, LAID_DOWN);
    return 1;
}

SEC("xdp")
int wire_floor(struct xdp_md* ctx) {
    return lay_down(ctx) ? XDP_REDIRECT : XDP_ABORTED;
}

SEC("xdp")
int wire_again(struct xdp_md* ctx) {
    return lay_down(ctx) ? from_wire(ctx) : XDP_ABORTED;
}
