# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
# netns.sh with a scripted API server, to source instead of it: kube_start puts the server on node 1; `service` and
# `endpoints` change objects there, and start_agent follows it.
#   harness_begin NAME; kube_cluster 3; start_agent; kube fault '{"status": 500}'; endpoints ...; kube_end

# shellcheck source=tests/harness/netns.sh
. "$(dirname "${BASH_SOURCE[0]}")/netns.sh"

# kube_start OPTION...: what every cluster has is there: the API's own Service, the Node, the ServiceCIDR.
# shellcheck disable=SC2034 # agent_source and the addresses are for those who source this
kube_start() {
    api=$run/api
    api4=10.244.1.1 api6=fd00:10:244:1::1
    mkdir -p "$api"
    nsenter --net="/run/netns/$(node_ns 1)" "$harness_top/tests/harness/api_server.py" serve "$api" \
        --address "$api4" --address "$api6" --address 10.96.0.1 --address fd00:10:96::1 "$@" >"$run/api.log" 2>&1 &
    API_PID=$!
    await 10 grep -q ready "$run/api.log" || { cat "$run/api.log" && return 1; }
    kubeconfig "tokenFile: $api/token"
    agent_source=(--kubeconfig "$run/kubeconfig")
    kube apply - <<'YAML' >/dev/null
apiVersion: v1
kind: Service
metadata: {name: kubernetes, namespace: default, labels: {component: apiserver, provider: kubernetes}}
spec:
  clusterIP: 10.96.0.1
  clusterIPs: ["10.96.0.1", "fd00:10:96::1"]
  ipFamilies: [IPv4, IPv6]
  ports: [{name: https, port: 443, protocol: TCP, targetPort: 6443}]
---
apiVersion: v1
kind: Node
metadata: {name: node-1, labels: {topology.kubernetes.io/zone: zone-a}}
status: {addresses: [{type: InternalIP, address: 10.244.1.1}]}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: kubernetes}
spec: {cidrs: [10.96.0.0/16, "fd00:10:96::/112"]}
YAML
    kube_own_endpoints "$api4" "$api6"
}

# kube_own_endpoints [IPV4 IPV6]: where the API server says that it is; nowhere without.
kube_own_endpoints() {
    local family=IPv4 address
    for address in "${1:-}" "${2:-}"; do
        printf -- '---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: kubernetes-%s\n' "${family,,}"
        printf '  namespace: default\n  labels: {kubernetes.io/service-name: kubernetes}\naddressType: %s\n' "$family"
        printf 'ports: [{name: https, port: 6443, protocol: TCP}]\n'
        printf 'endpoints: [%s]\n' "${address:+{addresses: [\"$address\"], conditions: {ready: true\}\}}"
        family=IPv6
    done | kube apply - >/dev/null
}

# kube COMMAND [ARGUMENT]: see api_server.py.
kube() { /usr/bin/python3 "$harness_top/tests/harness/api_server.py" ctl "$api" "$@"; }

# kube_asked EXPRESSION: whether jq says so of the requests since the last `kube requests true`.
kube_asked() { kube requests | jq -e "$1" >/dev/null; }

kube_watched() { kube stats | jq -e '.watchers | .services == 1 and .endpointslices == 1' >/dev/null; }

# kubeconfig CREDENTIALS [CLUSTER]: the lines of YAML below "user" and more of those below "cluster". $api_host, where
# it is set, is the server's address.
kubeconfig() {
    cat >"$run/.kubeconfig" <<YAML
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: scripted, user: node}}]
clusters:
- name: scripted
  cluster:
    server: https://${api_host:-$api4}:6443
    certificate-authority: $api/ca.crt
    ${2:-}
users:
- name: node
  user:
    $1
YAML
    mv "$run/.kubeconfig" "$run/kubeconfig"
}

# In the place of netns.sh's: the same YAML, to the API server.
manifest() { kube apply - >"$run/$1.applied"; }

# web_objects POD...: the Service web with these backends, as web_cluster makes it.
web_objects() {
    service web 10.96.0.10 fd00:10:96::10 tcp:80:TCP udp:80:UDP
    endpoints web "$web_ports" "$@"
}

# kube_cluster BACKENDS OPTION...: web_cluster on an API server.
kube_cluster() {
    local i backends=$1 pods=()
    shift
    cluster_up
    pod_add client
    for ((i = 1; i <= backends; i++)); do
        pod_add "b$i"
        pod_serve "b$i" 8080
        pods+=("b$i")
    done
    kube_start "$@"
    web_objects "${pods[@]}"
}

# ---------------------------------------------------------------- traffic that goes on while things happen

# traffic_begin: TCP over IPv4 and UDP over IPv6 to web without a pause, and 50 held connections in each family.
traffic_begin() {
    # Not by load_in: the process in the background has to be the load itself, which tells its figures when it is ended.
    local load=(nsenter --net="/run/netns/$(pod_ns client)" "$tools/connect_load")
    "${load[@]}" "$web4" --seconds 1100 --bye --rate 300 >"$run/traffic4.json" &
    traffic4=$!
    "${load[@]}" "$web6" --seconds 1100 --udp --rate 300 >"$run/traffic6.json" &
    traffic6=$!
    hold_begin v4 client "$web4" 50
    hold_begin v6 client "$web6" 50
}

# traffic_end: the checks that none of it was lost.
traffic_end() {
    kill "$traffic4" "$traffic6"
    wait "$traffic4" "$traffic6" 2>/dev/null || true
    check "no TCP request failed" holds "$(cat "$run/traffic4.json")" '.failed == 0 and .ok > 100'
    check "no UDP request failed" holds "$(cat "$run/traffic6.json")" '.failed == 0 and .ok > 100'
    check "every open IPv4 connection lives" holds "$(hold_ask v4)" '.ok == 50'
    check "every open IPv6 connection lives" holds "$(hold_ask v6)" '.ok == 50'
}

# ---------------------------------------------------------------- "nothing else was written"

# beacon_cycle: a Service of its own, whose one endpoint turns not ready and ready again; prints how many rows the agent
# wrote meanwhile. In a quiet cluster that is always the same number, so that any other is what somebody else's events
# made it write. And events keep their order: when the cycle is seen, whatever the stream brought before is applied.
beacon_cycle() {
    local before pod=${1:-b1}
    before=$(ctl status -o json | jq .writes)
    beacon_set "$pod" false notReady && beacon_set "$pod" true ready || return
    echo $(($(ctl status -o json | jq .writes) - before))
}

beacon_set() { # POD READY STATE
    kube apply '[{"kind": "EndpointSlice", "metadata": {"name": "beacon", "namespace": "default",
        "labels": {"kubernetes.io/service-name": "beacon"}}, "addressType": "IPv4",
        "ports": [{"name": "tcp", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["'"${POD_IP4[$1]}"'"], "conditions": {"ready": '"$2"'}}]}]' >/dev/null
    await 30 beacon_state "$3"
}

beacon_state() {
    ctl get services -o json | jq -e --arg state "$1" 'any(.items[] | select(.name == "beacon") | .backends[]; .state == $state)'
}

# beacon_begin: makes the Service and learns what a cycle costs.
beacon_begin() {
    kube apply '{"kind": "Service", "metadata": {"name": "beacon", "namespace": "default"}, "spec":
        {"clusterIP": "10.96.0.99", "ports": [{"name": "tcp", "port": 80, "protocol": "TCP"}]}}' >/dev/null
    beacon_set b1 true ready
    beacon_cycle >/dev/null
    beacon_cost=$(beacon_cycle)
}

# nothing_else_written: whether a cycle costs what it always does, counted from $1 writes before.
writes_now() { ctl status -o json | jq .writes; }
only_beacon_since() { # WRITES
    beacon_cycle >/dev/null || { echo "  the beacon was not seen" && return 1; }
    local written=$(($(writes_now) - $1))
    ((written == beacon_cost)) || { echo "  $written rows written instead of the beacon's $beacon_cost" && return 1; }
}

# kube_end: harness_end, and the server itself must have been sound.
kube_end() {
    check "the scripted server met no error of its own" test "$(cat "$run/api.log")" = ready
    harness_end
}
