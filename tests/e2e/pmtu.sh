#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Path MTU discovery through a ClusterIP: a router with a link of smaller MTU stands between client and backend. Its errors
# must reach the client as errors about the ClusterIP, or a bulk transfer stalls.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

link_mtu=1380

# router_between: takes the place of the direct link between the two nodes; its link to node 2 has the smaller MTU.
router_between() {
    local router=$prefix-router node
    harness_namespace "$router"
    nsenter --net="/run/netns/$router" sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    ip -n "$(node_ns 1)" link delete to-node2
    for node in 1 2; do
        ip link add uplink netns "$(node_ns $node)" type veth peer name "node$node" netns "$router"
        ip -n "$router" address add "10.0.20$node.1/24" dev "node$node"
        ip -n "$router" address add "fd00:78:$node::1/64" dev "node$node" nodad
        ip -n "$(node_ns $node)" address add "10.0.20$node.2/24" dev uplink
        ip -n "$(node_ns $node)" address add "fd00:78:$node::2/64" dev uplink nodad
        ip -n "$router" link set "node$node" up
        ip -n "$(node_ns $node)" link set uplink up
        ip -n "$router" route add "10.244.$node.0/24" via "10.0.20$node.2"
        ip -n "$router" -6 route add "fd00:10:244:$node::/64" via "fd00:78:$node::2"
        ip -n "$(node_ns $node)" route add default via "10.0.20$node.1"
        ip -n "$(node_ns $node)" -6 route add default via "fd00:78:$node::1"
    done
    ip -n "$router" link set node2 mtu $link_mtu
    ip -n "$(node_ns 2)" link set uplink mtu $link_mtu
}

# bulk TO [OPTION...]: 20 MB through the Service; prints how many bytes the receiver had when the sender was through. The
# sender is through when the last byte is in its socket: both ends' buffers, 10 MB at most, may still be on their way.
bulk() {
    local to=$1
    shift
    timeout 60 nsenter --net="/run/netns/$(pod_ns client)" iperf3 -c "$to" -p 80 -n 20M --json "$@" |
        jq '.end.sum_received.bytes // 0'
}

# learned_mtu ADDRESS: what the client's route to it has learned.
learned_mtu() {
    pod_exec client ip route get "$1" | grep -o 'mtu [0-9]*' | cut -d ' ' -f 2
}

harness_begin pmtu
cluster_up 2
router_between
pod_add client 1
pod_add b1 2
nsenter --net="/run/netns/$(pod_ns b1)" iperf3 -s --forceflush >"$run/iperf3.log" 2>&1 &
await 5 grep -q listening "$run/iperf3.log"
service bulk 10.96.0.20 fd00:10:96::20 tcp:80:TCP
endpoints bulk "tcp:5201:TCP" b1
start_agent -n 1
start_agent -n 2

for to in 10.96.0.20 fd00:10:96::20; do
    check "no smaller MTU is known for $to" eval "! learned_mtu $to"
    check "a bulk transfer to $to goes through" test "$(bulk "$to")" -ge 5000000
    check "the client has learned the MTU $link_mtu for $to" test "$(learned_mtu "$to")" = "$link_mtu"
    check "a bulk transfer from $to goes through" test "$(bulk "$to" -R)" -ge 5000000
done
pod_exec client ip route get 10.96.0.20
pod_exec client ip route get fd00:10:96::20
for backend in "${POD_IP4[b1]}" "${POD_IP6[b1]}"; do
    check "the client has not heard of the backend $backend" eval "! learned_mtu $backend"
done
harness_end
