/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What every compiler must make of abi.h: read as C, as C++ and as BPF C, so that all three agree with each other and
 * with the maps of a version that is already running. Sizes stand in abi.h itself.
 */
#ifndef SVCLB_LAYOUT_H
#define SVCLB_LAYOUT_H

#include <stddef.h>

#define AT(type, member, offset) static_assert(offsetof(struct type, member) == (offset), #type "." #member)

AT(svclb_frontend_key, addr, 0);
AT(svclb_frontend_key, port, 16);
AT(svclb_frontend_key, proto, 18);
AT(svclb_frontend, service, 0);
AT(svclb_frontend, kind, 4);
AT(svclb_frontend, set, 5);

AT(svclb_service, runs, 0);
AT(svclb_service, epoch, 16);
AT(svclb_service, affinity_s, 20);
AT(svclb_service, verdicts, 24);
AT(svclb_service, family, 26);
AT(svclb_service, proto, 27);

AT(svclb_slot, addr, 0);
AT(svclb_slot, port, 16);
AT(svclb_slot, generation, 18);
AT(svclb_slot, service, 20);
AT(svclb_slot, backend, 24);

AT(svclb_backend_key, service, 0);
AT(svclb_backend_key, addr, 4);
AT(svclb_backend_key, port, 20);
AT(svclb_backend, id, 0);
AT(svclb_backend, weight, 12);
AT(svclb_backend, state, 14);
AT(svclb_backend, flags, 15);

AT(svclb_flow_key4, saddr, 0);
AT(svclb_flow_key4, daddr, 4);
AT(svclb_flow_key4, sport, 8);
AT(svclb_flow_key4, dport, 10);
AT(svclb_flow_key4, proto, 12);
AT(svclb_flow_key4, direction, 13);
AT(svclb_flow_key6, saddr, 0);
AT(svclb_flow_key6, daddr, 16);
AT(svclb_flow_key6, sport, 32);
AT(svclb_flow_key6, dport, 34);
AT(svclb_flow_key6, proto, 36);
AT(svclb_flow_key6, direction, 37);

AT(svclb_flow, addr, 0);
AT(svclb_flow, port, 16);
AT(svclb_flow, client_port, 18);
AT(svclb_flow, service, 20);
AT(svclb_flow, backend, 24);
AT(svclb_flow, epoch, 28);
AT(svclb_flow, seen_s, 32);
AT(svclb_flow, tick, 36);
AT(svclb_flow, kind, 40);
AT(svclb_flow, answered, 41);
AT(svclb_flow, client_fin, 42);
AT(svclb_flow, backend_fin, 43);
AT(svclb_flow, reset, 44);

AT(svclb_affinity_key, client, 0);
AT(svclb_affinity_key, service, 16);
AT(svclb_affinity, addr, 0);
AT(svclb_affinity, port, 16);
AT(svclb_affinity, seen_s, 20);

AT(svclb_counter, flows, 0);
AT(svclb_counter, packets, 8);
AT(svclb_counter, bytes, 16);

static_assert(SVCLB_RUN_BASE_BITS + SVCLB_RUN_COUNT_BITS + SVCLB_RUN_GENERATION_BITS == 64, "a run is one store");

#endif
