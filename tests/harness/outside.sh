# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash disable=SC2154 # names of netns.sh
# To source behind netns.sh: nodes and a client outside, the pod "outside", meet at a router. Link N has the addresses
# 10.0.N.0/24 and fd00:78:N::/64, the router .1 and the other end .2; node I has link 20I, the client 250.

# shellcheck disable=SC2034 # for the scripts that source this
outside4=10.0.250.2 outside6=fd00:78:250::2

# routed NAMESPACE DEVICE NUMBER: one link to the router.
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

# outside_up: the router leads 192.0.2.0/24, 2001:db8::/64 and the ClusterIPs to node 1.
outside_up() {
    local router=$prefix-router node other
    harness_namespace "$router"
    nsenter --net="/run/netns/$router" sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
        net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
    for ((node = 1; node <= nodes; node++)); do
        for ((other = 1; other < node; other++)); do
            ip -n "$(node_ns $node)" link delete "to-node$other"
        done
        routed "$(node_ns $node)" uplink "20$node"
        ip -n "$router" route add "10.244.$node.0/24" via "10.0.20$node.2"
        ip -n "$router" -6 route add "fd00:10:244:$node::/64" via "fd00:78:20$node::2"
    done
    harness_namespace "$(pod_ns outside)"
    routed "$(pod_ns outside)" eth0 250
    external_by 1
}

# external_by NODE: who is asked for external addresses from now on.
external_by() {
    ip -n "$prefix-router" route replace 192.0.2.0/24 via "10.0.20$1.2"
    ip -n "$prefix-router" route replace 10.96.0.0/16 via "10.0.20$1.2"
    ip -n "$prefix-router" -6 route replace 2001:db8::/64 via "fd00:78:20$1::2"
    ip -n "$prefix-router" -6 route replace fd00:10:96::/112 via "fd00:78:20$1::2"
}

# exposed NAME NUMBER BACKEND-PORT POLICY POD...: node ports 300NUMBER, 192.0.2.NUMBER and 2001:db8::NUMBER as external,
# 192.0.2.1NUMBER and 2001:db8::1NUMBER as load-balancer addresses; port 80. `annotation`: "KEY: VALUE", `internal_policy`,
# `protocols`: by default "TCP UDP".
exposed() {
    local name=$1 number=$2 port=$3 policy=$4 address protocol ports=''
    shift 4
    for protocol in ${protocols:-TCP UDP}; do ports+="${protocol,,}:$port:$protocol "; done
    {
        printf 'apiVersion: v1\nkind: Service\nmetadata:\n  name: %s\n  namespace: default\n' "$name"
        printf '  annotations: {%s}\nspec:\n' "${annotation:-}"
        printf '  type: LoadBalancer\n  externalTrafficPolicy: %s\n  internalTrafficPolicy: %s\n' "$policy" \
            "${internal_policy:-Cluster}"
        printf '  clusterIP: 10.96.0.%s\n  clusterIPs: [10.96.0.%s, "fd00:10:96::%s"]\n' "$number" "$number" "$number"
        printf '  ipFamilies: [IPv4, IPv6]\n  externalIPs: [192.0.2.%s, "2001:db8::%s"]\n  ports:\n' "$number" "$number"
        for protocol in ${protocols:-TCP UDP}; do
            printf '    - {name: %s, port: 80, protocol: %s, nodePort: 300%s}\n' "${protocol,,}" "$protocol" "$number"
        done
        printf 'status:\n  loadBalancer:\n    ingress:\n'
        for address in "192.0.2.1$number" "2001:db8::1$number"; do
            printf '      - {ip: "%s", ipMode: VIP}\n' "$address"
        done
    } | manifest "$name.service.yaml"
    endpoints "$name" "$ports" "$@"
}

# node_is IPV4 IPV6: the InternalIPs of node 1, as its Node object tells them.
node_is() {
    manifest node.yaml <<EOF
apiVersion: v1
kind: Node
metadata: {name: node-1}
status:
  addresses: [{type: InternalIP, address: $1}, {type: InternalIP, address: "$2"}]
EOF
}
