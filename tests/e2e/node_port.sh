#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# From outside the cluster, behind a router, and from a pod, to node ports, an external address and a load-balancer
# address: whom the backend sees (behaviour rows 1.19 to 1.23). Established connections and load outlive the agent.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"
. "$(dirname "$0")/../harness/outside.sh"

# on_host NUMBER: the Service's backend is a process of node 1 itself.
on_host() {
    local family=IPv4 address
    for address in 10.0.201.2 fd00:78:201::2; do
        printf 'apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: host-%s\n' "${family,,}"
        printf '  namespace: default\n  labels: {kubernetes.io/service-name: host}\naddressType: %s\n' "$family"
        printf 'ports: [{name: tcp, port: 9091, protocol: TCP}, {name: udp, port: 9091, protocol: UDP}]\n'
        printf 'endpoints: [{addresses: ["%s"], nodeName: node-1, conditions: {ready: true}}]\n---\n' "$address"
        family=IPv6
    done | manifest host.endpoints.yaml
}

# seen ADDRESS:PORT [--udp]: whom the backend sees where $asked_by dials, by default the client outside.
seen() {
    pod_exec "${asked_by:-outside}" python3 "$harness_top/tests/e2e/tools/ask.py" "${@:2}" "$1" "$source" |
        awk '{ print $2 }'
}

dropped_for() { # REASON
    ctl status -o json | jq --arg words "$1" '[.drops[] | select(.reason == $words) | .packets] | add // 0'
}

harness_begin node_port
cluster_up 2
outside_up
for node in 1 2; do
    pod_add "b$node" $node
    pod_serve "b$node" 8080
    nsenter --net="/run/netns/$(pod_ns "b$node")" python3 "$harness_top/tests/e2e/tools/peer_name.py" 9090 >"$run/peer$node" &
    await 10 grep -q ready "$run/peer$node"
done
exposed here 81 9090 Cluster b1
exposed there 82 9090 Cluster b2
exposed both 83 8080 Cluster b1 b2
exposed local 84 9090 Local b1
exposed nowhere 85 9090 Local b2
exposed empty 86 9090 Cluster
exposed host 87 9091 Cluster
on_host
nsenter --net="/run/netns/$(node_ns 1)" python3 "$harness_top/tests/e2e/tools/peer_name.py" 9091 >"$run/peer-host" &
await 10 grep -q ready "$run/peer-host"
pod_add asker
for node in 1 2; do
    start_agent -n $node --node-ip "10.0.20$node.2,fd00:78:20$node::2"
done

check "the uplink is attached in both directions" holds "$(ctl get links -o json)" \
    '.items[] | select(.name == "uplink") | .kind == "uplink" and ([.hooks[].hook] == ["tc ingress", "tc egress"])'

for family in 4 6; do
    if [[ $family == 4 ]]; then
        source=$outside4 node=10.0.201.2 external=192.0.2. bracket='' end=''
    else
        source=[$outside6] node=fd00:78:201::2 external=2001:db8:: bracket='[' end=']'
    fi
    client=${source//[\[\]]/}
    say "IPv$family"
    for udp in "" --udp; do
        for kind in "$node 300" "$external 80" "${external}1 80"; do
            read -r address port <<<"$kind"
            for service in 81 82 84 87; do
                to=$bracket$address$service$end:$port
                [[ $address != "$node" ]] || to=$bracket$node$end:300$service
                # Policy Local, and what is no pod: the client itself.
                expected=$node
                [[ $service != 84 && $service != 87 ]] || expected=$client
                # shellcheck disable=SC2086 # no option where there is none
                check "the backend of $to $udp sees $expected" test "$(seen "$to" $udp)" = "$expected"
            done
        done
    done
    check "without backends a TCP client is refused" test "$(seen "$bracket$node$end:30086")" = ECONNREFUSED
    check "and a UDP client too" test "$(seen "$bracket$node$end:30086" --udp)" = ECONNREFUSED
    before=$(dropped_for NO_LOCAL_BACKEND_DROPPED)
    check "policy Local without a backend here is silent" test "$(seen "$bracket$node$end:30085" --timeout 0.5)" = TIMEOUT
    check "and counted" test "$(dropped_for NO_LOCAL_BACKEND_DROPPED)" -gt "$before"
done
# from_asker CLUSTER-IP-SEES: what backends see where a pod of node 1 dials an external address under either policy, and
# ClusterIPs with a backend here and elsewhere.
from_asker() {
    local asked_by=asker source own node cluster external end udp cluster_sees
    for own in "${POD_IP4[asker]}" "${POD_IP6[asker]}"; do
        source=$own node=10.0.201.2 cluster=10.96.0. external=192.0.2. end=''
        [[ $own != *:* ]] || source="[$own]" node=fd00:78:201::2 cluster=[fd00:10:96:: external=[2001:db8:: end=]
        cluster_sees=$own
        [[ $1 != node ]] || cluster_sees=$node
        for udp in "" --udp; do
            # shellcheck disable=SC2086 # no option where there is none
            {
                check "pod, policy Cluster, here $udp" test "$(seen "${external}81$end:80" $udp)" = "$node"
                check "pod, policy Cluster, elsewhere $udp" test "$(seen "${external}82$end:80" $udp)" = "$node"
                check "pod, policy Local $udp" test "$(seen "${external}84$end:80" $udp)" = "$own"
                check "pod, ClusterIP, here $udp" test "$(seen "${cluster}81$end:80" $udp)" = "$cluster_sees"
                check "pod, ClusterIP, elsewhere $udp" test "$(seen "${cluster}82$end:80" $udp)" = "$cluster_sees"
            }
        done
    done
}
say "from a pod"
from_asker pod
stop_agent
start_agent --node-ip 10.0.201.2,fd00:78:201::2 --masquerade-all --cluster-cidr 10.244.0.0/16,fd00:10:244::/56
from_asker node
stop_agent
start_agent --node-ip 10.0.201.2,fd00:78:201::2

say "Maglev"
annotation='svclb.io/algorithm: maglev' exposed same 88 8080 Cluster b1 b2
# answers NODE-ADDRESS: the pods that answer the client at 32 of its ports.
answers() {
    local ports=({42000..42031})
    pod_exec outside python3 "$harness_top/tests/e2e/tools/ask.py" "$1:30088" "${ports[@]/#/$outside4:}" | awk '{ print $2 }'
}
is_there() { ctl -n "$1" get services default/same -o json | jq -e '[.items[] | .algorithm == "maglev"] == [true, true]'; }
check "is what svclb-ctl shows" await 5 is_there 1
check "and at the other node" await 5 is_there 2
at_one=$(answers 10.0.201.2)
check "leads to both backends" test "$(sort -u <<<"$at_one" | paste -sd ' ')" = "b1 b2"
check "and to the same ones at the other node" test "$(answers 10.0.202.2)" = "$at_one"

before=$(dropped_for CLUSTER_IP_FROM_OUTSIDE)
source=$outside4
check "a ClusterIP is not served to the outside" test "$(seen 10.96.0.81:80 --timeout 0.5)" = TIMEOUT
check "and counted" test "$(dropped_for CLUSTER_IP_FROM_OUTSIDE)" -gt "$before"

say "load, and an agent that is killed"
hold_begin v4 outside 10.0.201.2:30083 40
hold_begin v6 outside "[fd00:78:201::2]:30083" 40
load_in outside 192.0.2.83:80 --seconds 4 --rate 200 --bye >"$run/load4.json" &
load4=$!
load_in outside "[fd00:78:201::2]:30083" --seconds 4 --rate 200 --udp >"$run/load6.json" &
load6=$!
for round in 1 2; do
    sleep 0.5
    stop_agent KILL
    check "round $round: with the agent killed, new connections reach both backends" \
        holds "$(load_in outside 10.0.201.2:30083 --connections 200 --bye)" '.failed == 0 and (.backends | length) == 2'
    start_agent --node-ip 10.0.201.2,fd00:78:201::2
done
wait $load4 $load6 || true
check "no TCP request failed" holds "$(cat "$run/load4.json")" '.failed == 0 and .ok > 50'
check "no UDP request failed" holds "$(cat "$run/load6.json")" '.failed == 0 and .ok > 50'
check "every open IPv4 connection lives" holds "$(hold_ask v4)" '.ok == 40'
check "every open IPv6 connection lives" holds "$(hold_ask v6)" '.ok == 40'
endpoints both "tcp:8080:TCP udp:8080:UDP"
check "also without any endpoint" holds "$(hold_ask v4)" '.ok == 40'
endpoints both "tcp:8080:TCP udp:8080:UDP" b1 b2

check "desired and programmed state agree" ctl verify
harness_end
