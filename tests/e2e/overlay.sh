#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Nodes whose pods reach each other by an overlay with Ethernet headers (VXLAN, as flannel makes it). The network below
# drops what comes from pods, reverse path filters are strict, and the overlay may masquerade by itself: answers have to come
# back the way that the packet took.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"
. "$(dirname "$0")/../harness/outside.sh"

# vxlan NODE NAME ID LOCAL FAR OWN-ADDRESS OTHER-ADDRESS PODS MTU: one end; nothing is asked for, all is written down.
vxlan() {
    local ns other=$((3 - $1))
    ns=$(node_ns "$1")
    ip -n "$ns" link add "$2" address "02:00:00:00:0$3:0$1" mtu "$9" type vxlan id "$3" local "$4" dev uplink \
        dstport 8472 nolearning
    ip -n "$ns" address add "$6" dev "$2"
    ip -n "$ns" link set "$2" up
    ip -n "$ns" neighbour add "$7" lladdr "02:00:00:00:0$3:0$other" dev "$2" nud permanent
    node_exec -n "$1" bridge fdb add "02:00:00:00:0$3:0$other" dev "$2" dst "$5"
    ip -n "$ns" route replace "$8" via "$7" dev "$2" onlink
}

overlay_up() {
    local node other router=$prefix-router
    for node in 1 2; do
        other=$((3 - node))
        vxlan $node over4 1 10.0.20$node.2 10.0.20$other.2 10.244.$node.0/32 10.244.$other.0 10.244.$other.0/24 1450
        vxlan $node over6 2 fd00:78:20$node::2 fd00:78:20$other::2 fd00:10:244:$node::/128 fd00:10:244:$other:: \
            fd00:10:244:$other::/64 1430
        node_exec -n $node sysctl -q -w net.ipv4.conf.all.rp_filter=1
        ip -n "$router" route delete 10.244.$node.0/24
        ip -n "$router" -6 route delete fd00:10:244:$node::/64
    done
    nsenter --net="/run/netns/$router" nft -f - <<EOF2
table inet antispoof {
    chain forward {
        type filter hook forward priority 0;
        ip saddr 10.244.0.0/16 drop
        ip6 saddr fd00:10:244::/48 drop
    }
}
EOF2
}

# overlay_masquerades NODE: what comes to pods of other nodes from no pod, and leaves pods for others.
overlay_masquerades() {
    node_exec -n "$1" nft -f - <<EOF2
table ip overlay {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        ip saddr 10.244.0.0/16 ip daddr 10.244.0.0/16 return
        ip saddr 10.244.0.0/16 masquerade
        ip saddr != 10.244.0.0/16 ip daddr 10.244.$1.0/24 return
        ip saddr != 10.244.0.0/16 ip daddr 10.244.0.0/16 masquerade
    }
}
table ip6 overlay {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        ip6 saddr fd00:10:244::/48 ip6 daddr fd00:10:244::/48 return
        ip6 saddr fd00:10:244::/48 masquerade
        ip6 saddr != fd00:10:244::/48 ip6 daddr fd00:10:244:$1::/64 return
        ip6 saddr != fd00:10:244::/48 ip6 daddr fd00:10:244::/48 masquerade
    }
}
EOF2
}

# sees EXPECTED BY TO FROM [--udp]: whom the backend sees where the pod BY dials.
sees() {
    local got
    got=$(pod_exec "$2" python3 "$harness_top/tests/e2e/tools/ask.py" "${@:5}" "$3" "$4" | awk '{ print $2 }')
    [[ $got == "$1" ]] || { echo "  got $got" && return 1; }
}

# dialled WHAT: from outside and from a pod of node 1; backends on this node and on the other.
dialled() {
    local udp by
    for udp in "" --udp; do
        # shellcheck disable=SC2086 # no option where there is none
        for by in outside asker; do
            check "$1: $by, here $udp" sees 10.0.201.2 $by 192.0.2.81:80 0.0.0.0 $udp
            check "$1: $by, here, IPv6 $udp" sees fd00:78:201::2 $by '[2001:db8::81]:80' '[::]' $udp
            check "$1: $by, on the other node $udp" sees 10.244.1.0 $by 192.0.2.82:80 0.0.0.0 $udp
            check "$1: $by, on the other node, IPv6 $udp" sees fd00:10:244:1:: $by '[2001:db8::82]:80' '[::]' $udp
            check "$1: $by, a node port $udp" sees 10.244.1.0 $by 10.0.201.2:30082 0.0.0.0 $udp
        done
        check "$1: policy Local $udp" sees $outside4 outside 192.0.2.84:80 0.0.0.0 $udp
        check "$1: policy Local, IPv6 $udp" sees $outside6 outside '[2001:db8::84]:80' '[::]' $udp
    done
}

harness_begin overlay
cluster_up 2
outside_up
overlay_up
for node in 1 2; do
    pod_add "b$node" $node
    nsenter --net="/run/netns/$(pod_ns "b$node")" python3 "$harness_top/tests/e2e/tools/peer_name.py" 9090 >"$run/peer$node" &
    await 10 grep -q ready "$run/peer$node"
    pod_serve "b$node" 8080
done
pod_add asker
exposed here 81 9090 Cluster b1
exposed there 82 9090 Cluster b2
exposed local 84 9090 Local b1
exposed kept 85 8080 Cluster b2
for node in 1 2; do
    start_agent -n $node --node-ip "10.0.20$node.2,fd00:78:20$node::2"
done

dialled "overlay"
say "the overlay masquerades, too"
overlay_masquerades 1
overlay_masquerades 2
dialled "masquerading"
hold_begin held4 outside 10.0.201.2:30085 10
hold_begin held6 outside '[2001:db8::85]:80' 10
stop_agent KILL
start_agent --node-ip 10.0.201.2,fd00:78:201::2
for held in held4 held6; do
    check "connections live: $held" holds "$(hold_ask $held)" '.ok == 10'
done
harness_end
