#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# The data path needs no agent: killed, stopped, restarted under load, no request fails. --cleanup leaves nothing.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin agent_kill
web_cluster 3
start_agent

hold_begin v4 client "$web4" 50
held=$(hold_said v4)
check "50 connections are open over IPv4" holds "$held" '.failed == 0'
hold_begin v6 client "$web6" 50
held=$(hold_said v6)
check "50 connections are open over IPv6" holds "$held" '.failed == 0'

load_in client "$web4" --seconds 6 --bye >"$run/load4.json" &
load4=$!
load_in client "$web6" --seconds 6 --udp >"$run/load6.json" &
load6=$!
for round in 1 2 3; do
    sleep 0.5
    stop_agent KILL
    check "round $round: with the agent killed, new connections spread over three backends" \
        holds "$(load_in client "$web4" --connections 300)" '.failed == 0 and (.backends | length) == 3'
    check "round $round: svclb-ctl works from the pinned maps" \
        holds "$(ctl get services -o json)" '[.items[] | select(.name == "web")] | length == 2'
    start_agent
done
wait $load4 $load6 || true
check "no TCP request failed through three kills and restarts" holds "$(cat "$run/load4.json")" '.failed == 0 and .ok > 100'
check "no UDP request failed either" holds "$(cat "$run/load6.json")" '.failed == 0 and .ok > 100'
check "every open IPv4 connection lives" holds "$(hold_ask v4)" '.ok == 50'
check "every open IPv6 connection lives" holds "$(hold_ask v6)" '.ok == 50'
check "the restarted agent had next to nothing to write" holds "$(ctl status -o json)" '.failures == 0'
check "desired and programmed state agree" ctl verify

say "a second agent on the same state directory"
status=0
node_exec timeout 60 "$build/userspace/agent/svclb-agent" --manifests "$manifests" --node-name node-1 \
    --state-dir "$run/state1" --bpf-dir "$(bpf_dir)" >"$run/second.log" 2>&1 || status=$?
sed 's/^/    /' "$run/second.log"
check "is refused with exit code 1" test "$status" = 1
check "the first one goes on" kill -0 "${AGENT_PID[1]}"

say "SIGTERM"
# A thread that does not block it would take it from the loop; as process 1 of a container it would get lost there.
blocked_by_all() { ! grep -hs ^SigBlk "/proc/${AGENT_PID[1]}"/task/*/status | grep -qv '[4-7c-f]...$'; }
check "every thread leaves it to the loop" blocked_by_all
stop_agent TERM
check "is heard" grep -q "stopping; the data path goes on" "$run/agent1.log"
check "and svclb-ctl knows" holds "$(ctl status -o json)" '.agent.running == false'
check "leaves the data path working" holds "$(load_in client "$web6" --connections 300)" '.failed == 0'
check "leaves open connections alone" holds "$(hold_ask v4)" '.ok == 50'

say "--cleanup"
check "succeeds" node_exec "$build/userspace/agent/svclb-agent" --cleanup --state-dir "$run/state1" --bpf-dir "$(bpf_dir)"
check "removes the bpf directory" test ! -e "$(bpf_dir)"
check "no filter is left on a pod link" test -z "$(node_exec tc filter show dev v-client ingress)"
check "the ClusterIP is no longer translated" \
    holds "$(load_in client "$web4" --connections 3 --timeout-ms 500 || true)" '.ok == 0'
harness_end
