#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# One source port, many conversations: with three Services that share two backends, and with the backends themselves, all
# at the same time. Each socket gets its own answers and nobody else's. So do two pods that are each other's backends and
# dial from the ports that they serve.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin collisions
web_cluster 2
for i in 1 2; do
    service "other$i" "10.96.0.2$i" "fd00:10:96::2$i" tcp:80:TCP udp:80:UDP
    endpoints "other$i" "$web_ports" b1 b2
done
for i in 1 2; do
    service "peer$i" "10.96.0.3$i" "fd00:10:96::3$i" tcp:5000:TCP udp:5000:UDP
    endpoints "peer$i" "tcp:5000:TCP udp:5000:UDP" "b$i"
done
start_agent

# Everything a client can dial, in one family.
# shellcheck disable=SC2034 # by their names, below
targets4=(10.96.0.10:80 10.96.0.21:80 10.96.0.22:80 "${POD_IP4[b1]}:8080=b1" "${POD_IP4[b2]}:8080=b2")
# shellcheck disable=SC2034
targets6=('[fd00:10:96::10]:80' '[fd00:10:96::21]:80' '[fd00:10:96::22]:80'
    "[${POD_IP6[b1]}]:8080=b1" "[${POD_IP6[b2]}]:8080=b2")

share_ports() { # FAMILY PORTS TURNS [--udp]
    local -n targets=targets$1 address=POD_IP$1
    pod_exec client python3 "$harness_top/tests/e2e/tools/share_ports.py" "${@:4}" "$2" "$3" "${address[client]}" "${targets[@]}"
}

for family in 4 6; do
    for turn in first second; do # the second time over what the first has left behind
        check "IPv$family TCP, $turn time: 40 ports, 5 connections from each" share_ports $family 40 5
        check "IPv$family UDP, $turn time: 40 ports, 5 conversations from each" share_ports $family 40 5 --udp
    done
done
check "some source ports had to be translated" holds "$(ctl get flows --all -o json)" \
    'any(.items[]; .clientPort != null)'

say "gossip"
# gossip ROUNDS ADDRESS-OF-PEER1 ADDRESS-OF-PEER2 [--udp]: the two pods ask each other, both at the same time.
gossip() {
    local tool="$harness_top/tests/e2e/tools/gossip.py" first
    pod_exec b1 python3 "$tool" "$1" 5000 "$3:5000" "${@:4}" >"$run/gossip1" 2>&1 &
    first=$!
    pod_exec b2 python3 "$tool" "$1" 5000 "$2:5000" "${@:4}" >"$run/gossip2" 2>&1 || true
    wait "$first" || true
    [[ $(cat "$run/gossip1" "$run/gossip2") == $'ok\nok' ]] || { cat "$run/gossip1" "$run/gossip2"; return 1; }
}
for turn in first second third; do
    check "IPv4 TCP, $turn time: two pods ask each other from the port that they serve" gossip 200 10.96.0.31 10.96.0.32
    check "IPv6 TCP, $turn time" gossip 200 '[fd00:10:96::31]' '[fd00:10:96::32]'
    check "IPv4 UDP, $turn time" gossip 200 10.96.0.31 10.96.0.32 --udp
    check "IPv6 UDP, $turn time" gossip 200 '[fd00:10:96::31]' '[fd00:10:96::32]' --udp
done

say "many clients behind one address: 128 source ports for all that leaves it"
pod_exec client sysctl -q -w net.ipv4.ip_local_port_range="42000 42127"
for family in 4 6; do
    declare -n targets=targets$family
    loads=()
    for i in 0 1 2 3; do
        load_in client "${targets[$i]%=*}" --connections 1500 --concurrency 4 --bye >"$run/load$i.json" &
        loads+=($!)
        load_in client "${targets[$i]%=*}" --connections 1500 --concurrency 4 --udp >"$run/load-udp$i.json" &
        loads+=($!)
    done
    for load in "${loads[@]}"; do wait "$load" || true; done
    for i in 0 1 2 3; do
        wanted='.failed == 0 and .ok == 1500'
        ((i < 3)) || wanted+=' and .backends == {"b1": 1500}'
        check "IPv$family: 1,500 connections to ${targets[$i]}" holds "$(cat "$run/load$i.json")" "$wanted"
        check "IPv$family: 1,500 datagrams to ${targets[$i]}" holds "$(cat "$run/load-udp$i.json")" "$wanted"
    done
done

say "flush"
hold_begin held client "$web4" 20
check "flush flows asks for a filter" eval "! ctl flush flows 2>'$run/flush.err' && grep -q -- --all '$run/flush.err'"
check "and refuses one that no flow can match" eval "! ctl flush flows --state OPEN 2>/dev/null"
check "a filter leaves the others alone" test "$(ctl flush flows --client 10.244.9.9)" = "0 flows flushed"
check "20 connections still answer" holds "$(hold_ask held)" '.failed == 0 and .ok == 20'
check "20 flows of the Service are open" \
    holds "$(ctl get flows default/web --state established --protocol tcp -o json)" '(.items | length) == 20'
of_b1=(--backend "${POD_IP4[b1]}:8080" --client "${POD_IP4[client]}" --service default/web:tcp --state established)
b1_flows=$(ctl get flows "${of_b1[@]}" -o json | jq '.items | length')
check "$b1_flows of them lead to b1, and go by the filters that list them" \
    holds "$(ctl flush flows "${of_b1[@]}" -o json)" ".flushed == $b1_flows"
check "the others stay" test "$(ctl flush flows default/web --state established --protocol tcp)" = \
    "$((20 - b1_flows)) flows flushed"
check "none is left" holds "$(ctl get flows default/web --state established --protocol tcp -o json)" '.items == []'
ctl flush flows --all
check "--all leaves nothing" holds "$(ctl get flows --all -o json)" '.items == []'
check "new connections work" holds "$(load_in client "$web4" --connections 100 --bye)" '.failed == 0'
harness_end
