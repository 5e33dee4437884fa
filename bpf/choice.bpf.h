/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* From a frontend to a backend, for a packet as for a socket: whom an address leads to, the choice, session affinity,
 * and the counters. Knows no packet. */
#ifndef SVCLB_CHOICE_BPF_H
#define SVCLB_CHOICE_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "addr.bpf.h"
#include "tables.bpf.h"

/* 0: `out` is set. Otherwise -1 - enum svclb_reason. */
#define REFUSE(reason) (-1 - (int)SVCLB_REASON_##reason)
#define REFUSED_REASON(result) ((__u32)(-1 - (result)))

static __always_inline __u32 mix(__u32 h, __u32 word)
{
	h ^= word;
	h *= 0x85ebca6b;
	h ^= h >> 13;
	h *= 0xc2b2ae35;
	return h ^ h >> 16;
}

static __always_inline __u32 now_s(void)
{
	return bpf_ktime_get_ns() / 1000000000;
}

static __always_inline __u32 now_ms(void)
{
	return (__u32)(bpf_ktime_get_ns() / 1000000);
}

/* Atomic: a socket's program, unlike a packet's, can be interrupted by another one on its CPU. The compiler's own way
 * returns the old value, which kernels before 5.12 do not know. */
static __always_inline void add(__u64 *to, __u64 what)
{
	asm volatile("lock *(u64 *)(%0 + 0) += %1" : : "r"(to), "r"(what) : "memory");
}

static __always_inline void count_unmet(__u32 reason, __u32 bytes)
{
	struct svclb_drop_counter *counter = bpf_map_lookup_elem(&drop_counters, &reason);

	if (!counter)
		return;
	add(&counter->packets, 1);
	add(&counter->bytes, bytes);
}

static __always_inline void count_flow(__u32 service, __u32 backend)
{
	struct svclb_counter *counter = bpf_map_lookup_elem(&service_counters, &service);

	if (counter)
		add(&counter->flows, 1);
	counter = bpf_map_lookup_elem(&backend_counters, &backend);
	if (counter)
		add(&counter->flows, 1);
}

static __always_inline bool is_known(const __be32 addr[SVCLB_ADDR_WORDS])
{
	return addr[0] | addr[1] | addr[2] | addr[3];
}

static __always_inline const __be32 *address_in(const struct svclb_node_addresses *row, bool v6)
{
	const __be32 *own = row->v4;

	if (v6) {
		own = row->v6;
		asm volatile("" : "+r"(own)); /* else the compiler multiplies, and the verifier knows no bound */
	}
	return is_known(own) ? own : NULL;
}

/* The node's own address of a family; NULL before any is written. */
static __always_inline const __be32 *node_address(bool v6)
{
	const struct svclb_node_addresses *node;
	__u32 zero = 0;

	node = bpf_map_lookup_elem(&node_addresses, &zero);
	return node ? address_in(node, v6) : NULL;
}

static __always_inline struct svclb_filters *filter_bytes(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&filters, &zero);
}

/* Masked once more, for the verifier. */
static __always_inline __u32 filter_index(const __be32 addr[SVCLB_ADDR_WORDS], __be16 port)
{
	return svclb_filter_index(addr, port) & (SVCLB_FILTER_SIZE - 1);
}

/* Port 0 of protocol 0: is the address a ClusterIP at all? */
static __always_inline const struct svclb_frontend *frontend_at(const __be32 addr[SVCLB_ADDR_WORDS], __be16 port,
								__u8 proto)
{
	struct svclb_frontend_key key = {.port = port, .proto = proto};

	copy_addr(key.addr, addr);
	return bpf_map_lookup_elem(&frontends, &key);
}

static __always_inline const struct svclb_backend *find_backend(__u32 service, const __be32 addr[SVCLB_ADDR_WORDS],
								__be16 port)
{
	struct svclb_backend_key key = {.service = service, .port = port};

	copy_addr(key.addr, addr);
	return bpf_map_lookup_elem(&backends, &key);
}

/* The slot that `hash` falls on. False when the run was replaced under our eyes. */
static __always_inline bool slot_at(__u32 service, __u64 run, __u32 hash, struct svclb_slot *out)
{
	__u32 index = svclb_run_base(run) + (__u32)(((__u64)hash * svclb_run_count(run)) >> 32);
	const struct svclb_slot *slot = bpf_map_lookup_elem(&slots, &index);

	if (!slot)
		return false;
	*out = *slot;
	return out->service == service && out->generation == svclb_run_generation(run);
}

static __always_inline __u64 read_run(const struct svclb_service *service, __u32 set)
{
	return set == SVCLB_SET_LOCAL ? *(volatile const __u64 *)&service->runs[SVCLB_SET_LOCAL]
				      : *(volatile const __u64 *)&service->runs[SVCLB_SET_CLUSTER];
}

/* Reads the published word again once: the agent keeps replaced runs intact for longer than a program runs. */
static __always_inline bool choose_slot(const struct svclb_service *service, __u32 index, __u32 set, __u32 hash,
					struct svclb_slot *out)
{
	__u64 run = read_run(service, set);

	if (svclb_run_count(run) && slot_at(index, run, hash, out))
		return true;
	run = read_run(service, set);
	return svclb_run_count(run) && slot_at(index, run, hash, out);
}

/* Why a service port without a backend in this set takes nobody. */
static __always_inline int refusal(const struct svclb_service *service, __u32 set)
{
	return service->verdicts[set == SVCLB_SET_LOCAL] == SVCLB_VERDICT_DROP ? REFUSE(NO_LOCAL_BACKEND_DROPPED)
									       : REFUSE(NO_BACKEND_REJECTED);
}

/* The backend that this client was last sent to, if that still holds (behaviour row 1.18). */
static __always_inline bool last_backend(__u32 service, __u32 set, __u32 affinity_s,
					 const __be32 client[SVCLB_ADDR_WORDS], struct svclb_slot *out)
{
	struct svclb_affinity_key key = {.service = service};
	const struct svclb_affinity *last;
	const struct svclb_backend *backend;

	copy_addr(key.client, client);
	last = bpf_map_lookup_elem(&affinity, &key);
	if (!last || now_s() - last->seen_s >= affinity_s)
		return false;
	copy_addr(out->addr, last->addr);
	out->port = last->port;
	backend = find_backend(service, out->addr, out->port);
	if (!backend ||
	    !(backend->flags & (set == SVCLB_SET_LOCAL ? SVCLB_BACKEND_IN_LOCAL : SVCLB_BACKEND_IN_CLUSTER)))
		return false;
	out->backend = backend->id;
	return true;
}

static __always_inline long keep_backend(__u32 service, const __be32 client[SVCLB_ADDR_WORDS],
					 const __be32 addr[SVCLB_ADDR_WORDS], __be16 port)
{
	struct svclb_affinity_key key = {.service = service};
	struct svclb_affinity now = {.port = port, .seen_s = now_s()};

	copy_addr(key.client, client);
	copy_addr(now.addr, addr);
	return bpf_map_update_elem(&affinity, &key, &now, BPF_ANY);
}

/* The kernel makes this lookup of an array a load of its address. */
static __always_inline const struct svclb_service_cidrs *service_ranges(void)
{
	__u32 row = 0;

	return bpf_map_lookup_elem(&service_cidrs, &row);
}

static __always_inline bool has_service_cidr(void)
{
	const struct svclb_service_cidrs *ranges = service_ranges();

	return ranges && ranges->used >> 16;
}

static __always_inline bool in_range(const __be32 addr[SVCLB_ADDR_WORDS], const struct svclb_cidr *range)
{
	return (addr[0] & range->mask[0]) == range->addr[0] && (addr[1] & range->mask[1]) == range->addr[1] &&
	       (addr[2] & range->mask[2]) == range->addr[2] && (addr[3] & range->mask[3]) == range->addr[3];
}

static __always_inline bool in_service_cidr(const __be32 addr[SVCLB_ADDR_WORDS])
{
	const struct svclb_service_cidrs *ranges = service_ranges();
	__u32 used;

	if (!ranges)
		return false;
	used = *(volatile const __u32 *)&ranges->used;
	for (__u32 i = 0; i < SVCLB_SERVICE_CIDRS; i++) {
		__u32 at = (used & 0xffff) + i;

		if (i >= used >> 16)
			break;
		asm volatile("" : "+r"(at)); /* else the compiler bounds another register than it adds */
		if (in_range(addr, &ranges->cidr[at & (2 * SVCLB_SERVICE_CIDRS - 1)]))
			return true;
	}
	return false;
}

#endif
