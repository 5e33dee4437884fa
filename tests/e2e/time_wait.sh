#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# A backend that closes first remembers the connection for a minute, and answers a SYN which it takes for an old one with
# an acknowledgment; the client's kernel resets that and waits a second. Not one of these, whoever had the port before.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin time_wait
web_cluster 1
start_agent

# Few ports: each is used again while the backend remembers.
pod_exec client sysctl -q -w net.ipv4.ip_local_port_range="32768 33767"

# Nobody in these connections has another reason to send one.
resets() {
    pod_exec client nstat -asz TcpOutRsts | awk '/TcpOutRsts/ { print $2 }'
}

before=$(resets)
for family in 4 6; do
    if ((family == 4)); then
        service=$web4 direct="${POD_IP4[b1]}:8080"
    else
        service=$web6 direct="[${POD_IP6[b1]}]:8080"
    fi
    for round in first second; do
        for to in "$service" "$direct"; do
            check "IPv$family: 2,000 connections to $to that the server closes, for the $round time" \
                holds "$(load_in client "$to" --connections 2000 --bye)" '.failed == 0 and .backends == {"b1": 2000}'
            check "IPv$family: and none met the rest of another" test "$(resets)" = "$before"
        done
    done
done
ctl status
harness_end
