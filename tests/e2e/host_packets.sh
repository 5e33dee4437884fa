#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# What a node itself sends to a ClusterIP, with no socket hook: translated to backends of this and of another node and
# of the node itself, or refused at once, and never out by the default route.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

cidrs=10.96.0.0/16,fd00:10:96::/112
options=(--service-cidr "$cidrs" --host-sockets off)

# from_node ADDRESS PORT tcp|udp|raw|lite [SECONDS]: prints "answered", "refused" or "silence".
from_node() { node_exec python3 - "$@" <<'PYTHON'
import socket, struct, sys
address, port, way = sys.argv[1], int(sys.argv[2]), sys.argv[3]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
try:
    s = socket.socket(family, socket.SOCK_STREAM if way == "tcp" else socket.SOCK_DGRAM, 136 if way == "lite" else 0)
    s.settimeout(float(sys.argv[4]) if len(sys.argv) > 4 else 2)
    if way == "raw":
        # A datagram that no connect() or sendmsg() of a UDP socket announces; its answer is for the UDP socket.
        s.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
        raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_UDP)
        if family == socket.AF_INET6:
            raw.setsockopt(socket.IPPROTO_IPV6, 7, 6)  # IPV6_CHECKSUM, where UDP has it
        raw.sendto(struct.pack("!HHHH", s.getsockname()[1], port, 12, 0) + b"who\n", (address, 0))
        peer = s.recvfrom(100)[1]
        print("answered" if peer[:2] == (address, port) else "by %s" % (peer,))
    else:
        s.connect((address, port))
        if way != "tcp":
            s.send(b"who\n")
            s.recv(100)
        print("answered")
except ConnectionRefusedError:
    print("refused")
except TimeoutError:
    print("silence")
except OSError as error:  # a kernel without UDP-Lite
    print(error)
PYTHON
}

expect() { # RESULT ADDRESS PORT WAY
    local got patience=20
    [[ $1 != silence && $4 != lite ]] || patience=2
    got=$(from_node "$2" "$3" "$4" "$patience")
    [[ $got == "$1" ]] || { echo "  got $got" && return 1; }
}

harness_begin hostpackets
cluster_up 2
for node in 1 2; do # as a distribution may have set it
    node_exec -n $node sysctl -q -w net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1
done
pod_add near 1
pod_add routed 1 ptp
pod_add far 2
for pod in near routed far; do pod_serve $pod 8080; done
POD_NODE[node]=1 POD_IP4[node]=10.0.112.1 POD_IP6[node]=fd00:77:12::1
nsenter --net="/run/netns/$(node_ns 1)" "$tools/pod_server" node 8080 >"$run/node.server" 2>&1 &
await 5 grep -q ready "$run/node.server"
number=10
for pod in near routed far node; do
    service $pod 10.96.0.$number fd00:10:96::$number tcp:80:TCP udp:80:UDP
    endpoints $pod "$web_ports" $pod
    number=$((number + 1))
done
service none 10.96.0.20 fd00:10:96::20 tcp:80:TCP udp:80:UDP
endpoints none "$web_ports"
# Whatever of the ranges leaves the node.
node_exec ip route add default via 10.0.112.2
node_exec ip -6 route add default via fd00:77:12::2
node_exec python3 -u - >"$run/left" 2>&1 <<'PYTHON' &
import socket
seen = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
seen.bind(("to-node2", 0))
print("ready")
while True:
    packet, sender = seen.recvfrom(2000)
    v4 = sender[1] == 0x0800 and packet[16:18] == bytes([10, 96])
    if sender[2] == socket.PACKET_OUTGOING and (v4 or packet[24:30] == bytes.fromhex("fd0000100096")):
        print("left")
PYTHON
await 5 grep -q ready "$run/left"
left() { grep -c left "$run/left" || true; }
from_node 10.96.0.20 80 udp >/dev/null
seen_leaving() { (($(left) > 0)); }
check "without an agent such packets leave the node" await 5 seen_leaving
before=$(left)
start_agent "${options[@]}"
ctl status | grep 'host packets'
number=10
for pod in near routed far node; do
    for address in 10.96.0.$number fd00:10:96::$number; do
        for way in tcp udp raw; do
            check "$way to $address is answered by the backend $pod" expect answered "$address" 80 "$way"
        done
    done
    number=$((number + 1))
done
for address in 10.96.0.20 fd00:10:96::20; do
    check "a connection to $address, which has no backend, is refused" expect refused $address 80 tcp
    check "and a datagram" expect refused $address 80 udp
done
for address in 10.96.9.9 fd00:10:96::999; do
    check "a datagram to $address, which no Service has, meets silence" expect silence $address 80 udp
done
for address in 10.96.0.10 fd00:10:96::10; do
    check "UDP-Lite, which no Service can name, is not answered at $address" eval "! expect answered $address 80 lite"
done
check "and nothing left the node for the ranges" test "$(left)" = "$before"
check "get links shows the pair's far end" holds "$(ctl get links -o json)" \
    'any(.items[]; .name == "svclb1" and .kind == "host" and (.hooks | length) == 2)'
check "and the uplink" holds "$(ctl get links -o json)" 'any(.items[]; .name == "to-node2" and .kind == "uplink")'

say "a client within the kernel: a VXLAN tunnel whose other end is a ClusterIP"
# Without checksums of its own: the kernel leaves the inner packet's to the device and has then no way to say that the outer
# one is complete, so that no NAT can change it.
vx4=(type vxlan id 4 dstport 4789 nolearning noudpcsum)
vx6=(type vxlan id 6 dstport 4790 nolearning udp6zerocsumtx udp6zerocsumrx)
pod_exec near ip link add vx4 "${vx4[@]}" remote 10.244.1.1
pod_exec near ip link add vx6 "${vx6[@]}" remote fd00:10:244:1::1
node_exec ip link add vx4 "${vx4[@]}" remote 10.96.0.30
node_exec ip link add vx6 "${vx6[@]}" remote fd00:10:96::30
service tunnel 10.96.0.30 fd00:10:96::30 vx4:4789:UDP vx6:4790:UDP
endpoints tunnel "vx4:4789:UDP vx6:4790:UDP" near
for family in 4 6; do
    pod_exec near ip address add 192.168.$family.2/24 dev vx$family
    pod_exec near ip link set vx$family up
    node_exec ip address add 192.168.$family.1/24 dev vx$family
    node_exec ip link set vx$family up
    check "over IPv$family it leads to the backend" await 5 expect answered 192.168.$family.2 8080 tcp
    check "as what it counts tells" holds "$(ctl get services -o json)" \
        "any(.items[]; .name == \"tunnel\" and .portName == \"vx$family\" and .flows > 0)"
done

stop_agent KILL
check "with the agent killed it goes on" expect answered 10.96.0.12 80 tcp
node_exec sysctl -q -w net.ipv6.conf.svclb1.forwarding=0
unrouted() { ctl status -o json | jq '[.drops[] | select(.reason == "HOST_PACKET_UNROUTED") | .packets] | add // 0'; }
before=$(unrouted)
check "where the far end does not forward IPv6 there is silence" expect silence fd00:10:96::12 80 udp
check "which is counted" test "$(unrouted)" -gt "$before"
device=$(node_exec cat /proc/net/dev_snmp6/svclb0 | head -n 1)
start_agent "${options[@]}"
check "a restarted agent keeps the devices" test "$(node_exec cat /proc/net/dev_snmp6/svclb0 | head -n 1)" = "$device"
check "and goes on" expect answered fd00:10:96::12 80 udp
node_exec ip link set svclb0 down
routed() { node_exec ip route show 10.96.0.0/16 | grep -q svclb0 && node_exec ip -6 route show fd00:10:96::/112 | grep -q svclb0; }
check "a pair that was switched off is mended" await 20 routed
check "and serves" expect answered 10.96.0.10 80 tcp
stop_agent
node_exec "$build/userspace/agent/svclb-agent" --cleanup --state-dir "$run/state1" --bpf-dir "$(bpf_dir)" --node-name node-1
check "cleanup leaves no device" test -z "$(node_exec ip -o link show | grep 'svclb[01]')"
check "and no route" test -z "$(node_exec ip route show 10.96.0.0/16)"
harness_end
