#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Where the kernel has no tcx: the same traffic through clsact filters, beside a filter that is somebody else's.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin clsact
web_cluster 3
node_exec tc qdisc add dev v-client clsact
node_exec tc filter add dev v-client ingress protocol all pref 500 u32 match u32 0xffffffff 0xffffffff at 0
foreign() { [[ $(node_exec tc filter show dev v-client ingress) == *'pref 500 u32'*'match ffffffff/ffffffff at 0'* ]]; }
start_agent --attach clsact
check "the other filter is there beside ours" foreign

check "svclb-ctl shows clsact hooks on the four pod links" holds "$(ctl get links -o json)" \
    '[.items[] | select(.kind == "pod") | select([.hooks[].mode] == ["clsact", "clsact"])] | length == 4'
for to in "$web4" "$web6"; do
    check "connections to $to succeed and reach all" \
        holds "$(load_in client "$to" --connections 600)" '.failed == 0 and (.backends | length) == 3'
    check "datagrams to $to are answered by all" \
        holds "$(load_in client "$to" --connections 600 --udp)" '.failed == 0 and (.backends | length) == 3'
done
hold_begin v4 client "$web4" 50
held=$(hold_said v4)
check "50 connections are open" holds "$held" '.failed == 0'
load_in client "$web4" --seconds 3 --bye >"$run/load.json" &
load=$!
sleep 0.5
stop_agent KILL
start_agent --attach clsact
wait $load || true
check "no request failed through kill and restart" holds "$(cat "$run/load.json")" '.failed == 0 and .ok > 100'
check "the open connections live" holds "$(hold_ask v4)" '.ok == 50'
check "the filters were replaced in place" holds "$(ctl get links -o json)" '[.items[] | select(.kind == "pod") | .hooks[]] | length == 8'
pod_add late
check "a pod that comes later works as well" await 5 load_in late "$web6" --connections 50 --timeout-ms 5000

# Somebody else is in our very place.
node_exec ip link add v-taken type veth peer name taken
node_exec tc qdisc add dev v-taken clsact
node_exec tc filter add dev v-taken ingress protocol all pref 7 handle 0x53564c42 bpf bytecode '1,6 0 0 0'
node_exec ip link set taken netns "$(pod_ns client)"
not_served() { holds "$(ctl status -o json)" '.problems | map(select(.object == "Device v-taken" and .reason == "NotServed")) | length == 1'; }
check "a device that cannot be served is a problem that svclb-ctl shows" await 5 not_served
node_exec tc filter del dev v-taken ingress
hooked() { holds "$(ctl get links -o json)" '[.items[] | select(.name == "v-taken") | .hooks[]] | length == 2'; }
check "it is served once it can be" await 20 hooked
no_problem() { holds "$(ctl status -o json)" '.problems == []'; }
check "and the problem is none any more" await 5 no_problem
stop_agent
node_exec "$build/userspace/agent/svclb-agent" --cleanup --state-dir "$run/state1" --bpf-dir "$(bpf_dir)"
check "cleanup leaves the other filter where it was" foreign
for pod in client b1 b2 b3; do
    for direction in ingress egress; do
        check "and none of ours on v-$pod $direction" eval "! node_exec tc filter show dev v-$pod $direction | grep bpf"
    done
done
harness_end
