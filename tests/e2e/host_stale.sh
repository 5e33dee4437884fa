#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Sockets of the node that stay open while things happen: a backend drains and leaves, the agent is killed and starts
# anew. A connected UDP socket whose backend has left is told so, no other one is; TCP is never cut.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin host-stale
web_cluster 3
start_agent

# As many as the table of their rows has room for, and half as many again: a node that asks its resolver all day long.
node_exec python3 -c '
import socket
for _ in range(100000):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect(("10.96.0.10", 80))'
say "100,000 sockets have come and gone"

# 40 conversations in each form: that none of them is with b1 happens in one of 10^7 runs. As many again whose
# connect() to somebody else failed, so that they are as they were; of IPv6, for Linux 6.18 leaves an IPv4 socket deaf then,
# whomever it is connected to.
forms=("10.96.0.10:80" "[fd00:10:96::10]:80" "[::ffff:10.96.0.10]:80")
wanted=("udp=${POD_IP4[b1]}:8080*1" "udp=[${POD_IP6[b1]}]:8080*1")
for form in "${forms[@]}"; do wanted+=("udp=$form*40" "tcp=$form*12"); done
wanted+=("udp+failed=[fd00:10:96::10]:80*40")
mkfifo "$run/questions"
exec {questions}<>"$run/questions"
node_exec python3 "$harness_top/tests/e2e/tools/hold_sockets.py" "${wanted[@]}" <"$run/questions" >"$run/answers" 2>&1 &
await 20 grep -q ready "$run/answers"

ask() { # writes the answers to FILE
    local lines
    lines=$(wc -l <"$run/answers")
    echo >&"$questions"
    await 60 eval "((\$(wc -l <'$run/answers') > $lines))"
    tail -n 1 "$run/answers" >"$1"
}
told() { jq -e "$2" "$1" >/dev/null || { jq -c 'group_by([.kind, .to, .pod, .peer, .error]) | map([length, .[0]])[]' "$1" && return 1; }; }
through='select(.to | contains("96"))'
fine='.error == null and .peer == .to'
ended() { # FILE POD: whom POD answered at first, by number, and nobody else, has an error now
    jq -s -e --arg pod "$2" --slurpfile first "$run/first" '.[0] as $now | $first[0] | to_entries |
        map(select(.value.kind == "udp" and (.value.to | contains("96")) and .value.pod == $pod) | .key) as $theirs |
        [$now | to_entries[] | select(.value.error != null) | .key] as $gone |
        $theirs == $gone and ($theirs | length) > 0' "$1" >/dev/null
}
soon_ended() { # POD: the sockets are asked until those with POD have been told
    ask "$run/now"
    ended "$run/now" "$1"
}

ask "$run/first"
check "every socket is served, and its peer is what it dialled" told "$run/first" "all($fine)"
check "b1 has some conversations of each form" told "$run/first" \
    "[.[] | $through | select(.kind == \"udp\" and .pod == \"b1\") | .to] | unique | length == 3"

say "the agent is killed"
stop_agent KILL
ask "$run/now"
check "sockets go on, and name the frontend" told "$run/now" "all($fine)"
start_agent
ask "$run/now"
check "with its successor too" told "$run/now" "all($fine)"

say "b1 drains"
endpoints web "$web_ports" b1:draining b2 b3
await 5 web_backend_state b1 draining
ask "$run/now"
check "nobody is disturbed" cmp -s "$run/first" "$run/now"

say "b1 is gone"
endpoints web "$web_ports" b1:notready b2 b3
await 5 web_backend_state b1 notReady
check "its connected UDP sockets are told so, and no others" await 10 soon_ended b1
check "with an error of their own" told "$run/now" '[.[] | .error | values] | unique - ["ECONNABORTED", "EDESTADDRREQ"] == []'
check "no TCP connection is cut" told "$run/now" "all(select(.kind == \"tcp\") | $fine)"
check "nor a conversation with the pod itself" told "$run/now" "[.[] | select(.to | contains(\"244\")) | $fine] == [true, true]"
check "the log tells how many" test "$(grep -c 'ended sockets=' "$run/agent1.log")" -ge 1

say "b2 goes while no agent runs"
stop_agent KILL
endpoints web "$web_ports" b3
ask "$run/now"
check "nobody is told" ended "$run/now" b1
start_agent
both() {
    ask "$run/now"
    told "$run/now" "all(if .kind == \"udp\" and (.to | contains(\"96\")) then (.pod == \"b3\" and $fine) or .error != null else $fine end)"
}
check "the next agent tells them; TCP and those with b3 go on" await 10 both
check "b3's have never been told" eval "jq -n -e --slurpfile a '$run/first' --slurpfile b '$run/now' \
    '[\$a[0], \$b[0]] | transpose | all(.[0].pod != \"b3\" or .[1].error == null)' >/dev/null"
harness_end
