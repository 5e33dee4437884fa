#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Everything that an API server and the way to it can do wrong, under traffic: no connection is lost, what didn't change
# is not written, and what did change arrives.
set -euo pipefail
. "$(dirname "$0")/../harness/kube.sh"

harness_begin kube_faults
kube_cluster 3
kube set '{"bookmark_seconds": 1}' >/dev/null
start_agent
beacon_begin
echo "a cycle of the beacon costs $beacon_cost rows"
traffic_begin

# fault SENTENCE COMMAND...: the command is what goes wrong; then watches are open again, and only the beacon was written.
# Each meets an agent that has just come: one that has met many waits long, lest it wear the server out.
# That it went wrong is seen by the agent's next request for Services, or by what $felt says instead; with reconnects=1
# by a new connection as well.
fault() {
    local sentence=$1 before accepted
    shift
    stop_agent KILL
    start_agent
    await 20 kube_watched
    before=$(writes_now)
    accepted=$(($(kube stats | jq .accepted) + ${reconnects:-0}))
    kube requests true >/dev/null
    "$@" >/dev/null
    check "$sentence: it has happened" await 40 happened "$accepted"
    check "$sentence: it is back" await 40 kube_watched
    check "$sentence: nothing was touched" only_beacon_since "$before"
    kube fault >/dev/null
}
happened() { # ACCEPTED
    kube stats | jq -e --argjson accepted "$1" '.unplayed == 0 and .accepted >= $accepted' >/dev/null &&
        kube_asked "${felt:-any(.path == \"/api/v1/services\")}"
}
inject() { # WHAT: reaches both watches
    kube inject "$1" | jq -e '.watches >= 2' >/dev/null || { echo "no watch was there for $1" >&2 && return 1; }
}
both() { # FAULT...: for the next watches of Services and of slices, one after the other; the first begins at once
    local fault
    for fault in "$@"; do
        kube fault '{"on": "watch", "resource": "services", '"$fault"'}'
        kube fault '{"on": "watch", "resource": "endpointslices", '"$fault"'}'
    done
    inject '{"end": true}'
}
relisted='any(.path == "/api/v1/services" and (.query.sendInitialEvents == "true" or .query.watch == null))'

gone_in_watch() { inject '{"error_event": 410}'; }
fault "410 as an event of the watch" gone_in_watch
check "it has listed anew" await 20 kube_asked "$relisted"
gone_by_status() { both '"status": 410'; }
fault "410 as the watch's answer" gone_by_status
check "it has listed anew" await 20 kube_asked "$relisted"
other_error() { inject '{"error_event": 500}'; }
fault "500 as an event of the watch" other_error

timeouts() {
    kube set '{"watch_seconds": 1}'
    inject '{"end": true}'
    await 10 kube_asked '[.[] | select(.path == "/api/v1/services")] | length >= 3'
    kube set '{"watch_seconds": 0}'
}
fault "watches that end each second" timeouts
check "each goes on where the last one ended" await 20 kube_asked 'map(select(.path == "/api/v1/services")) | length >= 2 and
    all(.query.watch != null and (.query.resourceVersion | tonumber) > 1000 and .query.sendInitialEvents != "true")'

bookmark() { # Services see no event while the version rises; only a bookmark tells.
    version=$(kube apply '{"kind": "Node", "metadata": {"name": "node-9"}}' | jq .resourceVersion)
    kube inject '{"resource": "services", "bookmark": true, "end": true}'
}
fault "a watch that ends after a bookmark" bookmark
check "it goes on from the bookmark" await 20 kube_asked "any(.path == \"/api/v1/services\" and (.query.resourceVersion | tonumber) >= $version)"

cut_object() { inject '{"raw": "{\"type\":\"MODIFIED\",\"object\":{\"kind\":\"Endpo", "reset": true}'; }
fault "a reset in the middle of an object" cut_object
cut_list() { both '"status": 410' '"cut": 900'; }
reconnects=1 fault "a reset in the middle of the list" cut_list
cut_stream() { both '"status": 410' '"cut": 900, "cut_stream": true'; }
fault "a stream that breaks off in the middle of the list" cut_stream
garbage() { inject '{"raw": "#+# no JSON at all\n{{{"}'; }
fault "garbage in the watch" garbage
garbage_in_list() { both '"status": 410' '"garbage": [300, "\u0000]}#"]'; }
fault "garbage in the list" garbage_in_list
drip() { both '"status": 410' '"drip": [100, 0.04]'; }
fault "a list that drips" drip

too_many() { both '"status": 429, "retry_after": 3'; }
fault "429 with Retry-After" too_many
# shellcheck disable=SC2016 # the variable is jq's
check "it has waited as long as it was told" await 20 kube_asked '[.[] | select(.path == "/api/v1/services")] |
    (map(select(.status == 429)) | last.at_us) as $told | map(.at_us) | all(. <= $told or . >= $told + 2900000)'
broken() { kube fault '{"status": 500, "times": 0}' && kube drop && sleep 4 && kube fault; }
reconnects=1 fault "500 for four seconds" broken
check "it did not ask like mad" test "$(kube requests | jq length)" -lt 60
unavailable() { both '"status": 503'; }
fault "503" unavailable
forbidden() { both '"status": 403'; }
fault "403" forbidden
hang() { both '"cut": 0'; }
reconnects=1 fault "a reset instead of a body" hang
dropped() { kube drop; }
reconnects=1 fault "all connections reset" dropped

going_away() {
    gone=$(kube stats | jq .accepted)
    kube goaway
    inject '{"end": true}'
}
reconnects=1 fault "a server that takes no new requests on its connection" going_away
check "they come on another one" await 20 kube_asked "length > 0 and all(.connection > $gone)"

replay() { inject '{"replay": 6}'; }
felt=true fault "old events once more, in order" replay
replay_reversed() { inject '{"replay": 6, "reverse": true}'; }
felt=true fault "old events once more, backwards" replay_reversed
restored() { kube rewind 15 && kube drop; }
reconnects=1 fault "a server restored from a backup" restored

pages() {
    kube set '{"streaming": "refuse", "page": 2}'
    kube fault '{"on": "list", "with": "continue", "status": 410, "times": 2}'
    both '"status": 410'
}
fault "410 between the pages of a list" pages
kube set '{"streaming": "on", "page": 0}' >/dev/null

say "a relist that lacks objects"
service leaving 10.96.0.50 fd00:10:96::50 tcp:80:TCP
endpoints leaving tcp:8080:TCP b1
leaving_is() { ctl get services -o json | jq -e "any(.items[]; .name == \"leaving\") == $1" >/dev/null; }
check "the Service is there" await 10 leaving_is true
kube accept false >/dev/null
kube drop >/dev/null
kube delete '[["Service", "default", "leaving"], ["EndpointSlice", "default", "leaving-ipv4"], ["EndpointSlice", "default", "leaving-ipv6"]]' >/dev/null
kube compact >/dev/null
kube accept true >/dev/null
check "what the new list lacks is gone" await 40 leaving_is false
check "the rest is there" holds "$(load_in client "$web4" --connections 100)" '.failed == 0 and (.backends | length) == 3'

say "in the end"
traffic_end
check "desired and programmed state agree" ctl verify
kube_end
