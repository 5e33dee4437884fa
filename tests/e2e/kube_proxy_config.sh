#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# kube-proxy's own ConfigMap, as kubeadm writes it, starts the agent: only the kubeconfig's path is this test's. With it
# goes what the health and metrics servers say of an API server: the Node, watches, changes that arrive and their delays.
set -euo pipefail
. "$(dirname "$0")/../harness/kube.sh"

harness_begin kube_proxy_config
kube_cluster 2
sed "s|kubeconfig: .*|kubeconfig: $run/kubeconfig|" "$harness_top/tests/data/kubeadm-kube-proxy.yaml" >"$run/config.conf"
agent_source=(--config "$run/config.conf")
start_agent

agent_said() { grep -q "$1" "$run/agent1.log"; }
status_is() { [[ $(node_exec curl -sS --max-time 20 -o "$run/body" -w '%{http_code}' "http://127.0.0.1:$1") == "$2" ]] || { cat "$run/body" && return 1; }; }
scrape() { node_exec curl -sS --max-time 20 http://127.0.0.1:10249/metrics; }
sample() { scrape | awk -v name="$1" 'index($0, name " ") == 1 { printf "%.0f", $NF }'; }
sample_is() { [[ $(sample "$1") == "$2" ]] || { echo "  $1: $(sample "$1")" && return 1; }; }
sample_over() { (($(sample "$1") > $2)) || { echo "  $1: $(sample "$1")" && return 1; }; }

check "what has no meaning here is named once" agent_said 'fields without a meaning here: mode$'
for to in "$web4" "$web6"; do
    check "web answers at $to" holds "$(load_in client "$to" --connections 50)" '.failed == 0 and (.backends | length) == 2'
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
