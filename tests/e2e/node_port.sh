#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# From outside the cluster, behind a router, to node ports, an external address and a load-balancer address: backends on
# the node that is dialled see the client, those elsewhere see the node. Established connections and load outlive the
# agent.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

client4=10.0.250.2 client6=fd00:78:250::2

# routed NAMESPACE DEVICE NUMBER: one link to the router, which has the address .1 on it.
routed() {
    local router=$prefix-router
    ip link add "$2" netns "$1" type veth peer name "link$3" netns "$router"
    ip -n "$router" address add "10.0.$3.1/24" dev "link$3"
    ip -n "$router" address add "fd00:78:$3::1/64" dev "link$3" nodad
    ip -n "$router" link set "link$3" up
    ip -n "$1" address add "10.0.$3.2/24" dev "$2"
    ip -n "$1" address add "fd00:78:$3::2/64" dev "$2" nodad
    ip -n "$1" link set "$2" up
    ip -n "$1" route add default via "10.0.$3.1"
    ip -n "$1" -6 route add default via "fd00:78:$3::1"
}

# Nodes, and the client outside, meet at a router; it leads the external addresses to node 1.
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
    for to in 192.0.2.0/24 10.96.0.0/16; do
        ip -n "$router" route add "$to" via 10.0.201.2
    done
    for to in 2001:db8::/64 fd00:10:96::/112; do
        ip -n "$router" -6 route add "$to" via fd00:78:201::2
    done
}

# exposed NAME NUMBER BACKEND-PORT POLICY POD...: node ports 3NUMBER (TCP, UDP), 192.0.2.NUMBER and 2001:db8::NUMBER as
# external, 192.0.2.1NUMBER and 2001:db8::1NUMBER as load-balancer addresses; port 80.
exposed() {
    local name=$1 number=$2 port=$3 policy=$4 address
    shift 4
    {
        printf 'apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: default}\nspec:\n' "$name"
        printf '  type: LoadBalancer\n  externalTrafficPolicy: %s\n' "$policy"
        printf '  clusterIP: 10.96.0.%s\n  clusterIPs: [10.96.0.%s, "fd00:10:96::%s"]\n' "$number" "$number" "$number"
        printf '  ipFamilies: [IPv4, IPv6]\n  externalIPs: [192.0.2.%s, "2001:db8::%s"]\n  ports:\n' "$number" "$number"
        printf '    - {name: tcp, port: 80, protocol: TCP, nodePort: 300%s}\n' "$number"
        printf '    - {name: udp, port: 80, protocol: UDP, nodePort: 300%s}\n' "$number"
        printf 'status:\n  loadBalancer:\n    ingress:\n'
        for address in "192.0.2.1$number" "2001:db8::1$number"; do
            printf '      - {ip: "%s", ipMode: VIP}\n' "$address"
        done
    } | manifest "$name.service.yaml"
    endpoints "$name" "tcp:$port:TCP udp:$port:UDP" "$@"
}

# seen ADDRESS:PORT [--udp]: whom the backend sees.
seen() { pod_exec outside python3 "$harness_top/tests/e2e/tools/ask.py" --timeout 3 "${@:2}" "$1" "$source" | awk '{ print $2 }'; }

dropped_for() { # REASON
    ctl status -o json | jq --arg words "$1" '[.drops[] | select(.reason == $words) | .packets] | add // 0'
}

harness_begin node_port
cluster_up 2
outside_up
for node in 1 2; do
    pod_add "b$node" $node
    pod_serve "b$node" 8080
    nsenter --net="/run/netns/$(pod_ns "b$node")" python3 "$harness_top/tests/e2e/tools/peer_name.py" 9090 >"$run/peer$node" &
    await 10 grep -q ready "$run/peer$node"
done
exposed here 81 9090 Cluster b1
exposed there 82 9090 Cluster b2
exposed both 83 8080 Cluster b1 b2
exposed local 84 9090 Local b1
exposed nowhere 85 9090 Local b2
exposed empty 86 9090 Cluster
for node in 1 2; do
    start_agent -n $node --node-ip "10.0.20$node.2,fd00:78:20$node::2"
done

check "the uplink is attached in both directions" holds "$(ctl get links -o json)" \
    '.items[] | select(.name == "uplink") | .kind == "uplink" and ([.hooks[].hook] == ["tc ingress", "tc egress"])'

for family in 4 6; do
    if [[ $family == 4 ]]; then
        source=$client4 node=10.0.201.2 external=192.0.2. bracket='' end=''
    else
        source=[$client6] node=fd00:78:201::2 external=2001:db8:: bracket='[' end=']'
    fi
    client=${source//[\[\]]/}
    say "IPv$family"
    for udp in "" --udp; do
        for kind in "$node 300" "$external 80" "${external}1 80"; do
            read -r address port <<<"$kind"
            for service in 81 82 84; do
                to=$bracket$address$service$end:$port
                [[ $address != "$node" ]] || to=$bracket$node$end:300$service
                expected=$client
                [[ $service != 82 ]] || expected=$node
                # shellcheck disable=SC2086 # no option where there is none
                check "the backend of $to $udp sees $expected" test "$(seen "$to" $udp)" = "$expected"
            done
        done
    done
    check "without backends a TCP client is refused" test "$(seen "$bracket$node$end:30086")" = ECONNREFUSED
    check "and a UDP client too" test "$(seen "$bracket$node$end:30086" --udp)" = ECONNREFUSED
    before=$(dropped_for NO_LOCAL_BACKEND_DROPPED)
    check "policy Local without a backend here is silent" test "$(seen "$bracket$node$end:30085" --timeout 0.5)" = TIMEOUT
    check "and counted" test "$(dropped_for NO_LOCAL_BACKEND_DROPPED)" -gt "$before"
done
before=$(dropped_for CLUSTER_IP_FROM_OUTSIDE)
source=$client4
check "a ClusterIP is not served to the outside" test "$(seen 10.96.0.81:80 --timeout 0.5)" = TIMEOUT
check "and counted" test "$(dropped_for CLUSTER_IP_FROM_OUTSIDE)" -gt "$before"

say "load, and an agent that is killed"
hold_begin v4 outside 10.0.201.2:30083 40
hold_begin v6 outside "[fd00:78:201::2]:30083" 40
load_in outside 192.0.2.83:80 --seconds 4 --rate 200 --bye >"$run/load4.json" &
load4=$!
load_in outside "[fd00:78:201::2]:30083" --seconds 4 --rate 200 --udp >"$run/load6.json" &
load6=$!
for round in 1 2; do
    sleep 0.5
    stop_agent KILL
    check "round $round: with the agent killed, new connections reach both backends" \
        holds "$(load_in outside 10.0.201.2:30083 --connections 200 --bye)" '.failed == 0 and (.backends | length) == 2'
    start_agent --node-ip 10.0.201.2,fd00:78:201::2
done
wait $load4 $load6 || true
check "no TCP request failed" holds "$(cat "$run/load4.json")" '.failed == 0 and .ok > 50'
check "no UDP request failed" holds "$(cat "$run/load6.json")" '.failed == 0 and .ok > 50'
check "every open IPv4 connection lives" holds "$(hold_ask v4)" '.ok == 40'
check "every open IPv6 connection lives" holds "$(hold_ask v6)" '.ok == 40'
endpoints both "tcp:8080:TCP udp:8080:UDP"
check "also without any endpoint" holds "$(hold_ask v4)" '.ok == 40'
check "desired and programmed state agree" ctl verify
harness_end
