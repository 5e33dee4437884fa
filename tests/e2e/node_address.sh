#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# The node gets another address, in one family and then in the other, and loses its old ones, while clients outside hold
# connections and dial: what is open to addresses that stay is unharmed, node ports and health check node ports move.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"
. "$(dirname "$0")/../harness/outside.sh"

# web_service NUMBER POLICY: node ports 3008NUMBER, 192.0.2.8NUMBER and 2001:db8::8NUMBER; under Local with a health check.
web_service() {
    local health=''
    [[ $2 == Cluster ]] || health='healthCheckNodePort: 32000'
    manifest "web$1.service.yaml" <<EOF
apiVersion: v1
kind: Service
metadata: {name: web$1, namespace: default}
spec:
  type: LoadBalancer
  externalTrafficPolicy: $2
  $health
  clusterIP: 10.96.0.8$1
  clusterIPs: [10.96.0.8$1, "fd00:10:96::8$1"]
  ipFamilies: [IPv4, IPv6]
  ports:
    - {name: tcp, port: 80, protocol: TCP, nodePort: 3008$1}
    - {name: udp, port: 80, protocol: UDP, nodePort: 3008$1}
status:
  loadBalancer:
    ingress: [{ip: 192.0.2.8$1}, {ip: "2001:db8::8$1"}]
EOF
}
has_node_port() { # ADDRESS
    ctl get services -o json | jq -e --arg address "$1" \
        'all(.items[]; any(.frontends[]; .address == $address and .kind == "nodePort"))'
}
lacks_node_port() { # ADDRESS
    ctl get services -o json | jq -e --arg address "$1" 'all(.items[].frontends[]; .address != $address)'
}
dial() { # TO [--udp]
    load_in outside "$1" "${2:---bye}" --connections 20 --concurrency 4 --timeout-ms 20000 || true
}
answered='.failed == 0 and .ok == 20'
health() { # HOST: status, or curl's error
    pod_exec outside curl -sg --max-time 20 -o /dev/null -w '%{http_code}' "http://$1:32000/" || echo " $?"
}
healthy_at() { [[ $(health "$1") == 200 ]]; }
no_health_at() { [[ $(health "$1") == "000 7" ]]; }

# load_begin NAME TO OPTION...: dials until load_end says so. load_end NAME SENTENCE: it still goes on, and nothing has failed.
declare -A LOAD
dialled_more() { (($(wc -l <"$run/$1.log") > $2)); }
load_begin() {
    rm -f "$run/$1.log"
    nsenter --net="/run/netns/$(pod_ns outside)" "$tools/connect_load" "$2" --seconds 1100 --rate 60 \
        --timeout-ms 20000 --log "$run/$1.log" "${@:3}" >"$run/$1.json" &
    LOAD[$1]=$!
    await 10 dialled_more "$1" 5
}
load_end() {
    await 10 dialled_more "$1" $(($(wc -l <"$run/$1.log") + 10)) || true
    kill -TERM "${LOAD[$1]}"
    wait "${LOAD[$1]}" || true
    check "$2" holds "$(cat "$run/$1.json")" '.failed == 0 and .ok > 10'
}
# health_begin HOST, health_end SENTENCE: asks the health check port all the time.
health_begin() {
    while [[ -d $run && ! -e $run/enough ]]; do
        health "$1"
        echo
    done >"$run/health" &
    LOAD[health]=$!
}
health_end() {
    touch "$run/enough"
    wait "${LOAD[health]}"
    rm "$run/enough"
    check "$1" test "$(sort -u "$run/health")" = 200
}

harness_begin node_address
cluster_up 2
outside_up
node_exec sysctl -q -w net.ipv4.conf.all.promote_secondaries=1 net.ipv4.conf.uplink.promote_secondaries=1
for node in 1 2; do
    pod_add "b$node" $node
    pod_serve "b$node" 8080
done
web_service 1 Cluster
web_service 2 Local
for name in web1 web2; do endpoints $name "$web_ports" b1 b2; done
node_is 10.0.201.2 fd00:78:201::2
start_agent
await 5 has_node_port 10.0.201.2
check "the health check answers, IPv4" await 5 healthy_at 10.0.201.2
check "and IPv6" await 5 healthy_at '[fd00:78:201::2]'

# What is dialled all the time: the other family's node port, and addresses of both families that stay.
say "another IPv4 address"
hold_begin moved outside 10.0.201.2:30081 10
hold_begin six outside '[fd00:78:201::2]:30081' 10
hold_begin cluster outside 192.0.2.81:80 10
hold_begin local outside 192.0.2.82:80 10
load_begin cluster 192.0.2.81:80 --bye
load_begin local 192.0.2.82:80 --udp
load_begin six '[fd00:78:201::2]:30081' --bye
load_begin six-udp '[2001:db8::81]:80' --udp
health_begin '[fd00:78:201::2]'
ip -n "$(node_ns 1)" address add 10.0.201.3/24 dev uplink
node_is 10.0.201.3 fd00:78:201::2
check "node ports are at it" await 5 has_node_port 10.0.201.3
check "and no longer at the old one" await 5 lacks_node_port 10.0.201.2
check "TCP to it" holds "$(dial 10.0.201.3:30081)" "$answered"
check "UDP to it" holds "$(dial 10.0.201.3:30082 --udp)" "$answered"
check "nothing is served at the old one" holds "$(dial 10.0.201.2:30081)" '.errors == {"Connection refused": 20}'
check "the health check answers at it" await 5 healthy_at 10.0.201.3
check "and no longer at the old one" await 5 no_health_at 10.0.201.2
health_end "the IPv6 one has answered all the time"
load_end cluster "a load-balancer address under policy Cluster was served all the time"
load_end local "and one under Local"
load_end six "and the node port of the other family"
load_end six-udp "and a load-balancer address there"
for held in moved six cluster local; do
    check "$held: what was open lives" holds "$(hold_ask $held)" '.ok == 10'
done

say "another IPv6 address"
hold_begin four outside 10.0.201.3:30081 10
load_begin cluster '[2001:db8::81]:80' --bye
load_begin local '[2001:db8::82]:80' --udp
load_begin four 10.0.201.3:30081 --bye
health_begin 10.0.201.3
ip -n "$(node_ns 1)" address add fd00:78:201::3/64 dev uplink nodad
node_is 10.0.201.3 fd00:78:201::3
check "node ports are at it" await 5 has_node_port fd00:78:201::3
check "and no longer at the old one" await 5 lacks_node_port fd00:78:201::2
check "TCP to it" holds "$(dial '[fd00:78:201::3]:30081')" "$answered"
check "UDP to it" holds "$(dial '[fd00:78:201::3]:30082' --udp)" "$answered"
check "nothing is served at the old one" \
    holds "$(dial '[fd00:78:201::2]:30081')" '.errors == {"Connection refused": 20}'
check "the health check answers at it" await 5 healthy_at '[fd00:78:201::3]'
check "and no longer at the old one" await 5 no_health_at '[fd00:78:201::2]'
health_end "the IPv4 one has answered all the time"
load_end cluster "a load-balancer address under policy Cluster was served all the time"
load_end local "and one under Local"
load_end four "and the node port of the other family"
for held in moved six cluster local four; do
    check "$held: what was open lives" holds "$(hold_ask $held)" '.ok == 10'
done

# Those whose source at the backend is an old address end with it; the others have the client's, or the new one.
say "the old addresses go"
hold_begin new6 outside '[fd00:78:201::3]:30081' 10
hold_begin local6 outside '[2001:db8::82]:80' 10
for to in 192.0.2.0/24 10.244.1.0/24; do ip -n "$prefix-router" route replace $to via 10.0.201.3; done
for to in 2001:db8::/64 fd00:10:244:1::/64; do ip -n "$prefix-router" -6 route replace $to via fd00:78:201::3; done
load_begin cluster 192.0.2.81:80 --bye
load_begin cluster6 '[2001:db8::81]:80' --udp
load_begin four 10.0.201.3:30081 --udp
load_begin six '[fd00:78:201::3]:30081' --bye
ip -n "$(node_ns 1)" address delete 10.0.201.2/24 dev uplink
ip -n "$(node_ns 1)" address delete fd00:78:201::2/64 dev uplink
check "TCP to the new IPv4 address" holds "$(dial 10.0.201.3:30081)" "$answered"
check "and the new IPv6 one" holds "$(dial '[fd00:78:201::3]:30081')" "$answered"
for load in cluster cluster6 four six; do load_end $load "$load: all the time"; done
for held in four new6 local local6; do
    check "$held: what was open to what stays lives" holds "$(hold_ask $held)" '.ok == 10'
done

say "node ports on the addresses of devices"
stop_agent
start_agent --nodeport-addresses 10.0.201.0/24,fd00:78:201::/64
load_begin four 10.0.201.3:30081 --bye
load_begin six '[fd00:78:201::3]:30081' --udp
for round in 1 2 3; do
    ip -n "$(node_ns 1)" address add 10.0.201.4/24 dev uplink
    ip -n "$(node_ns 1)" address add fd00:78:201::4/64 dev uplink nodad
    check "round $round: those that come serve" await 5 has_node_port 10.0.201.4
    check "round $round: in both families" await 5 has_node_port fd00:78:201::4
    check "round $round: TCP, IPv4" holds "$(dial 10.0.201.4:30081)" "$answered"
    check "round $round: UDP, IPv6" holds "$(dial '[fd00:78:201::4]:30081' --udp)" "$answered"
    check "round $round: the health check is there" await 5 healthy_at 10.0.201.4
    check "round $round: in both families" await 5 healthy_at '[fd00:78:201::4]'
    ip -n "$(node_ns 1)" address delete 10.0.201.4/24 dev uplink
    ip -n "$(node_ns 1)" address delete fd00:78:201::4/64 dev uplink
    check "round $round: those that go do not" await 5 lacks_node_port 10.0.201.4
    check "round $round: in both families" await 5 lacks_node_port fd00:78:201::4
done
load_end four "the address that stays was served all the time"
load_end six "in both families"
check "desired and programmed state agree" ctl verify
harness_end
