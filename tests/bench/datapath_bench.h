/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What bench.bpf.c and datapath_bench.cpp share: the packets of a measurement, as the program lays them down again
 * before each run. */
#ifndef SVCLB_DATAPATH_BENCH_H
#define SVCLB_DATAPATH_BENCH_H

#include <linux/types.h>

#define BENCH_STEPS 4
#define BENCH_HEADERS_V4 54 /* Ethernet, IP, TCP; in a UDP packet the payload begins before that */
#define BENCH_HEADERS_V6 74
#define BENCH_HEADERS_SIZE 80

/* Flow `n` has client port 1024 + n % 32768, and n / 32768 in the lower half of the client's address. */
#define BENCH_FIRST_PORT 1024
#define BENCH_PORT_BITS 15

/* One packet of a conversation, with zeros where the flow's number belongs, and checksums that are right for them. */
struct bench_step {
    __u8 headers[BENCH_HEADERS_SIZE];
    __u32 udp;
    __u32 reply; /* the client is the destination, and the program is to_pod */
};

struct bench_plan {
    struct bench_step steps[BENCH_STEPS];
    __u32 step_count;
    __u32 flow_mask; /* flows in turn, a power of two less one; all ones = ever new */
    __u32 step;      /* whose turn it is */
    __u32 flow;
};

#endif
