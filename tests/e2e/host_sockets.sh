#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Processes of the node's own network namespace, with every kind of socket call (tests/sockets), on two nodes with an
# agent each: no agent has a say in the other's sockets, nor in its own node's pods'.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin host-sockets
cluster_up 2
for pod in b1 b2 b3; do
    pod_add $pod
    pod_serve $pod 8080 8081
done
pod_add client
service web 10.96.0.10 fd00:10:96::10 tcp:80:TCP udp:80:UDP
service empty 10.96.0.20 fd00:10:96::20 tcp:80:TCP udp:80:UDP
affinity_s=3600 service sticky 10.96.0.30 fd00:10:96::30 tcp:80:TCP udp:80:UDP
endpoints web "$web_ports" b1 b2 b3
endpoints empty "$web_ports"
endpoints sticky "tcp:8081:TCP udp:8081:UDP" b1 b2 b3

counted() { # NODE: what web has been dialled
    ctl -n "$1" get services -o json | jq '[.items[] | select(.name == "web") | .flows] | add'
}
# A pod's connection has an entry in the flow tables; one that was translated at its socket has none.
flows_of() { # NODE ADDRESS
    ctl -n "$1" get flows -o json | jq --arg at "$2" '[.items[] | select(.client | contains($at))] | length'
}
node_curl() { node_exec -n "$1" curl -s --max-time 5 -o /dev/null -w '%{remote_ip}' http://10.96.0.10/; }
load_host() { node_exec -n "$1" "$tools/connect_load" "$web4" --connections 20; }

start_agent -n 1
say "one agent"
before=$(counted 1)
check "a process of its node is served" test "$(node_curl 1)" = 10.96.0.10
check "which is counted" test "$(counted 1)" = $((before + 1))
check "and has no flow in the packets' tables" test "$(flows_of 1 10.244.1.1)" = 0
before=$(counted 1)
check "a process of another node is not" eval '! node_curl 2'
check "and not counted" test "$(counted 1)" = "$before"
pod_exec client curl -s --max-time 5 -o /dev/null http://10.96.0.10/
check "a pod is translated by its packets, not at its socket" test "$(flows_of 1 "${POD_IP4[client]}")" -gt 0

start_agent -n 2
for node in 1 2; do
    say "node $node, with an agent on each"
    other=$(counted $((3 - node)))
    own=$(counted "$node")
    check "every kind of socket call" node_exec -n $node "$build/tests/sockets/host_sockets"
    check "its agent has counted them" test "$(counted "$node")" -gt "$own"
    check "the other one has not" test "$(counted $((3 - node)))" = "$other"
    own=$(counted "$node")
    check "20 connections are served" holds "$(load_host $node)" '.failed == 0 and .ok == 20'
    check "and counted one by one" test "$(counted "$node")" = $((own + 20))
done

say "agent 2 leaves: its hooks go, those of agent 1 do not"
stop_agent -n 2
node_exec -n 2 "$build/userspace/agent/svclb-agent" --cleanup --state-dir "$run/state2" --bpf-dir "$(bpf_dir 2)" >/dev/null 2>&1
check "node 2 is not served any more" eval '! node_curl 2'
check "node 1 is" test "$(node_curl 1)" = 10.96.0.10
harness_end
