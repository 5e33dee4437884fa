#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# From a fresh machine to balanced traffic between pods: installs dependencies, builds, and shows the main job in a
# cluster of network namespaces. Every step checks what it shows; the exit code is 0 only if all of it was seen.
#   sudo scripts/demo.sh          show, then remove everything
#   sudo scripts/demo.sh --keep   leave the cluster up for playing
#   sudo scripts/demo.sh --down   remove a cluster that was kept
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
keep=no
case "${1:-}" in
'') ;;
--keep) keep=yes ;;
--down) keep=down ;;
*) sed -n 's/^#   sudo //p' "$0" >&2 && exit 2 ;;
esac
((EUID == 0)) || { echo "the demo needs root for namespaces and BPF: sudo $0" >&2 && exit 1; }
# shellcheck source=scripts/lib/deps.sh
. "$top/scripts/lib/deps.sh"
# shellcheck source=tests/harness/netns.sh
. "$top/tests/harness/netns.sh"

if [[ $keep == down ]]; then
    harness_names demo
    harness_cleanup
    echo "removed"
    exit
fi

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
run() { # COMMAND...: shows the command as one would type it, and its output
    printf '$ %s\n' "$*"
    "$@"
}
show_ctl() {
    printf '$ svclb-ctl %s\n' "$*"
    ctl "$@"
}
shown=()
must() { # SENTENCE COMMAND...: what the demo claims, or the end of it
    local sentence=$1
    shift
    if "$@"; then
        shown+=("$sentence")
        echo "-> $sentence"
    else
        printf '\nThe demo did not show this: %s\n' "$sentence" >&2
        [[ ! -s $run/agent1.log ]] || { echo "the agent's last words:" && tail -n 20 "$run/agent1.log"; } >&2
        exit 1
    fi
}

deps_install demo
step "build"
build=${SVCLB_BUILD:-$top/build}
if [[ ! -f $build/build.ninja ]]; then
    cmake -S "$top" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo
fi
ninja -C "$build" svclb-agent svclb-ctl pod_server connect_load

step "a cluster of network namespaces: one node, a client pod, three backend pods"
harness_begin demo
cluster_up
pod_add client
dns_ports="dns:53:UDP dns-tcp:53:TCP"
for i in 1 2 3; do
    pod_add "b$i"
    pod_serve "b$i" 8080
    pod_exec "b$i" dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --user=root --no-resolv --no-hosts \
        --log-facility=- --address="/who.test/192.0.2.$i" >"$run/dns$i.log" 2>&1 &
    echo "b$i: ${POD_IP4[b$i]} ${POD_IP6[b$i]}, an HTTP server on port 8080 and dnsmasq on port 53"
done
service web 10.96.0.10 fd00:10:96::10 http:80:TCP
endpoints web http:8080:TCP b1 b2 b3
service dns 10.96.0.53 fd00:10:96::53 dns:53:UDP dns-tcp:53:TCP
endpoints dns "$dns_ports" b1 b2 b3
run ls "$manifests"

step "the agent"
begin_us=$(now_us)
echo "\$ svclb-agent --manifests $manifests --node-name node-1 &"
start_agent
echo "programmed $((($(now_us) - begin_us) / 1000)) ms after its start"
show_ctl status
show_ctl get services
show_ctl get links

# spread URL: 300 requests, each on a connection of its own.
spread() {
    printf "\$ curl -H 'Connection: close' '%s[1-300]'   (in the client pod)\n" "$1"
    pod_exec client curl -s -S -m 30 -H 'Connection: close' "$1[1-300]" | sort | uniq -c | tee "$run/spread"
}
spread_text() { awk '{ printf "%s%s %d", (NR > 1 ? ", " : ""), $2, $1 }' "$run/spread"; }
spread_even() { awk '{ n += $1; if ($1 < 60) low = 1 } END { exit !(NR == 3 && n == 300 && !low) }' "$run/spread"; }

step "HTTP through the ClusterIP"
spread http://10.96.0.10/
must "300 requests to 10.96.0.10 over IPv4 were spread: $(spread_text)" spread_even
spread 'http://[fd00:10:96::10]/'
must "300 requests to fd00:10:96::10 over IPv6 were spread: $(spread_text)" spread_even
show_ctl get backends
echo "\$ svclb-ctl get flows | head -n 6"
ctl get flows >"$run/flows"
head -n 6 "$run/flows"

step "DNS through the ClusterIP"
answers=0
for server in 10.96.0.53 fd00:10:96::53; do
    for mode in +notcp +tcp; do
        for ((i = 0; i < 10; i++)); do
            answer=$(pod_exec client dig +short +time=2 +tries=1 "$mode" "@$server" who.test A) || true
            [[ $answer != 192.0.2.[123] ]] || answers=$((answers + 1))
        done
        echo "\$ dig +short $mode @$server who.test   -> $answer"
    done
done
must "dnsmasq answered $answers of 40 queries with dig, over UDP and TCP, IPv4 and IPv6" test "$answers" = 40

step "b1 turns not ready, by an edit of the manifest, while the client keeps opening connections"
hold_begin open client 10.96.0.10:80 30
open=$(hold_said open)
open_to_b1=$(jq '.backends.b1 // 0' <<<"$open")
echo "30 connections are open and idle, $open_to_b1 of them to b1"
load_in client 10.96.0.10:80 --seconds 2.5 --bye --concurrency 4 --log "$run/load.log" >"$run/load.json" &
load=$!
sleep 1
endpoints web http:8080:TCP b1:notready b2 b3
flipped_us=$(manifest_us web.endpoints.yaml)
wait $load || true
show_ctl get backends
lag_ms=$(awk -v flip="$flipped_us" '$3 == "b1" && $1 > last { last = $1 }
    END { printf "%.1f", (last > flip ? (last - flip) / 1000 : 0) }' "$run/load.log")
avoided=$(awk -v flip="$flipped_us" -v lag="$lag_ms" '$1 > flip + lag * 1000 { n++ } END { print n + 0 }' "$run/load.log")
must "new connections avoided b1 $lag_ms ms after the edit (limit 100 ms), the $avoided that followed without exception" \
    awk -v lag="$lag_ms" -v n="$avoided" 'BEGIN { exit !(lag ~ /^[0-9]/ && lag + 0 < 100 && n > 100) }'
must "of $(jq '.ok + .failed' "$run/load.json") connections during the flip $(jq .failed "$run/load.json") failed" \
    holds "$(cat "$run/load.json")" '.failed == 0'
alive=$(hold_ask open)
must "$(jq .ok <<<"$alive") of 30 open connections live on, the $open_to_b1 to b1 among them" \
    holds "$alive" ".ok == 30 and $open_to_b1 > 0"

step "the Service loses all its backends"
endpoints web http:8080:TCP
await 5 eval '! web_backend_state b2 ready' || true
show_ctl get services
refusals=
for url in http://10.96.0.10/ 'http://[fd00:10:96::10]/'; do
    echo "\$ curl $url"
    status=0
    pod_exec client curl -s -S -m 5 "$url" || status=$?
    must "curl $url: connection refused" test $status = 7
done
for to in 10.96.0.10:80 '[fd00:10:96::10]:80'; do
    refused=$(load_in client "$to" --connections 1) || true
    refusals="$refusals${refusals:+ and }$(jq .first_failure_ms <<<"$refused")"
    must "connect() to $to was refused after $(jq .first_failure_ms <<<"$refused") ms" \
        holds "$refused" '.errors == {"Connection refused": 1} and .first_failure_ms < 500'
done
endpoints web http:8080:TCP b1 b2 b3
await 5 web_backend_state b2 ready || true

step "the agent is killed"
echo "\$ kill -KILL ${AGENT_PID[1]}"
stop_agent KILL
show_ctl status
spread http://10.96.0.10/
must "with the agent dead, 300 of 300 requests went on, still spread: $(spread_text)" spread_even
start_agent
echo "a new agent is up: $(ctl status -o json | jq -r '"it wrote \(.writes) rows, the rest was there"')"
alive=$(hold_ask open)
must "$(jq .ok <<<"$alive") of 30 connections, open since before the edit, outlived all of it" holds "$alive" '.ok == 30'
must "svclb-ctl verify finds that the maps hold what the manifests say" ctl verify

if [[ $keep == yes ]]; then
    trap - EXIT
    cat <<KEPT

The cluster is up. Edit the files in $manifests, and try:
  nsenter --net=/run/netns/$(pod_ns client) curl http://10.96.0.10/
  $build/userspace/ctl/svclb-ctl --bpf-dir $(bpf_dir) get services
  $0 --down
KEPT
else
    step "clean up"
    stop_agent TERM
    node_exec "$build/userspace/agent/svclb-agent" --cleanup --state-dir "$run/state1" --bpf-dir "$(bpf_dir)"
    must "svclb-agent --cleanup removed every trace" test ! -e "$(bpf_dir)"
    harness_cleanup
fi

printf '\nShown:\n'
printf '  %s\n' "${shown[@]}"
