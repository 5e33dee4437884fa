#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# A pod, and the node itself, dial the node's node ports, external and load-balancer addresses (behaviour rows 1.16, 1.20,
# 1.22, 1.24, 1.25, 1.30): every kind, family and protocol, round a Local policy, by source ranges, where the node's addresses change; and
# what a load balancer is told at the health check port.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin external
web_cluster 1
pod_add stranger

# external POLICY [RANGE...]: the Service web with every kind of address.
external() {
    local policy=$1 ranges
    shift
    ranges=$(printf '"%s",' "$@")
    (($#)) || ranges=
    manifest web.service.yaml <<EOF
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, "fd00:10:96::10"]
  ipFamilies: [IPv4, IPv6]
  externalTrafficPolicy: $policy
  healthCheckNodePort: 32000
  externalIPs: [192.0.2.10, "2001:db8::10"]
  loadBalancerSourceRanges: [${ranges%,}]
  ports:
    - {name: tcp, port: 80, protocol: TCP, nodePort: 30080}
    - {name: udp, port: 80, protocol: UDP, nodePort: 30080}
status:
  loadBalancer:
    ingress:
      - {ip: 198.51.100.10, ipMode: VIP}
      - {ip: "2001:db8:100::10"}
EOF
}
# own_node IPV4 IPV6: the Node object.
own_node() {
    manifest node.yaml <<EOF
apiVersion: v1
kind: Node
metadata: {name: node-1}
status:
  addresses:
    - {type: Hostname, address: node-1}
    - {type: InternalIP, address: $1}
    - {type: InternalIP, address: "$2"}
EOF
}
has_frontend() { # ADDRESS PORT
    ctl get services default/web -o json |
        jq -e --arg address "$1" --argjson port "$2" 'any(.items[].frontends[]; .address == $address and .port == $port)'
}
lacks_frontend() { ! has_frontend "$@"; }
dial() { # POD|node TO OPTION...
    local by=(load_in "$1")
    [[ $1 != node ]] || by=(node_exec "$tools/connect_load")
    "${by[@]}" "$2" --connections 20 --concurrency 4 "${@:3}" || true
}
reached='.failed == 0 and (.backends | keys) == ["b1"]'

node4=10.244.1.1 node6=fd00:10:244:1::1
node_ports=("$node4:30080" "[$node6]:30080")
external_ips=(192.0.2.10:80 '[2001:db8::10]:80')
vips=(198.51.100.10:80 '[2001:db8:100::10]:80')

# health_is STATUS ENDPOINTS: what both families answer at the health check port, in status line, header and body.
health_is() {
    local host
    for host in "$node4" "[$node6]"; do
        [[ $(pod_exec client curl -sg --max-time 20 -o "$run/health.json" \
            -w '%{http_code} %header{x-load-balancing-endpoint-weight}' "http://$host:32000/any") == "$1 $2" ]] || return 1
        jq -e --argjson endpoints "$2" '. == {service: {namespace: "default", name: "web"},
            localEndpoints: $endpoints, serviceProxyHealthy: true}' "$run/health.json" >/dev/null || return 1
    done
}
health_is_closed() {
    local host error
    for host in "$node4" "[$node6]"; do
        error=0
        pod_exec client curl -sg --max-time 20 -o /dev/null "http://$host:32000/" || error=$?
        ((error == 7)) || return 1
    done
}

# reach_all WHAT: the pod gets an answer from every address by both protocols, and so does the node.
reach_all() {
    local to
    for to in "${node_ports[@]}" "${external_ips[@]}" "${vips[@]}"; do
        check "$1: TCP to $to" holds "$(dial client "$to")" "$reached"
        check "$1: UDP to $to" holds "$(dial client "$to" --udp)" "$reached"
    done
    for to in "${node_ports[@]}" 127.0.0.1:30080 '[::1]:30080' "${external_ips[@]}" "${vips[@]}"; do
        check "$1: TCP from the node to $to" holds "$(dial node "$to")" "$reached"
        check "$1: UDP from the node to $to" holds "$(dial node "$to" --udp)" "$reached"
    done
}

external Cluster
own_node "$node4" "$node6"
start_agent
await 5 has_frontend "$node4" 30080
kinds=$(ctl get services default/web -o json |
    jq -c '[.items[] | select(.protocol == "TCP") | .frontends[] | "\(.kind) \(.address) \(.port)"]')
check "svclb-ctl shows each kind" holds "$kinds" '. == [
    "clusterIP 10.96.0.10 80", "clusterIP fd00:10:96::10 80", "nodePort 10.244.1.1 30080",
    "nodePort fd00:10:244:1::1 30080", "externalIP 192.0.2.10 80", "externalIP 2001:db8::10 80",
    "loadBalancer 198.51.100.10 80", "loadBalancer 2001:db8:100::10 80"]'
reach_all "policy Cluster"
check "no health check under policy Cluster" health_is_closed

say "policy Local, and the only backend is another node's"
external Local
POD_NODE[b1]=2
endpoints web "$web_ports" b1
elsewhere() { ctl get services default/web -o json | jq -e 'all(.items[]; .verdict.local == "drop" and .verdict.cluster == "forward")'; }
check "nothing is local" await 5 elsewhere
reach_all "policy Local, goes round it"
check "the health check says that none is here" await 5 health_is 503 0

say "no backend"
endpoints web "$web_ports" b1:notready
nobody() { ctl get services default/web -o json | jq -e 'all(.items[]; .verdict.cluster == "reject")'; }
check "nobody is ready" await 5 nobody
for to in "${node_ports[@]}" "${external_ips[@]}" "${vips[@]}"; do
    check "TCP to $to is refused" holds "$(dial client "$to")" '.ok == 0 and .errors == {"Connection refused": 20}'
    check "UDP to $to is refused" holds "$(dial client "$to" --udp)" '.ok == 0 and .errors == {"Connection refused": 20}'
    check "TCP from the node is refused, too" holds "$(dial node "$to")" '.ok == 0 and .errors == {"Connection refused": 20}'
    check "and UDP" holds "$(dial node "$to" --udp)" '.ok == 0 and .errors == {"Connection refused": 20}'
done
POD_NODE[b1]=1
endpoints web "$web_ports" b1
await 5 web_backend_state b1 ready
check "the health check says that one is here" await 5 health_is 200 1
endpoints web "$web_ports" b1:draining
check "one that ends does not count" await 5 health_is 503 0
endpoints web "$web_ports" b1
check "one that is back does" await 5 health_is 200 1

say "the health check port is somebody else's"
stop_agent
nsenter --net="/run/netns/$(node_ns)" python3 -c 'import signal, socket
s = socket.create_server(("::", 32000), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
signal.pause()' >"$run/taken.out" &
taken=$!
await 10 grep -q ready "$run/taken.out"
start_agent
told() { ctl get services default/web -o json | jq -e 'any(.items[].problems[]?; startswith("FailedToStartServiceHealthcheck"))'; }
check "that is told" await 5 told
kill "$taken"
wait "$taken" || true
check "and tried again" await 20 health_is 200 1
untold() { ! told; }
check "and told no more" await 5 untold

say "source ranges: load-balancer addresses only, pods by their own address"
external Cluster "${POD_IP4[client]}/32" "${POD_IP6[client]}/128"
ranged() { ctl get services default/web -o json | jq -e "all(.items[]; .sourceRanges | $1)"; }
check "svclb-ctl shows them" await 5 ranged 'length == 2'
for to in "${vips[@]}"; do
    check "the node, in no range, is refused by $to" holds "$(dial node "$to")" '.errors == {"Connection refused": 20}'
done
external Cluster "${POD_IP4[client]}/32" "${POD_IP6[client]}/128" "$node4/32" "$node6/128"
await 5 ranged 'length > 2'
check "the health check ends with policy Local" await 5 health_is_closed
reach_all "in a range"
for to in "${vips[@]}"; do
    for option in '' --udp; do
        # shellcheck disable=SC2086 # none or one
        check "a pod in no range gets no answer of $to $option" \
            holds "$(load_in stranger "$to" --connections 2 --timeout-ms 300 $option || true)" '.ok == 0 and .failed == 2'
    done
done
for to in "${node_ports[@]}" "${external_ips[@]}"; do
    check "and reaches $to" holds "$(dial stranger "$to")" "$reached"
done
check "what was dropped is counted" eval 'ctl status | grep -q "not in loadBalancerSourceRanges"'
check "tables and programs agree" ctl verify

say "the agent is killed and comes back"
stop_agent KILL
start_agent
check "the ranges still hold" holds "$(load_in stranger "${vips[0]}" --connections 2 --timeout-ms 300 || true)" '.ok == 0'
check "and the client is still in one" holds "$(dial client "${vips[0]}")" "$reached"
external Cluster
open_again() { ctl get services default/web -o json | jq -e 'all(.items[]; .sourceRanges == [])'; }
check "the ranges go" await 5 open_again
check "and everybody may" holds "$(dial stranger "${vips[1]}")" "$reached"
check "tables and programs agree" ctl verify

say "the Node has another address"
own_node 10.244.1.2 "$node6"
for ns in $(node_ns); do ip -n "$ns" address add 10.244.1.2/24 dev br0; done
check "its node ports are there" await 5 has_frontend 10.244.1.2 30080
check "and no longer here" await 5 lacks_frontend "$node4" 30080
check "TCP to the new one" holds "$(dial client 10.244.1.2:30080)" "$reached"

say "node ports on the addresses of devices"
stop_agent
start_agent --nodeport-addresses 10.99.0.0/16,fd00:10:244:1::/64
check "IPv6 by its range" has_frontend "$node6" 30080
check "IPv4 has none in it" lacks_frontend "$node4" 30080
ip -n "$(node_ns)" address add 10.99.0.1/24 dev br0
check "an address that comes serves" await 5 has_frontend 10.99.0.1 30080
check "TCP to it" holds "$(dial client 10.99.0.1:30080)" "$reached"
ip -n "$(node_ns)" address delete 10.99.0.1/24 dev br0
check "one that goes does not" await 5 lacks_frontend 10.99.0.1 30080
check "tables and programs agree" ctl verify
harness_end
