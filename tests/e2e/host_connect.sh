#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Processes in the node's own network namespace dial ClusterIPs, with curl and dig, over both families: translated at
# the socket, through restarts of the agent, and on one node without another one's agent having a say.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin host_connect
web_cluster 2
pod_add dns
pod_exec dns dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --user=root --no-resolv --no-hosts \
    --log-facility=- --address=/who.test/192.0.2.1 >"$run/dns.log" 2>&1 &
service dns 10.96.0.53 fd00:10:96::53 dns:53:UDP dns-tcp:53:TCP
endpoints dns "dns:53:UDP dns-tcp:53:TCP" dns
start_agent

host_curl() { node_exec curl -s --max-time 5 -o /dev/null -w '%{remote_ip}' "$1"; }
ask() { node_exec dig +short +time=3 +tries=2 who.test A "$@"; }
await 5 pod_exec client dig +short +time=1 +tries=1 who.test A @"${POD_IP4[dns]}"

check "the hooks are attached, and shown" \
    holds "$(ctl get links -o json)" '[.items[] | select(.kind == "cgroup") | .hooks[]] | length == 8'
for round in started restarted; do
    check "$round: curl reaches the Service, and is told of the address that it dialled" \
        test "$(host_curl http://10.96.0.10/)" = 10.96.0.10
    check "$round: over IPv6" test "$(host_curl 'http://[fd00:10:96::10]/')" = fd00:10:96::10
    for server in 10.96.0.53 fd00:10:96::53; do
        check "$round: dig over UDP gets its answer from $server" test "$(ask "@$server")" = 192.0.2.1
        check "$round: over TCP" test "$(ask "@$server" +tcp)" = 192.0.2.1
    done
    stop_agent KILL
    check "$round: and without an agent" test "$(host_curl http://10.96.0.10/)" = 10.96.0.10
    start_agent
done
harness_end
