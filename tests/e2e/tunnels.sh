#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Nodes whose pods reach each other by a tunnel device without Ethernet headers, as with IPIP and WireGuard: node ports,
# external addresses and ClusterIPs through it in both directions, datagrams that it carries in fragments only, and what is
# refused there.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

# tunnel_up: tun0 of both nodes; the routes to each other's pods lead there and no longer by the link between the nodes.
tunnel_up() {
    local node other
    python3 "$harness_top/tests/e2e/tools/join_tuns.py" tun0 "$(node_ns 1)" "$(node_ns 2)" >"$run/tunnel.out" 2>&1 &
    await 10 grep -q ready "$run/tunnel.out"
    for node in 1 2; do
        other=$((3 - node))
        # As a distribution may have set it: what comes in by another way than its answer would take is dropped.
        node_exec -n $node sysctl -q -w net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1
        ip -n "$(node_ns $node)" address add "10.244.$node.2/32" dev tun0
        ip -n "$(node_ns $node)" address add "fd00:10:244:$node::2/128" dev tun0 nodad
        ip -n "$(node_ns $node)" link set tun0 mtu 1400 up
        ip -n "$(node_ns $node)" route replace "10.244.$other.0/24" dev tun0
        ip -n "$(node_ns $node)" -6 route replace "fd00:10:244:$other::/64" dev tun0
    done
    # External addresses are node 1's, and node 2 comes to them by the tunnel.
    ip -n "$(node_ns 2)" route add 192.0.2.0/24 dev tun0
    ip -n "$(node_ns 2)" -6 route add 2001:db8::/64 dev tun0
}

# A client outside, at node 1.
outside_up() {
    harness_namespace "$(pod_ns outside)"
    ip link add eth0 netns "$(pod_ns outside)" type veth peer name uplink netns "$(node_ns 1)"
    ip -n "$(node_ns 1)" address add 10.0.250.1/24 dev uplink
    ip -n "$(node_ns 1)" address add fd00:78:250::1/64 dev uplink nodad
    ip -n "$(node_ns 1)" link set uplink up
    ip -n "$(node_ns 1)" route add default via 10.0.250.2
    ip -n "$(node_ns 1)" -6 route add default via fd00:78:250::2
    ip -n "$(pod_ns outside)" address add 10.0.250.2/24 dev eth0
    ip -n "$(pod_ns outside)" address add fd00:78:250::2/64 dev eth0 nodad
    ip -n "$(pod_ns outside)" link set eth0 up
    ip -n "$(pod_ns outside)" route add default via 10.0.250.1
    ip -n "$(pod_ns outside)" -6 route add default via fd00:78:250::1
}

# exposed NAME NUMBER BACKEND-PORT POLICY POD...: a Service with node port 300NUMBER, 192.0.2.NUMBER and 2001:db8::NUMBER.
exposed() {
    local name=$1 number=$2 to=$3 policy=$4
    shift 4
    manifest "$name.service.yaml" <<EOF
apiVersion: v1
kind: Service
metadata: {name: $name, namespace: default}
spec:
  type: NodePort
  externalTrafficPolicy: $policy
  clusterIP: 10.96.0.$number
  clusterIPs: [10.96.0.$number, "fd00:10:96::$number"]
  ipFamilies: [IPv4, IPv6]
  externalIPs: [192.0.2.$number, "2001:db8::$number"]
  ports:
    - {name: tcp, port: 80, protocol: TCP, nodePort: 300$number}
    - {name: udp, port: 80, protocol: UDP, nodePort: 300$number}
EOF
    endpoints "$name" "tcp:$to:TCP udp:$to:UDP" "$@"
}

# seen BY ADDRESS PORT [--udp]: whom the backend sees where the pod BY dials; with `node`, the node itself.
seen() {
    local by=$1 to=$2:$3 from=0.0.0.0
    [[ $2 != *:* ]] || to="[$2]:$3" from='[::]'
    local run_in=(pod_exec "$by")
    [[ $by != node ]] || run_in=(node_exec)
    "${run_in[@]}" python3 "$harness_top/tests/e2e/tools/ask.py" "${@:4}" "$to" "$from" | awk '{ print $2 }'
}
sees() { # EXPECTED BY ADDRESS PORT [--udp]
    local got
    got=$(seen "${@:2}")
    [[ $got == "$1" ]] || { echo "  got $got" && return 1; }
}

# echo_large POD: sends each datagram back that comes to port 9091.
echo_large() {
    pod_exec "$1" python3 - >"$run/$1.echo" 2>&1 <<'PYTHON' &
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 9091))
print("ready", flush=True)
while True:
    s.sendto(*s.recvfrom(5000))
PYTHON
    await 10 grep -q ready "$run/$1.echo"
}

# large POD ADDRESS TRIES: datagrams of 4,000 bytes, until one has come back and at most so often; then 20 more. Prints
# how many of those did. In IPv6 the first one in each direction is lost: it teaches its sender the way's MTU.
large() {
    pod_exec "$1" timeout 250 python3 - "$2" "$3" <<'PYTHON'
import socket, sys
address, tries = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
s.connect((address, 80))

def comes_back(number, patience):
    payload = bytes((i * 7 + number) % 256 for i in range(4000))
    s.settimeout(patience)
    try:
        s.send(payload)
        while s.recv(5000) != payload: pass
        return True
    except (TimeoutError, OSError):
        return False

learned = any(comes_back(number, 10 if tries == 1 else 1) for number in range(tries))
print(sum(comes_back(100 + number, 10) for number in range(20)) if learned else "none")
PYTHON
}

harness_begin tunnels
cluster_up 2
outside_up
tunnel_up
for node in 1 2; do
    pod_add "b$node" $node
    nsenter --net="/run/netns/$(pod_ns "b$node")" python3 "$harness_top/tests/e2e/tools/peer_name.py" 9090 >"$run/peer$node" &
    await 10 grep -q ready "$run/peer$node"
done
pod_add near 1
pod_add far 2
exposed there 82 9090 Cluster b2
exposed here 81 9090 Cluster b1
exposed local 84 9090 Local b1
exposed empty 86 9090 Cluster
exposed large-there 92 9091 Cluster b2
exposed large-here 91 9091 Cluster b1
start_agent --node-ip 10.0.250.1,fd00:78:250::1 --service-cidr 10.96.0.0/16,fd00:10:96::/112

check "the tunnel has programs in both directions" holds "$(ctl get links -o json)" \
    '.items[] | select(.name == "tun0") | .kind == "tunnel" and ([.hooks[].hook] == ["tc ingress", "tc egress"])'
for family in 4 6; do
    if [[ $family == 4 ]]; then
        node=10.0.250.1 own=10.244.1.2 cluster=10.96.0. external=192.0.2. near=${POD_IP4[near]} far=${POD_IP4[far]}
    else
        node=fd00:78:250::1 own=fd00:10:244:1::2 cluster=fd00:10:96:: external=2001:db8::
        near=${POD_IP6[near]} far=${POD_IP6[far]}
    fi
    for udp in "" --udp; do
        say "IPv$family $udp"
        # shellcheck disable=SC2086 # none or one option
        {
            check "outside, node port, out by the tunnel" sees $own outside $node 30082 $udp
            check "outside, external address, out by the tunnel" sees $own outside ${external}82 80 $udp
            check "a pod, node port, out by the tunnel" sees $own near $node 30082 $udp
            check "a pod, ClusterIP, out by the tunnel" sees "$near" near ${cluster}82 80 $udp
            check "in by the tunnel, to a pod here" sees $node far ${external}81 80 $udp
            check "in by the tunnel, policy Local" sees "$far" far ${external}84 80 $udp
            check "in by the tunnel and out by it" sees $own far ${external}82 80 $udp
            check "in by the tunnel, no backend" sees ECONNREFUSED far ${external}86 80 $udp
        }
    done
done
say "4,000 bytes, which the tunnel's 1,400 do not carry"
for node in 1 2; do
    echo_large "b$node"
done
for to in "near 10.96.0.92" "near 192.0.2.92" "outside 192.0.2.92" "far 192.0.2.91" "far 192.0.2.92"; do
    check "a datagram of ${to% *} to ${to#* } comes back at once, and 20 more" eval "test \"\$(large $to 1)\" = 20"
done
for to in "near fd00:10:96::92" "near 2001:db8::92" "outside 2001:db8::92" "far 2001:db8::91" "far 2001:db8::92"; do
    check "once the MTU is known 20 of ${to% *} to ${to#* } come back" eval "test \"\$(large $to 10)\" = 20"
done
# The node's packets by way of the catch-all: their answers come in by the tunnel and need a header for the pair of devices.
say "the node itself, without socket hooks"
ip -n "$(node_ns 2)" route add 10.0.112.1/32 dev tun0
ip -n "$(node_ns 2)" -6 route add fd00:77:12::1/128 dev tun0
stop_agent
start_agent --node-ip 10.0.250.1,fd00:78:250::1 --service-cidr 10.96.0.0/16,fd00:10:96::/112 --host-sockets off
for udp in "" --udp; do
    # shellcheck disable=SC2086 # none or one option
    {
        check "IPv4 $udp reaches a pod by the tunnel" sees 10.0.112.1 node 10.96.0.82 80 $udp
        check "IPv6 $udp reaches a pod by the tunnel" sees fd00:77:12::1 node fd00:10:96::82 80 $udp
    }
done
# Of the first datagram in IPv6 the last fragment alone fits; and the kernel tells the catch-all's devices something (MLD).
check "nothing else was dropped" holds "$(ctl status -o json)" \
    '([.drops[] | select(.reason | IN("NO_BACKEND_REJECTED", "FRAGMENT_HELD", "HOST_PACKET_REFUSED") | not) | .packets] | add // 0) == 0'
check "desired and programmed state agree" ctl verify
harness_end
