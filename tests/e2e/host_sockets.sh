#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Processes of the node's own network namespace, with every kind of socket call (tests/sockets), on two nodes with an
# agent each: no agent has a say in the other's sockets, nor in its own node's pods'. The choice of a backend is by the
# rules of packets: policies, affinity, weights, draining.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin host-sockets
cluster_up 2
for pod in b1 b2 b3; do
    pod_add $pod
    pod_serve $pod 8080 8081
done
pod_add client
pod_add far 2
pod_serve far 8080
service web 10.96.0.10 fd00:10:96::10 tcp:80:TCP udp:80:UDP
service empty 10.96.0.20 fd00:10:96::20 tcp:80:TCP udp:80:UDP
affinity_s=3600 service sticky 10.96.0.30 fd00:10:96::30 tcp:80:TCP udp:80:UDP
endpoints web "$web_ports" b1 b2 b3
endpoints empty "$web_ports"
endpoints sticky "tcp:8081:TCP udp:8081:UDP" b1 b2 b3
internal_policy=Local service local 10.96.0.40 fd00:10:96::40 tcp:80:TCP udp:80:UDP
endpoints local "$web_ports" b1 b2 b3 far
internal_policy=Local service elsewhere 10.96.0.41 fd00:10:96::41 tcp:80:TCP udp:80:UDP
endpoints elsewhere "$web_ports" b1
service weighted 10.96.0.42 fd00:10:96::42 tcp:80:TCP udp:80:UDP
part=heavy weight=9 endpoints weighted "$web_ports" b1
part=light weight=1 endpoints weighted "$web_ports" b2
cidrs=(--service-cidr "10.96.0.0/16,fd00:10:96::/112")

counted() { # NODE: what web has been dialled
    ctl -n "$1" get services -o json | jq '[.items[] | select(.name == "web") | .flows] | add'
}
# A pod's connection has an entry in the flow tables; one that was translated at its socket has none.
flows_of() { # NODE ADDRESS
    ctl -n "$1" get flows -o json | jq --arg at "$2" '[.items[] | select(.client | contains($at))] | length'
}
node_curl() { node_exec -n "$1" curl -s --max-time 20 -o /dev/null -w '%{remote_ip}' http://10.96.0.10/; }
load_host() { # NODE ADDRESS:PORT [OPTION...]
    node_exec -n "$1" "$tools/connect_load" "${@:2}"
}
dropped() { ctl -n 2 status -o json | jq '[.drops[] | select(.reason == "NO_LOCAL_BACKEND_DROPPED") | .packets] | add // 0'; }
refused() { # NODE ADDRESS:PORT [--udp|--unconnected]
    local any=0.0.0.0
    [[ $2 != '['* ]] || any=::
    [[ $(node_exec -n "$1" python3 "$harness_top/tests/e2e/tools/ask.py" "${@:3}" "$2" "$any" | awk '{ print $2 }') == ECONNREFUSED ]]
}

start_agent -n 1 "${cidrs[@]}"
say "one agent"
before=$(counted 1)
check "a process of its node is served" test "$(node_curl 1)" = 10.96.0.10
check "which is counted" test "$(counted 1)" = $((before + 1))
check "and has no flow in the packets' tables" test "$(flows_of 1 10.244.1.1)" = 0
before=$(counted 1)
check "a process of another node is not" eval '! node_curl 2'
check "and not counted" test "$(counted 1)" = "$before"
pod_exec client curl -s --max-time 20 -o /dev/null http://10.96.0.10/
check "a pod is translated by its packets, not at its socket" test "$(flows_of 1 "${POD_IP4[client]}")" -gt 0

start_agent -n 2 "${cidrs[@]}"
say "an agent on each node"
pids=() counts=("" "$(counted 1)" "$(counted 2)")
for node in 1 2; do
    node_exec -n $node "$build/tests/sockets/host_sockets" >"$run/sockets$node" 2>&1 &
    pids+=($!)
done
for node in 1 2; do
    check "every kind of socket call, on both at the same time: node $node" wait "${pids[node - 1]}"
    tail -n 40 "$run/sockets$node"
    check "its agent has counted them" test "$(counted $node)" -gt "${counts[node]}"
done
for node in 1 2; do
    other=$(counted $((3 - node)))
    own=$(counted "$node")
    check "20 connections of node $node are served" holds "$(load_host $node "$web4" --connections 20)" '.failed == 0 and .ok == 20'
    check "and counted one by one" test "$(counted "$node")" = $((own + 20))
    check "by the other agent none" test "$(counted $((3 - node)))" = "$other"
done

# By chance 60 connections would miss one of three backends in one of 10^10 runs, and of 200 by weight fewer than 140
# would go to the heavy one in one of 10^14; more than that, were the weights not heard, in one of 10^8.
at() { # SERVICE
    case $form in
    IPv4) echo "10.96.0.$1:80" ;;
    IPv6) echo "[fd00:10:96::$1]:80" ;;
    IPv4-mapped) echo "[::ffff:10.96.0.$1]:80" ;;
    esac
}
load() { # NODE SERVICE COUNT
    if [[ $udp == --unconnected ]]; then
        node_exec -n "$1" python3 "$harness_top/tests/e2e/tools/ask_once.py" "$(at "$2")" "$3"
    else
        load_host "$1" "$(at "$2")" --connections "$3" $udp
    fi
}
for form in IPv4 IPv6 IPv4-mapped; do
    for udp in "" --udp --unconnected; do
        say "$form, ${udp:-TCP}: the choice of a backend"
        check "policy Local: a process meets the backends of its own node" \
            holds "$(load 1 40 60)" '.failed == 0 and (.backends | keys) == ["b1", "b2", "b3"]'
        check "and on the other node that one's" holds "$(load 2 40 60)" '.failed == 0 and (.backends | keys) == ["far"]'
        before=$(dropped)
        check "policy Local: with none on the node it is refused at once" refused 2 "$(at 41)" $udp
        check "which is counted" test "$(dropped)" -gt "$before"
        check "and the other node has one" holds "$(load 1 41 10)" '.failed == 0 and .backends == {b1: 10}'
        check "weights are heard" holds "$(load 1 42 200)" '.failed == 0 and .backends.b1 > 140 and .backends.b2 > 0'
        check "affinity: all of a node's processes meet one backend" holds "$(load 1 30 20)" '.failed == 0 and (.backends | length) == 1'
        before=$(counted 1)
        check "each choice" holds "$(load 1 10 10)" '.failed == 0 and .ok == 10'
        check "is counted" test "$(counted 1)" = $((before + 10))
    done
done
check "affinity's client is the node" holds "$(ctl get affinity -o json)" '.items | length > 0 and all(.client == "host")'
sticky=$(load_host 1 10.96.0.30:80 --connections 1 | jq -c .backends)
stop_agent -n 1 KILL
check "affinity outlives the agent" test "$(load_host 1 10.96.0.30:80 --connections 1 | jq -c .backends)" = "$sticky"
start_agent -n 1 "${cidrs[@]}"
check "and is its successor's" test "$(load_host 1 10.96.0.30:80 --connections 1 | jq -c .backends)" = "$sticky"
endpoints web "$web_ports" b1:draining b2 b3
await 5 web_backend_state b1 draining
for form in IPv4 IPv6 IPv4-mapped; do
    for udp in "" --udp --unconnected; do
        check "a draining backend gets none that is new: $form ${udp:-TCP}" \
            holds "$(load 1 10 60)" '.failed == 0 and (.backends | keys) == ["b2", "b3"]'
    done
done
endpoints web "$web_ports" b1:draining b2:notready b3:notready
await 5 web_backend_state b2 notReady
check "unless there is no other" holds "$(load_host 1 "$web4" --connections 10)" '.failed == 0 and .backends == {b1: 10}'
endpoints web "$web_ports" b1 b2 b3
await 5 web_backend_state b2 ready

say "agent 1 serves its pods' sockets, too"
pod_curl() { pod_exec "$1" curl -s --max-time 20 -o /dev/null -w '%{remote_ip}' "$2"; }
# served POD NODE at-socket|by-packets: both families, the address as dialled, one count each, and new flows or none.
served() {
    local before flows
    before=$(counted "$2")
    flows=$(flows_of "$2" "${POD_IP4[$1]}")
    [[ $(pod_curl "$1" http://10.96.0.10/) == 10.96.0.10 && $(pod_curl "$1" 'http://[fd00:10:96::10]/') == fd00:10:96::10 ]] || return 1
    (($(counted "$2") == before + 2)) || return 1
    flows=$(($(flows_of "$2" "${POD_IP4[$1]}") - flows))
    if [[ $3 == at-socket ]]; then ((flows <= 0)); else ((flows > 0)); fi
}
stop_agent -n 1
start_agent -n 1 "${cidrs[@]}" --pod-sockets on
pod_add late
check "a pod that was there before" await 5 served b1 1 at-socket
check "a pod that came later" await 5 served late 1 at-socket
check "datagrams stay packets" holds "$(load_in late "$web4" --udp --connections 4)" '.ok == 4'
check "which have flows" test "$(flows_of 1 "${POD_IP4[late]}")" -gt 0
other=$(counted 1)
check "a pod of node 2 is agent 2's, which serves packets" served far 2 by-packets
check "and agent 1 has not counted it" test "$(counted 1)" = "$other"
check "status tells of them" holds "$(ctl -n 1 status -o json)" '.podSockets.text == "5 of 5 pod links"'
pod_delete late
check "a pod that goes is forgotten" await 5 eval 'ctl -n 1 status -o json | jq -e ".podSockets.text == \"4 of 4 pod links\"" >/dev/null'
stop_agent -n 1
start_agent -n 1 "${cidrs[@]}"
pod_add last
check "without the flag they are served by their packets again" served last 1 by-packets
check "status says so" holds "$(ctl -n 1 status -o json)" '.podSockets.text == "off"'

say "agent 2 leaves: its hooks go, those of agent 1 do not"
stop_agent -n 2
node_exec -n 2 "$build/userspace/agent/svclb-agent" --cleanup --state-dir "$run/state2" --bpf-dir "$(bpf_dir 2)" >/dev/null 2>&1
check "node 2 is not served any more" eval '! node_curl 2'
check "node 1 is" test "$(node_curl 1)" = 10.96.0.10
harness_end
