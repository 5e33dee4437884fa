#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# What changes while clients outside are served: source ranges, addresses of the node, and its uplink, which goes down, comes
# up, and is deleted and made anew.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"
. "$(dirname "$0")/../harness/outside.sh"

# web_service [RANGE...]: the Service web with node ports 30080 and the load-balancer addresses 192.0.2.80 and 2001:db8::80.
web_service() {
    local ranges
    ranges=$(printf '"%s",' "$@")
    (($#)) || ranges=
    manifest web.service.yaml <<EOF
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.80
  clusterIPs: [10.96.0.80, "fd00:10:96::80"]
  ipFamilies: [IPv4, IPv6]
  loadBalancerSourceRanges: [${ranges%,}]
  ports:
    - {name: tcp, port: 80, protocol: TCP, nodePort: 30080}
    - {name: udp, port: 80, protocol: UDP, nodePort: 30080}
status:
  loadBalancer:
    ingress: [{ip: 192.0.2.80}, {ip: "2001:db8::80"}]
EOF
}
ranged() { ctl get services default/web -o json | jq -e "all(.items[]; .sourceRanges | $1)"; }
has_node_port() { # ADDRESS
    ctl get services default/web -o json |
        jq -e --arg address "$1" 'any(.items[].frontends[]; .address == $address and .port == 30080)'
}
lacks_node_port() { ! has_node_port "$1"; }
dial() { # TO [--udp]
    load_in outside "$1" "${2:---bye}" --connections 10 --concurrency 2 --timeout-ms 20000 || true
}
answered='.failed == 0 and .ok == 10'
silence() { load_in outside "$1" --connections 2 --timeout-ms 400 || true; }
has_uplink() {
    ctl get links -o json | jq -e 'any(.items[]; .name == "uplink" and .kind == "uplink" and
        ([.hooks[].hook] | contains(["tc ingress", "tc egress"])))'
}
lacks_uplink() { ctl get links -o json | jq -e 'all(.items[]; .name != "uplink")'; }

harness_begin changes
cluster_up 2
outside_up
for node in 1 2; do
    pod_add "b$node" $node
    pod_serve "b$node" 8080
done
web_service
node_is 10.0.201.2 fd00:78:201::2
endpoints web "$web_ports" b1 b2
start_agent
await 5 has_node_port 10.0.201.2

say "source ranges, under load"
load_in outside 192.0.2.80:80 --seconds 3 --rate 100 --timeout-ms 20000 --bye >"$run/load4.json" &
load4=$!
load_in outside '[2001:db8::80]:80' --seconds 3 --rate 100 --timeout-ms 20000 --udp >"$run/load6.json" &
load6=$!
hold_begin ranged outside 192.0.2.80:80 10
for _ in 1 2 3; do
    web_service "$outside4/32" "$outside6/128"
    await 5 ranged 'length == 2'
    web_service "$outside4/32" "$outside6/128" 203.0.113.0/24 2001:db8:203::/48
    await 5 ranged 'length == 4'
    web_service
    await 5 ranged 'length == 0'
done
wait $load4 $load6 || true
check "who is in a range all the time has no failure, TCP" holds "$(cat "$run/load4.json")" '.failed == 0 and .ok > 50'
check "and UDP" holds "$(cat "$run/load6.json")" '.failed == 0 and .ok > 50'
web_service 203.0.113.0/24 2001:db8:203::/48
await 5 ranged 'length == 2'
check "who is in none any more gets no new connection" holds "$(silence 192.0.2.80:80)" '.ok == 0 and .failed == 2'
check "in either family" holds "$(silence '[2001:db8::80]:80')" '.ok == 0 and .failed == 2'
check "the node port has no ranges" holds "$(dial 10.0.201.2:30080)" "$answered"
check "and connections that are open live" holds "$(hold_ask ranged)" '.ok == 10'
web_service
await 5 ranged 'length == 0'

say "the node's addresses, under load"
hold_begin moved outside 10.0.201.2:30080 10
ip -n "$(node_ns 1)" address add 10.0.201.3/24 dev uplink
node_is 10.0.201.3 fd00:78:201::2
check "node ports are at the new address" await 5 has_node_port 10.0.201.3
check "and no longer at the old one" await 5 lacks_node_port 10.0.201.2
check "TCP to the new one" holds "$(dial 10.0.201.3:30080)" "$answered"
check "UDP to the new one" holds "$(dial 10.0.201.3:30080 --udp)" "$answered"
check "connections to the old one live" holds "$(hold_ask moved)" '.ok == 10'
check "load-balancer addresses are where they were" holds "$(dial 192.0.2.80:80)" "$answered"
node_is 10.0.201.2 fd00:78:201::2
await 5 has_node_port 10.0.201.2
ip -n "$(node_ns 1)" address delete 10.0.201.3/24 dev uplink
check "back again" holds "$(dial 10.0.201.2:30080)" "$answered"

say "the uplink"
hold_begin down outside 10.0.201.2:30080 10
ip -n "$(node_ns 1)" link set uplink down
ip -n "$(node_ns 1)" link set uplink up
ip -n "$(node_ns 1)" route replace default via 10.0.201.1
ip -n "$(node_ns 1)" -6 address replace fd00:78:201::2/64 dev uplink nodad
ip -n "$(node_ns 1)" -6 route replace default via fd00:78:201::1
check "is found again when it was down" await 5 has_uplink
check "and serves, IPv4" holds "$(dial 10.0.201.2:30080)" "$answered"
check "and IPv6" holds "$(dial '[fd00:78:201::2]:30080')" "$answered"
check "connections live" holds "$(hold_ask down)" '.ok == 10'
ip -n "$(node_ns 1)" link delete uplink
check "is gone from what is attached when it was deleted" await 5 lacks_uplink
routed "$(node_ns 1)" uplink 201
ip -n "$prefix-router" route replace 10.244.1.0/24 via 10.0.201.2
ip -n "$prefix-router" -6 route replace fd00:10:244:1::/64 via fd00:78:201::2
external_by 1
check "is attached when it is made anew" await 5 has_uplink
for to in 10.0.201.2:30080 '[fd00:78:201::2]:30080' 192.0.2.80:80 '[2001:db8::80]:80'; do
    check "$to is served, TCP" holds "$(dial "$to")" "$answered"
    check "$to is served, UDP" holds "$(dial "$to" --udp)" "$answered"
done
check "connections of before live" holds "$(hold_ask down)" '.ok == 10'
check "desired and programmed state agree" ctl verify
harness_end
