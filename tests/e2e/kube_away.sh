#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# An API server that is away, silent or empty, under traffic: the node goes on serving the last state, an agent that
# starts meanwhile too, and on return only what changed is written. The API's own Service never loses its last backend.
set -euo pipefail
. "$(dirname "$0")/../harness/kube.sh"

harness_begin kube_away
kube_cluster 3
start_agent
beacon_begin
traffic_begin

agent_said() { grep -qE "$1" "$run/agent1.log"; }
api_connected() { ctl status -o json | jq -e ".connected == $1" >/dev/null; }
leave() { kube accept false && kube drop; } >/dev/null
come_back() { kube accept true; } >/dev/null
check "svclb-ctl shows that the API server is there" await 5 api_connected true

say "away, and back with nothing changed"
before=$(writes_now)
leave
check "svclb-ctl shows that it is away" await 20 api_connected false
sleep 3
check "new connections are made meanwhile" holds "$(load_in client "$web6" --connections 200)" '.failed == 0 and (.backends | length) == 3'
come_back
check "svclb-ctl shows that it is back" await 40 api_connected true
check "nothing was written" only_beacon_since "$before"

say "away, while an endpoint leaves"
leave
endpoints web "$web_ports" b2 b3
sleep 2
come_back
only_b2_b3() { load_in client "$web4" --connections 60 | jq -e '.failed == 0 and (.backends | keys) == ["b2", "b3"]' >/dev/null; }
check "the change is caught up with" await 40 only_b2_b3
endpoints web "$web_ports" b1 b2 b3
check "and the next one arrives by itself" await 10 web_backend_state b1 ready

say "connections whose packets vanish"
before=$(writes_now)
node_exec nft -f - <<'NFT'
table inet lost { chain out { type filter hook output priority 0; tcp sport 6443 drop; tcp dport 6443 drop; }; }
NFT
check "it is noticed" await 60 api_connected false
node_exec nft delete table inet lost
check "svclb-ctl shows that it is back" await 60 api_connected true
check "nothing was written" only_beacon_since "$before"

say "a server that holds its connections and says nothing"
cat >"$run/config.yaml" <<'YAML'
apiVersion: svclb.io/v1alpha1
kind: AgentConfiguration
watchSilence: 6s
YAML
kube set '{"bookmark_seconds": 1}' >/dev/null
stop_agent KILL
start_agent --config "$run/config.yaml"
check "bookmarks are word enough" await 10 api_connected true
before=$(writes_now)
kube answer false >/dev/null
check "silence is noticed" await 30 api_connected false
check "that is said" await 5 agent_said 'the server sent nothing for'
check "new connections are made meanwhile" holds "$(load_in client "$web4" --connections 200)" '.failed == 0 and (.backends | length) == 3'
kube answer true >/dev/null
check "svclb-ctl shows that it is back" await 60 api_connected true
check "nothing was written" only_beacon_since "$before"

say "the agent starts while the API server is away"
leave
stop_agent KILL
launch_agent 1
check "it says what it waits for" await 10 agent_said 'connect'
sleep 2
check "what the last agent programmed goes on" holds "$(load_in client "$web4" --connections 200)" '.failed == 0 and (.backends | length) == 3'
check "it has written nothing" test "$(writes_now)" = 0
come_back
check "it has synced" await 40 agent_synced 1
check "and still written nothing" test "$(writes_now)" = 0
check "it follows changes" only_beacon_since 0

say "the API's own Service"
through_the_service() { # CLUSTER-IP
    pod_exec client curl -sS --max-time 20 --cacert "$api/ca.crt" "https://$1/livez" | grep -q ok
}
for ip in 10.96.0.1 '[fd00:10:96::1]'; do
    check "$ip leads to the API server" await 5 through_the_service "$ip"
done
kube_own_endpoints
beacon_cycle >/dev/null
for ip in 10.96.0.1 '[fd00:10:96::1]'; do
    check "$ip does without any endpoint in the API" through_the_service "$ip"
done
kube delete '[["EndpointSlice", "default", "kubernetes-ipv4"], ["EndpointSlice", "default", "kubernetes-ipv6"]]' >/dev/null
beacon_cycle >/dev/null
check "without a slice too" through_the_service 10.96.0.1
kube_own_endpoints "$api4" "$api6"
beacon_cycle >/dev/null
check "with the endpoints back everything agrees" ctl verify

traffic_end
kube_end
