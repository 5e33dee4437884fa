#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# An agent in step with an API server: what it asks for, and what each kind of change does to real traffic. By streamed
# and by paged lists, over HTTP/2 and HTTP/1.1, with objects of 1.5 MB and chunk boundaries anywhere.
set -euo pipefail
. "$(dirname "$0")/../harness/kube.sh"

harness_begin kube_source
kube_cluster 3
start_agent

answered_by() { # TO BACKENDS: whether exactly these answer
    load_in client "$1" --connections 60 | jq -e --arg want "$2" '.failed == 0 and (.backends | keys | join(" ")) == $want' >/dev/null
}
refused() { { load_in client "$1" --connections 5 --timeout-ms 500 || true; } | jq -e '.ok == 0' >/dev/null; }
agent_said() { grep -qE "$1" "$run/agent1.log"; }

say "what it asks for"
check "Services without a foreign proxy's label and without headless ones" kube_asked 'any(.path == "/api/v1/services"
    and .query.labelSelector == "!service.kubernetes.io/service-proxy-name" and .query.fieldSelector == "spec.clusterIP!=None")'
check "EndpointSlices without those of headless Services" kube_asked 'any(.path == "/apis/discovery.k8s.io/v1/endpointslices"
    and .query.labelSelector == "!service.kubernetes.io/headless")'
check "its own Node and no other" await 20 kube_asked '[.[] | select(.path | test("nodes"))] | length > 0 and
    all(.query.fieldSelector == "metadata.name=node-1" or .path == "/api/v1/nodes/node-1")'
check "initial lists as streams" kube_asked 'any(.query.sendInitialEvents == "true" and .query.allowWatchBookmarks == "true")'
check "everything over one connection of HTTP/2" kube_asked 'all(.protocol == "h2") and (map(.connection) | unique | length) == 1'

say "what changes do"
traffic_begin
check "web answers over IPv4" await 5 answered_by "$web4" "b1 b2 b3"
check "web answers over IPv6" await 5 answered_by "$web6" "b1 b2 b3"
endpoints web "$web_ports" b1:notready b2 b3
flipped=$(jq .at_us "$run/web.endpoints.yaml.applied")
check "an endpoint that is not ready gets nothing new" await 5 web_backend_state b1 notReady
echo "svclb-ctl showed it $((($(now_us) - flipped) / 1000)) ms after the event"
check "nor over IPv6" await 5 answered_by "$web6" "b2 b3"

service other 10.96.0.20 fd00:10:96::20 tcp:80:TCP
endpoints other tcp:8080:TCP b1
check "a new Service answers" await 5 answered_by 10.96.0.20:80 b1
label_other() { # LABELS
    kube apply '{"kind": "Service", "metadata": {"name": "other", "namespace": "default", "labels": '"$1"'}, "spec":
        {"clusterIP": "10.96.0.20", "clusterIPs": ["10.96.0.20", "fd00:10:96::20"], "ipFamilies": ["IPv4", "IPv6"],
         "ports": [{"name": "tcp", "port": 80, "protocol": "TCP"}]}}' >/dev/null
}
label_other '{"service.kubernetes.io/service-proxy-name": ""}'
check "with another proxy's label it is gone" await 5 refused 10.96.0.20:80
label_other '{}'
check "without the label it is back" await 5 answered_by '[fd00:10:96::20]:80' b1

say "two Services with one address"
kube apply '{"kind": "Service", "metadata": {"name": "late", "namespace": "default", "creationTimestamp": "2026-06-01T00:00:00Z"},
    "spec": {"clusterIP": "10.96.0.20", "ports": [{"name": "tcp", "port": 80, "protocol": "TCP"}]}}' >/dev/null
endpoints late tcp:8080:TCP b3
check "the conflict is reported by name" await 5 agent_said 'default/late'
check "the older one keeps the address" answered_by 10.96.0.20:80 b1
check "an Event tells the loser" await 5 kube_asked 'any(.method == "POST" and (.path | endswith("/events"))
    and (.body | fromjson | (.regarding // .involvedObject).name == "late"))'
kube delete '[["Service", "default", "other"]]' >/dev/null
check "when the older one goes the other has it" await 5 answered_by 10.96.0.20:80 b3
kube delete '[["Service", "default", "late"]]' >/dev/null
check "and when that goes nobody has" await 5 refused 10.96.0.20:80

say "bad and hostile objects"
kube apply '[{"kind": "Service", "metadata": {"name": "bad\u001b[31m", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.66",
    "ports": [{"port": 70000}]}}]' >/dev/null
check "an object that is invalid is reported with its field" await 5 agent_said 'Service default/bad.*spec.ports\[0\].port'
check "its name reaches no terminal as it is" eval "! grep -q $'\e\[31m' '$run/agent1.log'"
problem_is() { ctl status -o json | jq -e --arg object "$1" --arg reason "$2" \
    'any(.problems[]; (.object | startswith($object)) and .reason == $reason)' >/dev/null; }
check "svclb-ctl shows it among the problems" await 5 problem_is 'Service default/bad\x1b' InvalidObject
kube apply '{"kind": "EndpointSlice", "metadata": {"name": "web-bad", "namespace": "default",
    "labels": {"kubernetes.io/service-name": "web"}}, "addressType": "IPv4", "ports": "none", "endpoints": []}' >/dev/null
check "a slice as well" await 5 problem_is "EndpointSlice default/web-bad" InvalidObject
check "and at its Service" holds "$(ctl get services default/web -o json)" \
    'all(.items[]; any(.problems[]; startswith("InvalidEndpointSlice: EndpointSlice default/web-bad: ports")))'
check "an Event tells whoever looks at the Service" await 5 kube_asked 'any(.method == "POST" and (.path | endswith("/events"))
    and (.body | fromjson | .reason == "InvalidEndpointSlice" and .regarding.name == "web"))'
check "an Event tells of the slice, by its uid" await 5 kube_asked 'any(.method == "POST" and (.path | endswith("/events"))
    and (.body | fromjson | .reason == "InvalidObject" and .regarding.name == "web-bad" and (.regarding.uid | length) == 36))'
endpoints web "$web_ports" b1 b2 b3
check "the others go on" await 5 answered_by "$web4" "b1 b2 b3"
check "it was reported once" test "$(grep -c 'error Service .*ports\[0\].port' "$run/agent1.log")" = 1
kube delete '[["Service", "default", "bad\u001b[31m"], ["EndpointSlice", "default", "web-bad"]]' >/dev/null
no_problems() { ctl status -o json | jq -e '.problems == [] and .objects.invalid == 0' >/dev/null; }
check "gone, they are problems no more" await 5 no_problems

say "a slice of 1.5 MB"
large() {
    jq -n --arg ip "${POD_IP4[b2]}" --arg filling "$(head -c 100000 /dev/zero | tr '\0' x)" '{kind: "EndpointSlice",
        metadata: {name: "web-large", namespace: "default", labels: {"kubernetes.io/service-name": "large"},
            annotations: ([range(15)] | map({key: "filling\(.)", value: $filling}) | from_entries)},
        addressType: "IPv4", ports: [{name: "tcp", port: 8080, protocol: "TCP"}],
        endpoints: [{addresses: [$ip], conditions: {ready: true}}]}'
}
service large 10.96.0.30 fd00:10:96::30 tcp:80:TCP
large | kube apply - >/dev/null
check "is used" await 10 answered_by 10.96.0.30:80 b2

say "zones"
zone() { # ZONE: the Node moves there
    kube apply '{"kind": "Node", "metadata": {"name": "node-1", "labels": {"topology.kubernetes.io/zone": "'"$1"'"}}}' >/dev/null
}
hinted() {
    jq -n --arg one "${POD_IP4[b1]}" --arg two "${POD_IP4[b2]}" 'def endpoint($ip; $zone): {addresses: [$ip],
            conditions: {ready: true}, hints: {forZones: [{name: $zone}]}};
        {kind: "EndpointSlice", metadata: {name: "zoned", namespace: "default", labels: {"kubernetes.io/service-name": "zoned"}},
        addressType: "IPv4", ports: [{name: "tcp", port: 8080, protocol: "TCP"}],
        endpoints: [endpoint($one; "zone-a"), endpoint($two; "zone-b")]}'
}
service zoned 10.96.0.40 fd00:10:96::40 tcp:80:TCP
hinted | kube apply - >/dev/null
check "a Service with hints stays in the node's zone" await 5 answered_by 10.96.0.40:80 b1
zone zone-b
check "and follows the Node into another" await 5 answered_by 10.96.0.40:80 b2
zone ""
check "a Node without a zone uses all" await 5 answered_by 10.96.0.40:80 "b1 b2"
check "desired and programmed state agree" ctl verify

# The same state by every way to get it: an agent that starts anew writes nothing.
beacon_begin
for way in '{"protocols": ["http/1.1"]}' '{"streaming": "refuse", "page": 2, "chunk": 300}' \
    '{"protocols": ["h2"]}' '{"streaming": "ignore"}'; do
    say "$way"
    kube set "$way" >/dev/null
    stop_agent KILL
    kube requests true >/dev/null
    start_agent
    check "the new agent had nothing to write" test "$(writes_now)" = 0
    check "and it follows changes" only_beacon_since 0
done
check "pages were asked for" kube_asked 'any(.query.limit != null)'
check "without a streamed list it asked for a plain one" kube_asked 'any(.query.watch == null and .path == "/api/v1/services")'
check "on a cluster without ServiceCIDRs" kube set '{"servicecidrs": false}'
stop_agent KILL
start_agent
check "it works as well" answered_by "$web4" "b1 b2 b3"
say "traffic that went on all the while"
traffic_end
kube_end
