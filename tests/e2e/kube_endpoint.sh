#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# A node whose kubeconfig leads to the API server's ClusterIP, which nobody translates for the node itself: with
# --api-endpoint it boots, and Pods reach the API server before the agent does.
set -euo pipefail
. "$(dirname "$0")/../harness/kube.sh"

harness_begin kube_endpoint
kube_cluster 1
api_host=10.96.0.1 kubeconfig "tokenFile: $api/token"
agent_said() { grep -qE "$1" "$run/agent1.log"; }
kubernetes_is() { # JQ-EXPRESSION over the Service's port
    ctl get services -o json | jq -e ".items[] | select(.name == \"kubernetes\") | $1" >/dev/null
}
seeded='(.frontends | map(.port) == [6443]) and (.backends | map(.address) == ["192.0.2.1", "10.244.1.1"] or
    map(.address) == ["10.244.1.1", "192.0.2.1"])'
answers() { pod_exec client curl -sS --max-time 20 --cacert "$api/ca.crt" -o "$run/answer" "https://10.96.0.1:$1/livez"; }

say "the API server is away: what the seed says is programmed, and nothing else"
kube accept false >/dev/null
kube drop >/dev/null
# The second one is there, the first is tried and given up.
launch_agent 1 --api-endpoint 192.0.2.1:6443 --api-endpoint "$api4:6443"
check "the API server's own Service is there" await 10 kubernetes_is "$seeded"
check "no sync is claimed" eval "ctl status -o json | jq -e '.lastSync == \"\" and .complete == false' >/dev/null"
check "it says what it waits for" await 20 agent_said 'serving'

say "it is there"
kube accept true >/dev/null
check "the agent connects to an endpoint, not to the ClusterIP" await 60 agent_synced 1
check "the real slices take the seed's place" await 5 kubernetes_is '(.frontends | map(.port) | unique == [443]) and
    (.backends | map(.address) == ["10.244.1.1", "fd00:10:244:1::1"])'
check "Pods reach it through the ClusterIP" answers 443
check "other Services work" holds "$(load_in client "$web4" --connections 50)" '.failed == 0'
check "desired and programmed state agree" ctl verify
kube_end
