#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# What load balancers, the kubelet and Prometheus are answered: the health and the metrics server, their addresses, and
# an address that somebody else has.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin health
web_cluster 2
start_agent

# ask PATH [OPTION...]: the body, then a line with status and type.
ask() { node_exec curl -sS -g --max-time 20 -w '\n%{http_code} %{content_type}\n' "${@:2}" "http://$1"; }
status_is() { [[ $(ask "$1" "${@:3}" | tail -n 1) == "$2"* ]] || { ask "$1" "${@:3}" && return 1; }; }
body_is() { ask "$1" | head -n -1 | jq -e "$2" >/dev/null || { ask "$1" && return 1; }; }
refuses() { ! node_exec curl -sS -g --max-time 20 "http://$1" 2>/dev/null; }
agent_said() { grep -q "$1" "$run/agent1.log"; }

say "health"
check "/healthz is 200 and JSON" status_is 127.0.0.1:10256/healthz "200 application/json"
check "it has kube-proxy's fields" body_is 127.0.0.1:10256/healthz '.nodeEligible and .healthy and .lastUpdated == .currentTime
    and .status.IPv4.healthy and .status.IPv6.healthy and .status.IPv4.lastUpdated != null'
check "/livez knows no Node" body_is 127.0.0.1:10256/livez '.healthy and has("nodeEligible") == false'
check "it is served to everybody, over IPv6 too" status_is '[::1]:10256/healthz' 200
check "whatever other path is 404" status_is 127.0.0.1:10256/metrics 404
check "nobody may post" status_is 127.0.0.1:10256/healthz 405 -d x
heads() { node_exec curl -sS --max-time 20 -D - -o /dev/null "http://$1"; }
check "types are not to be guessed" grep -qi '^x-content-type-options: nosniff' <(heads 127.0.0.1:10256/healthz)

node_object() { printf 'apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\nspec: {%s}\n' "$1" | manifest node.yaml; }
node_object 'taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]'
check "a Node about to be deleted is 503 for load balancers" await 5 status_is 127.0.0.1:10256/healthz 503
check "and says why" body_is 127.0.0.1:10256/healthz '.nodeEligible == false and .healthy'
check "but no reason to restart the agent" status_is 127.0.0.1:10256/livez 200
node_object ''
check "a Node that stays is 200 again" await 5 status_is 127.0.0.1:10256/healthz 200
rm "$manifests/node.yaml"
check "one that is gone is 503" await 5 status_is 127.0.0.1:10256/healthz 503
node_object ''
check "and back" await 5 status_is 127.0.0.1:10256/healthz 200

say "metrics"
says_ok() { [[ $(ask 127.0.0.1:10249/healthz | head -n 1) == ok ]]; }
check "its /healthz says ok" says_ok
check "/proxyMode is 200 and plain text" status_is 127.0.0.1:10249/proxyMode "200 text/plain"
slis_say() { ask 127.0.0.1:10249/metrics/slis | grep -qx "$1"; }
check "/metrics/slis tells of that answer" slis_say 'kubernetes_healthchecks_total{name="ping",status="success",type="healthz"} 1'
check "they are served to the node alone" refuses '[::1]:10249/metrics'
check "/metrics is Prometheus' text" status_is 127.0.0.1:10249/metrics "200 text/plain; version=0.0.4"
scrape() { node_exec curl -sS --max-time 20 http://127.0.0.1:10249/metrics; }
sample() { scrape | awk -v name="$1" 'index($0, name " ") == 1 { printf "%.0f", $NF }'; }
sample_is() { [[ $(sample "$1") == "$2" ]] || { echo "  $(sample "$1")" && return 1; }; }
sample_over() { (($(sample "$1") > $2)) || { echo "  $(sample "$1")" && return 1; }; }
scrape >"$run/metrics"
check "names, types, samples and buckets agree" /usr/bin/python3 "$harness_top/tests/harness/metrics_lint.py" "$run/metrics"
check "the Services that are programmed are counted" sample_is svclb_services 1
check "so are rows of the tables" sample_over 'svclb_map_entries{map="frontends"}' 0
check "and answers of /healthz" sample_over 'kubeproxy_proxy_healthz_total{code="503"}' 1
check "and memory" sample_over process_resident_memory_bytes 1000000
changes=$(sample kubeproxy_sync_proxy_rules_endpoint_changes_total)
endpoints web "$web_ports" b1:notready b2
check "a change of two slices counts as two" await 5 sample_is kubeproxy_sync_proxy_rules_endpoint_changes_total $((changes + 2))
check "and none of it is pending" sample_is kubeproxy_sync_proxy_rules_endpoint_changes_pending 0
endpoints web "$web_ports" b1:notready b2:notready
refused() {
    local result
    result=$(load_in client "$1" --connections 5 --timeout-ms 500) || true
    jq -e '.ok == 0' <<<"$result" >/dev/null
}
check "without backends clients are refused" await 5 refused "$web4"
check "which is counted by reason" sample_over 'svclb_dropped_packets_total{reason="NO_BACKEND_REJECTED"}' 0

endpoints web "$web_ports" b1 b2

say "many clients that say nothing"
/usr/bin/python3 - "$(node_ns)" "$run/silent" <<'PY' &
import ctypes, os, socket, sys, time
ns = os.open("/run/netns/" + sys.argv[1], os.O_RDONLY)
assert ctypes.CDLL(None, use_errno=True).setns(ns, 0) == 0
sockets = [socket.create_connection(("127.0.0.1", 10256)) for _ in range(12)]
for s in sockets:
    s.sendall(b"GET /healthz HTTP/1.1\r\n")
open(sys.argv[2], "w").close()
time.sleep(4)
PY
check "they are connected" await 5 test -e "$run/silent"
check "are no reason not to answer the next one" status_is 127.0.0.1:10256/healthz 200
wait $!

say "addresses"
stop_agent
start_agent --healthz-address '[fd00:10:244:1::1]:10256' --metrics-address off
check "an IPv6 address alone" status_is '[fd00:10:244:1::1]:10256/livez' 200
check "is that address alone" refuses 127.0.0.1:10256/livez
check "what is off is not served" refuses 127.0.0.1:10249/metrics
stop_agent

/usr/bin/python3 - "$(node_ns)" "$run/taken" <<'PY' &
import ctypes, os, socket, sys, time
ns = os.open("/run/netns/" + sys.argv[1], os.O_RDONLY)
assert ctypes.CDLL(None, use_errno=True).setns(ns, 0) == 0
s = socket.create_server(("127.0.0.1", 10249))
open(sys.argv[2], "w").close()
time.sleep(100)
PY
squatter=$!
await 5 test -e "$run/taken"
start_agent
check "an address that is taken is named" agent_said 'error listen on 127.0.0.1:10249: Address already in use'
check "and keeps nobody from being served" holds "$(load_in client "$web4" --connections 5)" '.failed == 0'
check "the other server answers" status_is 127.0.0.1:10256/healthz 200
kill "$squatter"
wait "$squatter" 2>/dev/null || true
check "once it is free it is served" await 10 status_is 127.0.0.1:10249/proxyMode 200
stop_agent

say "the same by a file"
cat >"$run/config.yaml" <<YAML
apiVersion: svclb.io/v1alpha1
kind: AgentConfiguration
manifests: $manifests
healthzAddress: 127.0.0.1:11256
metricsAddress: 127.0.0.1:11249
bindAddressHardFail: true
YAML
agent_source=(--config "$run/config.yaml")
start_agent --metrics-address 127.0.0.1:12249
check "the file's address is served" status_is 127.0.0.1:11256/healthz 200
check "a flag wins over it" status_is 127.0.0.1:12249/proxyMode 200
agent() { # STATUS OPTION...: exit code, and what it says into $run/said
    local status=0
    node_exec timeout 60 "$build/userspace/agent/svclb-agent" --state-dir "$run/state-other" \
        --bpf-dir "$(bpf_dir)-other" "${@:2}" >"$run/said" 2>&1 || status=$?
    sed 's/^/    /' "$run/said"
    ((status == $1))
}
check "with bindAddressHardFail an address that is taken ends the agent" agent 1 --config "$run/config.yaml"
check "and is named" grep -q 'listen on 127.0.0.1:11256: Address already in use' "$run/said"
sed -i 's/^metricsAddress.*/metricsAdress: 127.0.0.1:1/' "$run/config.yaml"
check "a field that is unknown is bad usage" agent 2 --config "$run/config.yaml"
check "with file, line and field" grep -qx "$run/config.yaml:5: metricsAdress: unknown field" "$run/said"
check "a file that is not there, too" agent 2 --config "$run/none.yaml"
check "with its name" grep -q "read $run/none.yaml: No such file" "$run/said"
sed 's/enableProfiling: .*/enableProfiling: true/' "$harness_top/tests/data/kubeadm-kube-proxy.yaml" >"$run/kube-proxy.conf"
check "--check tells what it found in kube-proxy's file" agent 0 --check --config "$run/kube-proxy.conf" --manifests "$manifests"
check "in one line" grep -q "fields without a meaning here: enableProfiling" "$run/said"
harness_end
