#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# XDP on the uplinks of two nodes: what a client outside sends through a node port to a backend on the other node is
# turned round there, and its answers too. Another's XDP program stays, flows outlive the agent and the program, and
# without XDP all goes on by tc.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

client4=10.0.250.2 client6=fd00:78:250::2

# routed NAMESPACE DEVICE NUMBER: one link to the router, which has the address .1 on it. A veth hands over what XDP sends
# only where the other end receives in batches, which GRO makes it do; and a checksum that is left to a device would
# keep every packet from being turned round.
routed() {
    local router=$prefix-router
    ip link add "$2" netns "$1" type veth peer name "link$3" netns "$router"
    ip -n "$router" address add "10.0.$3.1/24" dev "link$3"
    ip -n "$router" address add "fd00:78:$3::1/64" dev "link$3" nodad
    ip -n "$router" link set "link$3" up
    nsenter --net="/run/netns/$router" ethtool -K "link$3" gro on >/dev/null
    without_offload "$1" "$2"
    ip -n "$1" address add "10.0.$3.2/24" dev "$2"
    ip -n "$1" address add "fd00:78:$3::2/64" dev "$2" nodad
    ip -n "$1" link set "$2" up
    ip -n "$1" route add default via "10.0.$3.1"
    ip -n "$1" -6 route add default via "fd00:78:$3::1"
}

without_offload() { nsenter --net="/run/netns/$1" ethtool -K "$2" tx off >/dev/null; }

outside_up() {
    local router=$prefix-router node
    harness_namespace "$router"
    nsenter --net="/run/netns/$router" sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    ip -n "$(node_ns 1)" link delete to-node2
    for node in 1 2; do
        routed "$(node_ns $node)" uplink "20$node"
        ip -n "$router" route add "10.244.$node.0/24" via "10.0.20$node.2"
        ip -n "$router" -6 route add "fd00:10:244:$node::/64" via "fd00:78:20$node::2"
    done
    harness_namespace "$(pod_ns outside)"
    routed "$(pod_ns outside)" eth0 250
}

# exposed NAME NODE-PORT POD
exposed() {
    {
        printf 'apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: default}\nspec:\n' "$1"
        printf '  type: NodePort\n  clusterIP: 10.96.0.10\n  clusterIPs: [10.96.0.10, "fd00:10:96::10"]\n'
        printf '  ipFamilies: [IPv4, IPv6]\n  ports:\n'
        printf '    - {name: tcp, port: 80, protocol: TCP, nodePort: %s}\n' "$2"
        printf '    - {name: udp, port: 80, protocol: UDP, nodePort: %s}\n' "$2"
    } | manifest "$1.service.yaml"
    endpoints "$1" "tcp:8080:TCP udp:8080:UDP" "$3"
}

talk() { pod_exec outside python3 "$harness_top/tests/e2e/tools/talk.py" "$@"; }
turned() { ctl status -o json | jq .xdp.packets; }
uplink_has() { holds "$(ctl get links -o json)" '.items[] | select(.name == "uplink") | [.hooks[] | select(.hook == "xdp") | .mode] == '"$1"; }
agent() { start_agent -n "$1" --node-ip "10.0.20$1.2,fd00:78:20$1::2" "${@:2}"; }

harness_begin xdp
cluster_up 2
outside_up
pod_add b2 2
without_offload "$(pod_ns b2)" eth0
pod_serve b2 8080
exposed far 30080 b2
for node in 1 2; do agent $node --xdp native; done
check "XDP is at the uplink, in the driver" uplink_has '["native"]'
check "and at the other node's" holds "$(ctl -n 2 get links -o json)" \
    '.items[] | select(.name == "uplink") | any(.hooks[]; .hook == "xdp" and .mode == "native")'

# through WHAT EXPRESSION: all four kinds of conversations, 400 questions each; EXPRESSION of how many packets XDP has
# turned round meanwhile.
through() {
    local to source before kind n=0 port
    for kind in "4" "4 --udp" "6" "6 --udp"; do
        n=$((n + 1))
        to=10.0.201.2:30080 source=$client4
        [[ $kind != 6* ]] || { to="[fd00:78:201::2]:30080" source=[$client6]; }
        before=$(turned)
        # shellcheck disable=SC2086 # no option where there is none
        check "IPv$kind: every question is answered" holds "$(talk ${kind:2} --questions 400 $to $source)" \
            '.answered == 400 and .lost == 0 and .pods == ["b2"]'
        before=$(($(turned) - before))
        check "IPv$kind: $1: $before packets" test "$before" "${@:2}"
    done
}
through "turned round at XDP" -ge 500
