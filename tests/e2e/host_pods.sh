#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# --pod-sockets on: how the namespaces behind pod links are found. One that may not be entered hides no other, one that is
# mounted nowhere is found by its processes, and without such a one no process is looked at.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin host-pods
cluster_up
pod_add b1
pod_serve b1 8080
for pod in first second third; do pod_add $pod; done
service web 10.96.0.10 fd00:10:96::10 tcp:80:TCP udp:80:UDP
endpoints web "$web_ports" b1

walks() { wc -l <"$run/walks"; }
pods_text() { ctl status -o json | jq -r .podSockets.text; }
pods_are() { [[ $(pods_text) == "$1" ]]; }
flows_of() { ctl get flows -o json | jq --arg at "$1" '[.items[] | select(.client | contains($at))] | length'; }
# at_socket ADDRESS COMMAND...: whether both families of a pod are served, and no packet of theirs is.
at_socket() {
    local address=$1 before
    before=$(flows_of "$address")
    shift
    [[ $("$@" curl -s --max-time 20 -o /dev/null -w '%{remote_ip}' http://10.96.0.10/) == 10.96.0.10 ]] &&
        [[ $("$@" curl -s --max-time 20 -o /dev/null -w '%{remote_ip}' 'http://[fd00:10:96::10]/') == fd00:10:96::10 ]] &&
        (($(flows_of "$address") <= before))
}

: >"$run/walks"
inode() { stat -L -c %i "/run/netns/$(pod_ns "$1")"; }
agent_within=(env LD_PRELOAD="$tools/libbar_netns.so" ASAN_OPTIONS=verify_asan_link_order=0 WALK_LOG="$run/walks")
start_agent --pod-sockets on
check "pods whose namespaces are mounted are found" await 5 pods_are "4 of 4 pod links"
check "without a look at any process" test "$(walks)" = 0

say "one without a mount"
# As a runtime has it that keeps namespaces by its processes alone.
pod_add lone
nsenter --net="/run/netns/$(pod_ns lone)" sleep 1100 &
lone=$!
inside() { [[ $(stat -L -c %i "/proc/$lone/ns/net") == "$(inode lone)" ]]; }
await 5 inside
umount "/run/netns/$(pod_ns lone)" && rm -f "/run/netns/$(pod_ns lone)"
stop_agent
: >"$run/walks"
start_agent --pod-sockets on
check "it is found by its process" await 5 pods_are "5 of 5 pod links"
check "with one look at the processes" test "$(walks)" = 1
check "and served at its sockets" at_socket "${POD_IP4[lone]}" nsenter --net="/proc/$lone/ns/net"
stop_agent
kill $lone
gone() { ! node_exec ip link show v-lone; }
check "it goes with its process" await 5 gone

say "one that may not be entered"
for pod in first second third; do
    : >"$run/walks"
    agent_within=(env LD_PRELOAD="$tools/libbar_netns.so" ASAN_OPTIONS=verify_asan_link_order=0 WALK_LOG="$run/walks"
        BARRED_NETNS="$(inode $pod)")
    start_agent --pod-sockets on
    check "$pod: the others are served, and status says why it is not" await 5 \
        pods_are "3 of 4 pod links; enter a pod's network namespace: Operation not permitted"
    check "$pod: the log says so, once" test "$(grep -c 'pod sockets: 3 of 4' "$run/agent1.log")" = 1
    check "$pod: another one is served at its sockets" at_socket "${POD_IP4[b1]}" pod_exec b1
    check "$pod: it is served by its packets" eval "! at_socket ${POD_IP4[$pod]} pod_exec $pod"
    stop_agent
    : >"$run/agent1.log"
done
harness_end
