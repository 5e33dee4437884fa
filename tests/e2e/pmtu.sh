#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Path MTU discovery through a ClusterIP: a router with a link of smaller MTU stands between client and backend. Its errors
# must reach the client as errors about the ClusterIP, or a bulk transfer stalls and large datagrams are lost.
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

# learned_mtu ADDRESS: what the client's route to it has learned.
learned_mtu() {
    pod_exec client ip route get "$1" | grep -o 'mtu [0-9]*' | cut -d ' ' -f 2
}

# datagrams TO: one of 1,450 bytes that may not be cut, until the socket says what is too large; then one of 4,000 that
# may, again until it comes back. Prints the MTU that the socket knows, and whether the large one came back whole.
datagrams() {
    pod_exec client timeout 250 python3 - "$1" <<'PYTHON'
import errno, socket, sys, time
to = sys.argv[1]
v6 = ":" in to
level, discover, mtu = (socket.IPPROTO_IPV6, 23, 24) if v6 else (socket.IPPROTO_IP, 10, 14)
def connected():
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(10)
    s.connect((to, 80))
    return s
s = connected()
s.setsockopt(level, discover, 2)  # PMTUDISC_DO
for _ in range(200):
    try:
        s.send(bytes(1450 - (48 if v6 else 28)))
        time.sleep(0.05)
    except OSError as error:
        if error.errno == errno.EMSGSIZE: break
        raise
print(s.getsockopt(level, mtu), end=" ")
s = connected()
s.settimeout(1)
for attempt in range(20):
    payload = bytes((i * 7 + attempt) % 256 for i in range(4000))
    s.send(payload)
    try:
        print("whole" if s.recv(5000) == payload else "broken")
        break
    except TimeoutError:  # in IPv6 the answerer's first one is lost: it learns its own MTU by it
        pass
PYTHON
}

harness_begin pmtu
cluster_up 2
router_between
pod_add client 1
pod_add b1 2
nsenter --net="/run/netns/$(pod_ns b1)" iperf3 -s --forceflush >"$run/iperf3.log" 2>&1 &
await 5 grep -q listening "$run/iperf3.log"
pod_exec b1 python3 - >"$run/echo.log" 2>&1 <<'PYTHON' &
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 8080))
print("ready", flush=True)
while True: s.sendto(*s.recvfrom(5000))
PYTHON
await 5 grep -q ready "$run/echo.log"
service datagrams 10.96.0.21 fd00:10:96::21 udp:80:UDP
endpoints datagrams "udp:8080:UDP" b1
service bulk 10.96.0.20 fd00:10:96::20 tcp:80:TCP
endpoints bulk "tcp:5201:TCP" b1
start_agent -n 1
start_agent -n 2

for to in 10.96.0.20 fd00:10:96::20; do
    check "no smaller MTU is known for $to" eval "! learned_mtu $to"
    check "a bulk transfer to $to goes through" test "$(bulk_in client "$to")" -ge 5000000
    check "the client has learned the MTU $link_mtu for $to" test "$(learned_mtu "$to")" = "$link_mtu"
    check "a bulk transfer from $to goes through" test "$(bulk_in client "$to" -R)" -ge 5000000
done
for to in 10.96.0.21 fd00:10:96::21; do
    check "no smaller MTU is known for $to" eval "! learned_mtu $to"
    check "a datagram to $to that is too large is an error, and a larger one is cut and comes back" \
        test "$(datagrams "$to")" = "$link_mtu whole"
    check "the client has learned the MTU $link_mtu for $to" test "$(learned_mtu "$to")" = "$link_mtu"
done
pod_exec client ip route get 10.96.0.20
pod_exec client ip route get fd00:10:96::20
for backend in "${POD_IP4[b1]}" "${POD_IP6[b1]}"; do
    check "the client has not heard of the backend $backend" eval "! learned_mtu $backend"
done
harness_end
