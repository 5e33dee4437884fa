#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# A flood from outside at node ports and load-balancer addresses, of ten times the flow table's size and of far more than there
# are source ports, ends no connection that is open and keeps nobody away; and what it is to run out of source ports.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"
. "$(dirname "$0")/../harness/outside.sh"

dropped_for() { # REASON
    ctl status -o json | jq --arg words "$1" '[.drops[] | select(.reason == $words) | .packets] | add // 0'
}
flood() { pod_exec outside "$tools/packet_flood" "$@"; }

# The node is the source of all but `local`, whose backends see the client.
held=()
hold_all() { # SUFFIX COUNT
    hold_begin "node4$1" outside 10.0.201.2:30083 "$2" --timeout-ms 20000
    hold_begin "node6$1" outside '[fd00:78:201::2]:30083' "$2" --timeout-ms 20000
    hold_begin "local$1" outside 192.0.2.84:80 "$2" --timeout-ms 20000
    for id in node4 node6 local; do
        check "$id$1: $2 connections are open" holds "$(hold_said "$id$1")" ".failed == 0 and .ok == $2"
        held+=("$id$1 $2")
    done
}
survived() { # AFTER-WHAT
    local entry id count to
    for entry in "${held[@]}"; do
        read -r id count <<<"$entry"
        check "after $1 every connection of $id lives" holds "$(hold_ask "$id")" ".ok == $count"
    done
    # The port that is taken from a half-open flow is one on which the backend still waits: the client's second SYN gets in.
    for to in 10.0.201.2:30083 '[fd00:78:201::2]:30083' 192.0.2.84:80; do
        check "after $1 new connections to $to are made" \
            holds "$(load_in outside "$to" --connections 4 --timeout-ms 20000 --bye)" '.failed == 0'
    done
}

harness_begin outside_flood
cluster_up 2
outside_up
for node in 1 2; do
    pod_add "b$node" $node
    pod_serve "b$node" 8080
done
exposed both 83 8080 Cluster b1 b2
exposed local 84 8080 Local b1
start_agent --node-ip 10.0.201.2,fd00:78:201::2 --source-ports 10000-10499 --flow-entries 1024
flood=$((10 * $(ctl get maps -o json | jq '[.items[] | select(.name | test("^(established|transient)")) | .maxEntries] | max')))
hold_all "" 20

say "$flood SYNs from addresses that nobody has, in each family"
flood tcp 10.0.250.100 10.0.201.2:30083 "$flood"
flood tcp fd00:78:250::100 '[fd00:78:201::2]:30083' "$flood"
flood tcp 10.0.250.100 192.0.2.84:80 "$flood"
survived "SYNs from nobody"
hold_all "-late" 5

say "$flood SYNs from the client's own address, which leaves the answers alone: half-open as long as it likes"
pod_exec outside nft -f - <<'NFT'
table inet quiet { chain out { type filter hook output priority 0; tcp flags & rst == rst drop; }; }
NFT
flood tcp "$outside4" 10.0.201.2:30083 "$flood"
flood tcp "$outside6" '[fd00:78:201::2]:30083' "$flood"
pod_exec outside nft delete table inet quiet
survived "SYNs that are left half-open"

say "$flood datagrams, one way"
flood udp 10.0.250.100 10.0.201.2:30083 "$flood"
flood udp fd00:78:250::100 '[fd00:78:201::2]:30083' "$flood"
survived "one-way datagrams"
ctl status -o wide | sed -n '/REASON/,$p'

say "more connections than source ports: 7 to each backend"
stop_agent
start_agent --node-ip 10.0.201.2,fd00:78:201::2 --source-ports 10000-10009
for to in 10.0.201.2:30083 '[fd00:78:201::2]:30083'; do
    check "those that the backend closes first keep nobody away: $to" \
        holds "$(load_in outside "$to" --connections 300 --concurrency 4 --bye)" '.ok == 300 and .failed == 0'
done
before=$(dropped_for NO_FREE_SOURCE_PORT)
hold_begin many outside 10.0.201.2:30083 30 --timeout-ms 1500
check "those that get none fail" holds "$(hold_said many)" '.ok >= 1 and .ok <= 14 and .ok + .failed == 30'
check "and are counted" test "$(dropped_for NO_FREE_SOURCE_PORT)" -gt "$before"
opened=$(hold_said many | jq .ok)
check "the others live" holds "$(hold_ask many)" ".ok == $opened"
check "desired and programmed state agree" ctl verify
harness_end
