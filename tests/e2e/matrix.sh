#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Every kind of frontend, by both policies, families and all protocols, from outside, from pods (one of them its own backend) and
# from nodes, with backends here, elsewhere, on both nodes and nowhere, in each setting that matters: reached, refused or
# silence, which backends answer, and whom they see (behaviour rows 1.13, 1.16, 1.19 to 1.23). tools/matrix_rules.py has the rules.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"
. "$(dirname "$0")/../harness/outside.sh"

# Nodes 1 and 2 run the agent and have the backends; node 3 does not, and stands for pods and nodes of elsewhere.
serving=(1 2)
callers=(outside p1 p2 p3 b1 b2 node-1 node-2 node-3)

# services: a Service for each combination of policies and of places; their list is what the tool is told.
services() {
    local number=10 external internal backends
    for external in Cluster Local; do
        for internal in Cluster Local; do
            for backends in "" b1 b2 "b1 b2"; do
                # shellcheck disable=SC2086 # one word for each backend
                protocols="TCP UDP SCTP" internal_policy=$internal exposed "s$number" $number 8080 $external $backends
                printf '%s %s %s %s\n' $number $external $internal "$backends"
                number=$((number + 1))
            done
        done
    done
}

# world: what tools/matrix.py has to know of addresses.
world() {
    local name node
    jq -R -n '[inputs | split(" ") | {key: .[0], value: (.[1:] - [""])}] | {services: from_entries}'
    for name in "${!POD_IP4[@]}"; do
        jq -n --arg name "$name" --arg node "${POD_NODE[$name]}" --arg v4 "${POD_IP4[$name]}" --arg v6 "${POD_IP6[$name]}" \
            '{pods: {($name): {node: $node, "4": $v4, "6": $v6}}}'
    done
    jq -n --arg v4 "$outside4" --arg v6 "$outside6" '{pods: {outside: {node: "outside", "4": $v4, "6": $v6}}}'
    for ((node = 1; node <= nodes; node++)); do
        jq -n --arg node "$node" '{hosts: {("node-" + $node): {"4": "10.0.20\($node).2", "6": "fd00:78:20\($node)::2"}}}'
    done
    for node in "${serving[@]}"; do
        jq -n --arg node "$node" --arg other $((3 - node)) '{
            nodes: {($node): {"4": "10.0.20\($node).2", "6": "fd00:78:20\($node)::2"}},
            routes: {($node): {
                ("b" + $node): {"4": "10.244.\($node).1", "6": "fd00:10:244:\($node)::1"},
                ("b" + $other): {"4": "10.0.20\($node).2", "6": "fd00:78:20\($node)::2"}}}}'
    done
}

# dial SETTING CALLER: the verdict, in $run/CALLER.cells.
dial() {
    local in=$prefix-pod-$2
    [[ $2 != node-* ]] || in=$(node_ns "${2#node-}")
    nsenter --net="/run/netns/$in" python3 "$harness_top/tests/e2e/tools/matrix.py" "$run/world.json" "$1" "$2" >"$run/$2.cells" 2>&1
}

silent_drops() { # NODE
    ctl -n "$1" status -o json |
        jq '[.drops[] | select(.reason == "NO_LOCAL_BACKEND_DROPPED" or .reason == "CLUSTER_IP_FROM_OUTSIDE") | .packets] | add // 0'
}

# in_setting NAME AGENT-OPTION...: all callers at once, in one setting.
in_setting() {
    local setting=$1 node caller dialling=() failed before=0 after=0 silent=0
    shift
    say "$setting: $*"
    for node in "${serving[@]}"; do
        start_agent -n "$node" --node-ip "10.0.20$node.2,fd00:78:20$node::2" "$@"
        before=$((before + $(silent_drops "$node")))
    done
    for caller in "${callers[@]}"; do
        dial "$setting" "$caller" &
        dialling+=($!)
    done
    for caller in "${callers[@]}"; do
        failed=0
        wait "${dialling[0]}" || failed=1
        dialling=("${dialling[@]:1}")
        check "$setting, $caller: every cell is as the rules say: $(tail -n 1 "$run/$caller.cells")" test $failed = 0
        ((!failed)) || head -n 40 "$run/$caller.cells"
        silent=$((silent + $(tail -n 1 "$run/$caller.cells" | jq '.silent' || echo 0)))
    done
    for node in "${serving[@]}"; do
        after=$((after + $(silent_drops "$node")))
        check "$setting: desired and programmed state of node $node agree" ctl -n "$node" verify
        # So that no datagram of the next setting goes on with a flow of this one.
        ctl -n "$node" flush flows --all >"$run/flushed"
        stop_agent -n "$node"
    done
    check "$setting: what was dropped is counted by its reason" test $((after - before)) -ge $silent
}

harness_begin matrix
cluster_up 3
outside_up
for node in 1 2 3; do
    pod_add "p$node" $node
done
for node in "${serving[@]}"; do
    pod_add "b$node" "$node"
    pod_serve "b$node" 8080
done
services >"$run/services"
world <"$run/services" | jq -s 'reduce .[] as $part ({}; . * $part)' >"$run/world.json"
python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)' 2>/dev/null ||
    echo "skipped: SCTP: this kernel has no such sockets; tests/datapath/masquerade_test.cpp covers the cells"

ranges=10.244.0.0/16,fd00:10:244::/56
in_setting default
in_setting masquerade-all --masquerade-all
in_setting detector --cluster-cidr $ranges --external-cluster-ip allow
in_setting detector-masquerade-all --cluster-cidr $ranges --external-cluster-ip allow --masquerade-all
in_setting pod-sockets --pod-sockets on
harness_end
