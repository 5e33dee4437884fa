#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# A ping to a ClusterIP is refused, or answered with --ping reply; other addresses of the Service CIDR are silent. From
# outside ClusterIPs are silent as well, unless they may be dialled from there.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"
. "$(dirname "$0")/../harness/outside.sh"

# ping_once ADDRESS [SECONDS [POD]]: prints "reply", "refused" or "silence".
ping_once() {
    pod_exec "${3:-client}" timeout 90 python3 - "$1" "${2:-10}" <<'PYTHON'
import socket, sys
v6 = ":" in sys.argv[1]
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM,
                  socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
s.settimeout(float(sys.argv[2]))
s.connect((sys.argv[1], 0))
request = bytes([128 if v6 else 8, 0, 0, 0, 0, 0, 0, 1]) + bytes(range(56))
try:
    s.send(request)
    answer = s.recv(200)
    right = answer[0] == (129 if v6 else 0) and answer[6:] == request[6:]
    print("reply" if right else "nonsense")
except ConnectionRefusedError:
    print("refused")
except TimeoutError:
    print("silence")
PYTHON
}

# dropped REASON
dropped() { ctl status -o json | jq --arg reason "$1" '[.drops[] | select(.reason == $reason) | .packets] | add // 0'; }

# silent REASON ADDRESS: one ping from outside is dropped by the node, and counted.
silent() {
    local before
    before=$(dropped "$1")
    test "$(ping_once "$2" 0.5 outside)" = silence && test "$(dropped "$1")" = $((before + 1))
}

harness_begin ping
web_cluster 1
outside_up
for pod in client outside; do
    pod_exec $pod sysctl -q -w net.ipv4.ping_group_range="0 0"
done
node_ip=(--node-ip "10.0.201.2,fd00:78:201::2")
start_agent "${node_ip[@]}" --service-cidr 10.96.0.0/16,fd00:10:96::/112
for address in 10.96.0.10 fd00:10:96::10; do
    check "a ping to $address is refused" test "$(ping_once $address)" = refused
done
for address in 10.96.9.9 fd00:10:96::999; do
    check "a ping to $address, which no Service has, meets silence" test "$(ping_once $address 0.5)" = silence
    to=$address:80
    [[ $address == *.* ]] || to="[$address]:80"
    check "and so does a connection" holds "$(load_in client "$to" --connections 3 --timeout-ms 300 || true)" \
        '.ok == 0 and .errors == {"no connection": 3}'
done
for address in 10.96.9.9 fd00:10:96::999; do
    check "from outside a ping to $address is dropped by the node" silent UNALLOCATED_DROPPED $address
done
for address in 10.96.0.10 fd00:10:96::10; do
    check "from outside a ping to $address is dropped" silent CLUSTER_IP_FROM_OUTSIDE $address
done
for address in 10.0.201.2 fd00:78:201::2; do
    check "a ping to the node itself is none of ours" test "$(ping_once $address 10 outside)" = reply
done
stop_agent
start_agent "${node_ip[@]}" --service-cidr 10.96.0.0/16,fd00:10:96::/112 --external-cluster-ip allow
for address in 10.96.0.10 fd00:10:96::10; do
    check "from outside a ping to $address, which may be dialled from there, is refused" \
        test "$(ping_once $address 10 outside)" = refused
done
for address in 10.96.9.9 fd00:10:96::999; do
    check "and one to $address is dropped by the node" silent UNALLOCATED_DROPPED $address
done
stop_agent
start_agent "${node_ip[@]}" --service-cidr 10.96.0.0/16,fd00:10:96::/112 --ping reply --external-cluster-ip allow
for address in 10.96.0.10 fd00:10:96::10; do
    check "with --ping reply it is answered" test "$(ping_once $address 10 outside)" = reply
done
stop_agent
start_agent "${node_ip[@]}" --service-cidr 10.96.0.0/16,fd00:10:96::/112 --ping reply
for address in 10.96.0.10 fd00:10:96::10; do
    check "with --ping reply, a ping to $address is answered" test "$(ping_once $address)" = reply
done
for address in "${POD_IP4[b1]}" "${POD_IP6[b1]}"; do
    check "a ping to the pod $address is none of ours" test "$(ping_once "$address")" = reply
done
ctl status | sed -n '/REASON/,$p'
harness_end
