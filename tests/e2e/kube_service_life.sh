#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# What a Service of an API server goes through while it lives: types, ports, protocols, families, policies, addresses and
# conditions of its endpoints, dialled by a pod and by the node after each change. And one UDP client for each way in that
# keeps its source port throughout: it is led to whatever serves now.
set -euo pipefail
. "$(dirname "$0")/../harness/kube.sh"

harness_begin kube_service_life
cluster_up 3
pod_add client
pod_add b1
pod_add b2 2
pod_serve b1 8080 8081
pod_serve b2 8080 8081
kube_start
node4=10.244.1.1 node6=fd00:10:244:1::1
own_node() { # ZONE
    kube apply - <<YAML >/dev/null
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {topology.kubernetes.io/zone: $1}}
status: {addresses: [{type: InternalIP, address: $node4}, {type: ExternalIP, address: "$node6"}]}
YAML
}
own_node zone-a
start_agent

# life SPEC [STATUS]: the Service, in YAML's flow style.
life() { kube apply - <<<"{kind: Service, metadata: {name: life, namespace: default}, spec: {$1}, status: {${2:-}}}" >/dev/null; }
# ends FAMILY PORTS [ENDPOINT...]: the slice of the family, likewise.
ends() {
    local family=$1 ports=$2 all
    shift 2
    all=$(printf '{%s},' "$@")
    (($#)) || all=
    kube apply - <<<"{kind: EndpointSlice, metadata: {name: life-${family,,}, namespace: default,
        labels: {kubernetes.io/service-name: life}}, addressType: $family, ports: [$ports], endpoints: [${all%,}]}" >/dev/null
}
one4="addresses: [${POD_IP4[b1]}], nodeName: node-1" two4="addresses: [${POD_IP4[b2]}], nodeName: node-2"
one6="addresses: ['${POD_IP6[b1]}'], nodeName: node-1" two6="addresses: ['${POD_IP6[b2]}'], nodeName: node-2"
v4='clusterIP: 10.96.0.51, clusterIPs: [10.96.0.51], ipFamilies: [IPv4]'
dual='clusterIP: 10.96.0.51, clusterIPs: [10.96.0.51, "fd00:10:96::51"], ipFamilies: [IPv4, IPv6]'
v6='clusterIP: "fd00:10:96::51", clusterIPs: ["fd00:10:96::51"], ipFamilies: [IPv6]'
unnamed='{name: "", port: 8080, protocol: TCP}'
named='{name: t, port: 8080, protocol: TCP}, {name: u, port: 8081, protocol: UDP}'
ports='ports: [{name: t, port: 81, protocol: TCP}, {name: u, port: 81, protocol: UDP}]'
node_ports='ports: [{name: t, port: 81, protocol: TCP, nodePort: 30090}, {name: u, port: 81, protocol: UDP, nodePort: 30090}]'

# answers WANT BY TO [OPTION]: the backends that answer the pod client or the node; "" for nobody.
answers() {
    local by=(load_in client)
    [[ $2 != node ]] || by=(node_exec "$tools/connect_load")
    { "${by[@]}" "$3" --connections 30 --concurrency 30 --timeout-ms 2000 "${@:4}" || true; } |
        jq -e --arg want "$1" '(.backends | keys | join(" ")) == $want and (.failed == 0 or $want == "")' >/dev/null
}
# after WHAT WANT TO [OPTION]: what both are answered.
after() {
    local by
    for by in pod node; do
        check "$1: ${2:-nobody} answers the $by at $3 ${4:-}" await 10 answers "$2" "$by" "${@:3}"
    done
}

say "types and ports"
ends IPv4 "$unnamed" "$one4" "$two4"
life 'type: ExternalName, externalName: example.org'
life "type: ClusterIP, $v4, ports: [{port: 80, protocol: TCP}]"
after "ExternalName to ClusterIP" "b1 b2" 10.96.0.51:80
life "type: NodePort, $v4, ports: [{port: 80, protocol: TCP, nodePort: 30080}]"
after "to NodePort" "b1 b2" $node4:30080
life "type: NodePort, $v4, ports: [{port: 80, protocol: TCP, nodePort: 30081}]"
after "another node port" "b1 b2" $node4:30081
after "the former one" "" $node4:30080
life "type: NodePort, $v4, externalTrafficPolicy: Local, internalTrafficPolicy: Local, ports: [{port: 80, protocol: TCP, nodePort: 30081}]"
after "policy Local" b1 10.96.0.51:80
after "round a Local policy" "b1 b2" $node4:30081
life "type: ClusterIP, $v4, $ports"
after "another port, whose name no slice has" "" 10.96.0.51:81
after "the former port" "" 10.96.0.51:80
after "the former node port" "" $node4:30081
ends IPv4 "$named" "$one4" "$two4"
after "one number in two protocols" "b1 b2" 10.96.0.51:81
after "one number in two protocols" "b1 b2" 10.96.0.51:81 --udp
life "type: ExternalName, externalName: example.org, clusterIP: 10.96.0.51, clusterIPs: [10.96.0.51], $ports"
after "ExternalName with an address left over" "" 10.96.0.51:81

say "families"
life "type: NodePort, $dual, $node_ports"
after "a second family without slices" "" '[fd00:10:96::51]:81'
ends IPv6 "$named" "$one6" "$two6"
after "with slices" "b1 b2" '[fd00:10:96::51]:81' --udp
after "at the node's ExternalIP, for it has no InternalIP of the family" "b1 b2" "[$node6]:30090"
life "type: NodePort, $v6, $node_ports"
after "the second one alone" "b1 b2" '[fd00:10:96::51]:81'
after "the first one's address" "" 10.96.0.51:81
after "the first one's node port" "" $node4:30090

say "a load balancer"
balanced="type: LoadBalancer, $dual, $node_ports"
life "$balanced" 'loadBalancer: {ingress: [{ip: 198.51.100.7, ipMode: VIP}]}'
after "its address" "b1 b2" 198.51.100.7:81
life "$balanced" 'loadBalancer: {ingress: [{ip: 198.51.100.7, ipMode: Proxy}]}'
check "mode Proxy: nobody answers there" await 10 answers "" pod 198.51.100.7:81
life "$balanced, loadBalancerSourceRanges: [203.0.113.0/24]" 'loadBalancer: {ingress: [{ip: 198.51.100.7}]}'
after "for others only" "" 198.51.100.7:81
after "which is no matter of node ports" "b1 b2" $node4:30090
life "$balanced, loadBalancerSourceRanges: ['${POD_IP4[client]}/32', $node4/32], externalIPs: [203.0.113.9]" \
    'loadBalancer: {ingress: [{hostname: a.example.org}, {ip: 198.51.100.7}]}'
after "in the range" "b1 b2" 198.51.100.7:81
after "an external address" "b1 b2" 203.0.113.9:81 --udp

say "endpoints"
life "type: ClusterIP, $dual, $ports"
ends IPv4 "$named" "$one4, conditions: {ready: false, serving: true, terminating: true}" "$two4, conditions: {serving: false}"
after "ready without serving, beside one that ends" b2 10.96.0.51:81
ends IPv4 "$named" "$one4, conditions: {ready: false, terminating: true}" "$two4, conditions: {ready: false, serving: false}"
after "only one that ends" b1 10.96.0.51:81
ends IPv4 "{port: 8080}, {name: t}, {name: t, port: 8081}, {name: u, port: 8081}" "$one4" "$two4"
after "ports without name, number or protocol" "b1 b2" 10.96.0.51:81
after "a port of another protocol" "" 10.96.0.51:81 --udp
ends IPv4 "" "$one4"
after "a slice without ports" "" 10.96.0.51:81
ends IPv4 "$named" "$one4, hints: {forZones: [{name: zone-a}]}" "$two4, hints: {forZones: [{name: zone-b}]}"
after "the node's zone" b1 10.96.0.51:81
own_node zone-b
after "another zone" b2 10.96.0.51:81
ends IPv4 "$named" "$one4, hints: {forZones: [{name: zone-a}], forNodes: [{name: node-1}]}" \
    "$two4, hints: {forZones: [{name: zone-b}], forNodes: [{name: node-2}]}"
after "the node goes before the zone" b1 10.96.0.51:81
ends FQDN "$named" 'addresses: [a.example.org]'
after "names are no addresses" b1 10.96.0.51:81

say "UDP from one source port"
node_exec -n 3 ip route add 198.51.100.7/32 via 10.0.113.1
ways=("client --udp 10.96.0.51:81 0.0.0.0:12345" "client --unconnected [fd00:10:96::51]:81 [::]:12346"
    "client --udp $node4:30090 0.0.0.0:12347" "node1 --udp 10.96.0.51:81 0.0.0.0:12345"
    "node1 --unconnected $node4:30090 0.0.0.0:12346" "node3 --unconnected $node4:30090 0.0.0.0:12345"
    "node3 --unconnected [$node6]:30090 [::]:12346" "node3 --udp 198.51.100.7:81 0.0.0.0:12347")
told() { # WANT BY OPTION TO SOURCE
    local within=(pod_exec client)
    [[ $2 == client ]] || within=(node_exec -n "${2#node}")
    [[ $("${within[@]}" /usr/bin/python3 "$harness_top/tests/e2e/tools/ask.py" "$3" --timeout 2 "$4" "$5") == "$5 $1 "* ]]
}
untold() { ! told b1 "$@" && ! told b2 "$@"; }
all_told() { # WHAT WANT
    local way by option to source
    for way in "${ways[@]}"; do
        read -r by option to source <<<"$way"
        check "$1: $way" await 10 told "$2" "$by" "$option" "$to" "$source"
    done
}
both() { ends IPv4 "$1" ${2:+"$2"} && ends IPv6 "$1" ${3:+"$3"}; }
life "$balanced" 'loadBalancer: {ingress: [{ip: 198.51.100.7}]}'
both "$named"
for way in "${ways[@]}"; do
    read -r by option to source <<<"$way"
    check "without an endpoint nobody answers: $way" await 10 untold "$by" "$option" "$to" "$source"
done
both "$named" "$one4" "$one6"
all_told "the first endpoint" b1
both "$named"
both "$named" "$two4" "$two6"
all_told "another one" b2
both "${named/8081/8080}" "$one4" "$one6"
all_told "the first one again, at another port" b1

check "desired and programmed state agree" ctl verify
harness_end
