#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# bench-node-port.sh [--rounds N] [--seconds S] [--flood] [--clients N]: small datagrams from outside through a NodePort to a
# backend on another node, packets a second, on one CPU, in turns: by XDP, by tc, and by nftables rules as kube-proxy writes them. What the
# generator and the receiver take is included in all three. Prints; passes and fails nothing. The agent serves one Service; so do the rules.
# --clients: as many ports of the client take turns; with thousands most of it is the beginning of flows.
# --flood: datagrams to its ClusterIP instead, which are dropped: how many a second the node takes, by XDP and by tc.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/harness/netns.sh

rounds=7 seconds=1 ways="xdp tc nftables" base=nftables column=3 unanswered='' clients=1
while (($#)); do
    case $1 in
    --rounds) rounds=$2 && shift 2 ;;
    --seconds) seconds=$2 && shift 2 ;;
    --flood) ways="xdp tc" base=tc column=4 unanswered=--unanswered && shift ;;
    --clients) clients=$2 && shift 2 ;;
    *) echo "usage: bench-node-port.sh [--rounds N] [--seconds S] [--flood] [--clients N]" >&2 && exit 2 ;;
    esac
done
build=${SVCLB_BUILD:-$PWD/build}
[[ -x $build/tests/bench/net/wire_load ]] || { echo "$build/tests/bench/net/wire_load is not built" >&2 && exit 1; }

# joined NAMESPACE DEVICE ADDRESS-NUMBER: a veth to the node's device up$3. GRO has both ends receive in batches, as XDP
# needs it; for all three alike.
joined() {
    local node
    node=$(node_ns 1)
    ip link add "$2" netns "$1" type veth peer name "up$3" netns "$node"
    ip -n "$node" address add "10.0.$3.1/24" dev "up$3"
    ip -n "$node" address add "fd00:78:$3::1/64" dev "up$3" nodad
    ip -n "$1" address add "10.0.$3.2/24" dev "$2"
    ip -n "$1" address add "fd00:78:$3::2/64" dev "$2" nodad
    ip -n "$1" link set "$2" up
    ip -n "$node" link set "up$3" up
    nsenter --net="/run/netns/$1" ethtool -K "$2" gro on tx off >/dev/null
    nsenter --net="/run/netns/$node" ethtool -K "up$3" gro on >/dev/null
    ip -n "$1" route add default via "10.0.$3.1"
    ip -n "$1" -6 route add default via "fd00:78:$3::1"
}

# kube_proxy on|off: what kube-proxy 1.33 has for one Service of type NodePort with one endpoint, by its own names.
kube_proxy() {
    local family any type endpoint
    for family in ip ip6; do
        node_exec nft delete table "$family" kube-proxy 2>/dev/null || true
        [[ $1 == on ]] || continue
        type=ipv4_addr any=10.0.250.1 endpoint=10.244.2.20
        [[ $family == ip ]] || type=ipv6_addr any=fd00:78:250::1 endpoint="[fd00:10:244:2::20]"
        node_exec nft -f - <<RULES
table $family kube-proxy {
    set nodeport-ips { type $type; elements = { $any } }
    map service-ips { type $type . inet_proto . inet_service : verdict; }
    map service-nodeports {
        type inet_proto . inet_service : verdict
        elements = { udp . 30080 : goto external-bench }
    }
    chain mark-for-masquerade {
        meta mark set meta mark | 0x4000
    }
    chain masquerading {
        meta mark & 0x4000 == 0 return
        meta mark set meta mark ^ 0x4000
        masquerade fully-random
    }
    chain endpoint-bench {
        meta l4proto udp dnat to $endpoint:8080
    }
    chain service-bench {
        numgen random mod 1 vmap { 0 : goto endpoint-bench }
    }
    chain external-bench {
        jump mark-for-masquerade
        goto service-bench
    }
    chain services {
        $family daddr . meta l4proto . th dport vmap @service-ips
        $family daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
    }
    chain nat-prerouting {
        type nat hook prerouting priority dstnat
        jump services
    }
    chain nat-postrouting {
        type nat hook postrouting priority srcnat
        jump masquerading
    }
    chain cluster-ips-check {
    }
    chain filter-forward {
        type filter hook forward priority -110
        ct state new jump cluster-ips-check
    }
}
RULES
    done
}

harness_begin bench_node_port
cluster_up 1
harness_namespace "$(pod_ns outside)"
harness_namespace "$(pod_ns b)"
joined "$(pod_ns outside)" eth0 250
joined "$(pod_ns b)" eth0 251
ip -n "$(pod_ns b)" address add 10.244.2.20/32 dev lo
ip -n "$(pod_ns b)" address add fd00:10:244:2::20/128 dev lo nodad
ip -n "$(node_ns 1)" route add 10.244.2.0/24 via 10.0.251.2
ip -n "$(node_ns 1)" -6 route add fd00:10:244:2::/64 via fd00:78:251::2
pod_serve b 8080
POD_IP4[b]=10.244.2.20 POD_IP6[b]=fd00:10:244:2::20 POD_NODE[b]=2
{
    printf 'apiVersion: v1\nkind: Service\nmetadata: {name: bench, namespace: default}\nspec:\n  type: NodePort\n'
    printf '  clusterIP: 10.96.0.10\n  clusterIPs: [10.96.0.10, "fd00:10:96::10"]\n  ipFamilies: [IPv4, IPv6]\n'
    printf '  ports: [{name: udp, port: 80, protocol: UDP, nodePort: 30080}]\n'
} | manifest bench.service.yaml
endpoints bench udp:8080:UDP b
mac=$(ip -n "$(node_ns 1)" -j link show up250 | jq -r '.[0].address')

port=20000 to4=10.0.250.1:30080 to6='[fd00:78:250::1]:30080'
[[ -z $unanswered ]] || to4=10.96.0.10:80 to6='[fd00:10:96::10]:80'
flood() { # TO CLIENT
    port=$((clients > 1 ? 2000 : port + 1))
    # shellcheck disable=SC2086 # no option where there is none
    pod_exec outside taskset -c 1 "$build/tests/bench/net/wire_load" --to "$1" --from "$2:$port" --device eth0 \
        --mac "$mac" --server-netns "/run/netns/$(pod_ns b)" --server-device eth0 --seconds "$seconds" --clients "$clients" $unanswered
}

for ((round = 0; round < rounds; round++)); do
    for way in $ways; do
        if [[ $way == nftables ]]; then
            kube_proxy on
        else
            start_agent --node-ip 10.0.250.1,fd00:78:250::1 --uplinks 'up*' \
                --xdp "$([[ $way == xdp ]] && echo native || echo off)" --host-packets off --host-sockets off
        fi
        echo "$way IPv4 $(flood "$to4" 10.0.250.2)"
        echo "$way IPv6 $(flood "$to6" '[fd00:78:250::2]')"
        if [[ $way == nftables ]]; then
            kube_proxy off
        else
            stop_agent
            nsenter --net="/run/netns/$(node_ns 1)" "$build/userspace/agent/svclb-agent" "${agent_source[@]}" \
                --state-dir "$run/state1" --bpf-dir "$(bpf_dir 1)" --cleanup >/dev/null
        fi
    done
done | tee "$run/figures" >&2

awk -v ways_text="$ways" -v base=$base -v column=$column '
    { n = ++count[$2, $1]; v[$2, $1, n] = $column; if ($column > best[$2, $1]) best[$2, $1] = $column }
    function median(key,   n, i, j, t, s) {
        n = count[key]
        for (i = 1; i <= n; i++) s[i] = v[key, i]
        for (i = 2; i <= n; i++) for (j = i; j > 1 && s[j] < s[j-1]; j--) { t = s[j]; s[j] = s[j-1]; s[j-1] = t }
        return s[int((n + 1) / 2)]
    }
    END {
        printf "%-6s %-10s %12s %12s %20s %22s\n", "", "way", "best, 1/s", "median, 1/s", "best / " base, "median / " base
        for (family = 4; family <= 6; family += 2) {
            f = "IPv" family
            last = split(ways_text, order, " ")
            for (i = 1; i <= last; i++) {
                w = order[i]
                printf "%-6s %-10s %12.0f %12.0f %20.2f %22.2f\n", f, w, best[f, w], median(f SUBSEP w), \
                    best[f, w] / best[f, base], median(f SUBSEP w) / median(f SUBSEP base)
            }
        }
    }' "$run/figures"
