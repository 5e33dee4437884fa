#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# A Service whose only endpoint is a process on the network of node 1 (as the API server's own is): from pods of that node
# and of another one, from both nodes, and by the node ports of both.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin host_backend
cluster_up 2
for node in 1 2; do
    pod_add "client$node" $node
done
nsenter --net="/run/netns/$(node_ns 1)" "$tools/pod_server" host 8080 >"$run/host.server" 2>&1 &
await 5 grep -q ready "$run/host.server"
POD_IP4[host]=10.0.112.1 POD_IP6[host]=fd00:77:12::1 POD_NODE[host]=1
{
    printf 'apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\nspec:\n  type: NodePort\n'
    printf '  clusterIP: 10.96.0.10\n  clusterIPs: [10.96.0.10, "fd00:10:96::10"]\n  ipFamilies: [IPv4, IPv6]\n  ports:\n'
    printf '    - {name: tcp, port: 80, protocol: TCP, nodePort: 30010}\n'
    printf '    - {name: udp, port: 80, protocol: UDP, nodePort: 30010}\n'
} | manifest web.service.yaml
endpoints web "$web_ports" host
for node in 1 2; do
    start_agent -n $node --node-ip "10.0.112.$node,fd00:77:12::$node"
done

# answered FROM TO [--udp]: FROM is client1, client2, node1 or node2.
answered() {
    local from=(pod_exec "$1")
    [[ $1 != node* ]] || from=(node_exec -n "${1#node}")
    holds "$("${from[@]}" "$tools/connect_load" "$2" --connections 10 "${@:3}")" '.failed == 0 and .backends == {host: 10}'
}
for udp in "" --udp; do
    for from in client1 client2 node1 node2; do
        for to in "$web4" "$web6" 10.0.112.1:30010 10.0.112.2:30010 "[fd00:77:12::1]:30010" "[fd00:77:12::2]:30010"; do
            # shellcheck disable=SC2086 # no option where there is none
            check "$from gets an answer of $to $udp" answered $from "$to" $udp
        done
    done
done
harness_end
