#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# kube-proxy's own ConfigMap, as kubeadm writes it, starts the agent: only the kubeconfig's path, the mode and one field
# without a meaning are this test's. In the mode that is kubeadm's default node ports are on all addresses. With it
# goes what the health and metrics servers say of an API server: the Node, watches, changes that arrive and their delays.
set -euo pipefail
. "$(dirname "$0")/../harness/kube.sh"

harness_begin kube_proxy_config
kube_cluster 2
sed "s|kubeconfig: .*|kubeconfig: $run/kubeconfig|; s|^mode: .*|mode: \"\"|; s|enableProfiling: .*|enableProfiling: true|" \
    "$harness_top/tests/data/kubeadm-kube-proxy.yaml" >"$run/config.conf"
agent_source=(--config "$run/config.conf")
start_agent

reached() { holds "$(load_in client "$1" --connections 20 || true)" '.failed == 0 and (.backends | length) == 2'; }
agent_said() { grep -q "$1" "$run/agent1.log"; }
status_is() { [[ $(node_exec curl -sS --max-time 20 -o "$run/body" -w '%{http_code}' "http://127.0.0.1:$1") == "$2" ]] || { cat "$run/body" && return 1; }; }
scrape() { node_exec curl -sS --max-time 20 http://127.0.0.1:10249/metrics; }
sample() { scrape | awk -v name="$1" 'index($0, name " ") == 1 { printf "%.0f", $NF }'; }
sample_is() { [[ $(sample "$1") == "$2" ]] || { echo "  $1: $(sample "$1")" && return 1; }; }
sample_over() { (($(sample "$1") > $2)) || { echo "  $1: $(sample "$1")" && return 1; }; }

check "what has no meaning here is named once" agent_said 'fields without a meaning here: enableProfiling$'
for to in "$web4" "$web6"; do
    check "web answers at $to" holds "$(load_in client "$to" --connections 50)" '.failed == 0 and (.backends | length) == 2'
done

say "all addresses of the node"
node_exec ip address add 10.244.1.200/24 dev br0
kube apply - <<'YAML' >/dev/null
- apiVersion: v1
  kind: Service
  metadata: {name: everywhere, namespace: default}
  spec:
    type: LoadBalancer
    clusterIP: 10.96.0.77
    externalTrafficPolicy: Local
    healthCheckNodePort: 32077
    ports: [{name: tcp, port: 80, protocol: TCP, nodePort: 30077}]
YAML
endpoints everywhere tcp:8080:TCP b1 b2
for to in 10.244.1.1:30077 10.244.1.200:30077; do
    check "the node port answers at $to" await 5 reached "$to"
done
# By a route alone, as clouds give a balancer's address to its nodes.
node_exec ip route add local 198.51.100.77 dev lo
pod_exec client ip route add 198.51.100.77 via 10.244.1.1
health_at() { [[ $(pod_exec client curl -sg --max-time 5 -o /dev/null -w '%{http_code}' "http://$1:32077/") == 200 ]]; }
for at in 10.244.1.1 10.244.1.200 198.51.100.77; do
    check "so does the health check at $at" await 5 health_at "$at"
done

say "the Node"
node_object() { printf 'apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\nspec: {%s}\n' "$1" | kube apply - >/dev/null; }
check "a Node that stays is eligible" status_is 10256/healthz 200
node_object 'taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]'
check "one that the autoscaler is about to delete is not" await 5 status_is 10256/healthz 503
check "which is none of the kubelet's business" status_is 10256/livez 200
node_object ''
check "nor for good" await 5 status_is 10256/healthz 200
kube delete '[["Node", "", "node-1"]]' >/dev/null
check "one that is gone is not" await 5 status_is 10256/healthz 503

say "metrics"
scrape >"$run/metrics"
check "names, types, samples and buckets agree" /usr/bin/python3 "$harness_top/tests/harness/metrics_lint.py" "$run/metrics"
check "the source is connected" sample_is svclb_source_connected 1
check "so is each watch" sample_is 'svclb_watch_connected{resource="services"}' 1
check "bytes from the server are counted" sample_over svclb_source_received_bytes_total 1000
rest_client() { scrape | awk '/^rest_client_requests_total{/ && /code="200"/ && /method="GET"/ { n += $NF } END { exit n < 3 }'; }
check "so are its answers, as client-go counts them" rest_client
check "the first whole view has no delays" sample_is svclb_endpoint_programming_duration_seconds_count 0
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
kube apply - <<YAML >/dev/null
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: web-more
  namespace: default
  labels: {kubernetes.io/service-name: web}
  annotations: {endpoints.kubernetes.io/last-change-trigger-time: "$now"}
addressType: IPv6
ports: [{name: tcp, port: 8080, protocol: TCP}]
endpoints: [{addresses: ["fd00:10:244:1::77"], conditions: {ready: false}}]
YAML
check "a changed slice tells its delay" await 5 sample_is 'kubeproxy_network_programming_duration_seconds_count{ip_family="IPv6"}' 1
check "in its own family alone" sample_is 'kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"}' 0
check "and in fine buckets" sample_is svclb_endpoint_programming_duration_seconds_count 1
say "$(scrape | grep -E '^(svclb_event_programming_duration_seconds_(sum|count)|process_resident_memory_bytes|process_cpu_seconds_total)')"

kill -KILL "$API_PID"
wait "$API_PID" 2>/dev/null || true
check "an API server that is away shows" await 10 sample_is svclb_source_connected 0
check "and is no reason to restart the agent" status_is 10256/livez 200
harness_end
