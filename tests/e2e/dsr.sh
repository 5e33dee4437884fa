#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Direct server return: a client outside dials an external address at node 1, the backend is on node 2. The backend sees
# the client, its answers pass node 1 by, and nothing established ends when the annotation comes or goes.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"
. "$(dirname "$0")/../harness/outside.sh"

# exposed NAME NUMBER BACKEND-PORT POD...: 192.0.2.NUMBER and 2001:db8::NUMBER as external addresses, 192.0.2.1NUMBER and
# 2001:db8::1NUMBER as a load balancer's, port 80; node port 300NUMBER. mode=WORD: how it is forwarded.
exposed() {
    local name=$1 number=$2 port=$3 address
    shift 3
    {
        printf 'apiVersion: v1\nkind: Service\nmetadata:\n  name: %s\n  namespace: default\n' "$name"
        printf '  annotations: {svclb.io/forwarding-mode: %s}\nspec:\n  type: LoadBalancer\n' "${mode:-dsr}"
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

# seen ADDRESS:PORT [--udp]: whom the backend sees where the client outside dials.
seen() {
    pod_exec outside python3 "$harness_top/tests/e2e/tools/ask.py" --timeout 3 "${@:2}" "$1" "$source" | awk '{ print $2 }'
}

# is_direct NODE NAME: the node's external frontends of the Service are marked, its node ports are not.
is_direct() {
    ctl -n "$1" get services "default/$2" -o json | jq -e '[.items[].frontends[]] | length > 0 and
        all(.dsr == (.kind == "externalIP" or .kind == "loadBalancer"))'
}
is_not_direct() { ctl -n "$1" get services "default/$2" -o json | jq -e '[.items[].frontends[].dsr] | any | not'; }

harness_begin dsr
cluster_up 2
outside_up
for node in 1 2; do
    pod_add "b$node" $node
    pod_serve "b$node" 8080
    nsenter --net="/run/netns/$(pod_ns "b$node")" python3 "$harness_top/tests/e2e/tools/peer_name.py" 9090 >"$run/peer$node" &
    await 10 grep -q ready "$run/peer$node"
done
exposed here 81 9090 b1
exposed there 82 9090 b2
exposed both 83 8080 b1 b2
mode=snat exposed other 84 9090 b2
for node in 1 2; do
    start_agent -n $node --node-ip "10.0.20$node.2,fd00:78:20$node::2"
done
check "the frontends are marked" is_direct 1 there
check "on the other node as well" is_direct 2 there
check "without the annotation they are not" is_not_direct 1 other

for family in 4 6; do
    if [[ $family == 4 ]]; then
        source=$outside4 node=10.0.201.2 external=192.0.2. bracket='' end=''
    else
        source=[$outside6] node=fd00:78:201::2 external=2001:db8:: bracket='[' end=']'
    fi
    client=${source//[\[\]]/}
    say "IPv$family"
    for udp in "" --udp; do
        # shellcheck disable=SC2086 # no option where there is none
        {
            for at in "$external" "${external}1"; do
                check "the backend of ${at}82 on the other node sees the client $udp" \
                    test "$(seen "$bracket${at}82$end:80" $udp)" = "$client"
                check "the one of ${at}81 here as well $udp" test "$(seen "$bracket${at}81$end:80" $udp)" = "$client"
                check "that of ${at}84 sees the node $udp" test "$(seen "$bracket${at}84$end:80" $udp)" = "$node"
            done
            check "a node port's sees the node $udp" test "$(seen "$bracket$node$end:30082" $udp)" = "$node"
        }
    done
done
harness_end
