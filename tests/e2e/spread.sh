#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# New connections and datagrams spread evenly over the backends: on one bridge, on another node, and behind ptp links.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin spread
web_cluster 3
start_agent

# 3,000 tries over three backends: 1,000 each, with a standard deviation of 26.
even='.failed == 0 and ([.backends[]] | length == 3 and min > 850 and max < 1150)'
for to in "$web4" "$web6"; do
    check "3,000 connections to $to all succeed and spread evenly" holds "$(load_in client "$to" --connections 3000)" "$even"
    check "3,000 datagrams to $to are all answered and spread evenly" \
        holds "$(load_in client "$to" --connections 3000 --udp)" "$even"
done

say "a backend on another node, one behind a ptp link, and a client behind one"
node_add
pod_add far 2
pod_add near 1 ptp
pod_add visitor 1 ptp
pod_serve far 8080
pod_serve near 8080
service mixed 10.96.0.20 fd00:10:96::20 tcp:80:TCP udp:80:UDP
endpoints mixed "$web_ports" b1 far near
await 5 eval 'ctl get services -o json | jq -e "[.items[] | select(.name == \"mixed\") | .backends[]] | length == 12"' || true
for client in client visitor; do
    for to in 10.96.0.20:80 '[fd00:10:96::20]:80'; do
        check "$client reaches every backend at $to by TCP" holds "$(load_in "$client" "$to" --connections 300)" \
            '.failed == 0 and (.backends | keys) == ["b1", "far", "near"]'
        check "$client reaches every backend at $to by UDP" holds "$(load_in "$client" "$to" --connections 300 --udp)" \
            '.failed == 0 and (.backends | keys) == ["b1", "far", "near"]'
    done
done
check "desired and programmed state agree" ctl verify
harness_end
