#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# A client that has used the ClusterIP dials the pods directly from the same few source ports, and nothing breaks.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin direct_after_clusterip
web_cluster 3
start_agent

# The kernel uses a source port again for another destination as soon as it likes: few ports make that certain.
pod_exec client sysctl -q -w net.ipv4.ip_local_port_range="32768 34767"

for family in 4 6; do
    if ((family == 4)); then
        to=$web4 direct="${POD_IP4[b1]}:8080"
    else
        to=$web6 direct="[${POD_IP6[b1]}]:8080"
    fi
    check "IPv$family: 10,000 connections to the ClusterIP" \
        holds "$(load_in client "$to" --connections 10000 --reset)" '.failed == 0'
    check "IPv$family: 10,000 connections straight to b1, closed with RST" \
        holds "$(load_in client "$direct" --connections 10000 --reset)" '.failed == 0 and .backends == {"b1": 10000}'
    check "IPv$family: 10,000 connections straight to b1, closed by the server" \
        holds "$(load_in client "$direct" --connections 10000 --bye)" '.failed == 0 and .backends == {"b1": 10000}'
    load_in client "$to" --connections 10000 --reset >"$run/cluster.json" &
    load=$!
    check "IPv$family: 10,000 more, while the ClusterIP is used as well" \
        holds "$(load_in client "$direct" --connections 10000 --reset)" '.failed == 0 and .backends == {"b1": 10000}'
    wait $load || true
    check "IPv$family: and none of those failed" holds "$(cat "$run/cluster.json")" '.failed == 0'
    check "IPv$family: 5,000 datagrams to the ClusterIP" \
        holds "$(load_in client "$to" --connections 5000 --udp)" '.failed == 0'
    check "IPv$family: 5,000 datagrams straight to b1" \
        holds "$(load_in client "$direct" --connections 5000 --udp)" '.failed == 0 and .backends == {"b1": 5000}'
done
ctl status
harness_end
