#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# A backend that turns not ready gets no new connections, keeps its open ones, and no request fails meanwhile.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin readiness_flip
web_cluster 3
start_agent

for to in "$web4" "$web6"; do
    say "$to"
    endpoints web "$web_ports" b1 b2 b3
    await 5 web_backend_state b1 ready
    hold_begin "at-$to" client "$to" 60
    held=$(hold_said "at-$to")
    check "60 connections are open, some of them to b1" holds "$held" '.failed == 0 and .backends.b1 > 0'
    load_in client "$to" --seconds 4 --bye --log "$run/load.log" >"$run/load.json" &
    load=$!
    sleep 1
    endpoints web "$web_ports" b1:notready b2 b3
    flipped_us=$(manifest_us web.endpoints.yaml)
    check "svclb-ctl shows b1 not ready" await 5 web_backend_state b1 notReady
    check "then 500 new connections all avoid it" holds "$(load_in client "$to" --connections 500)" \
        '.failed == 0 and .backends.b1 == null'
    check "the open connections live on, b1's too" holds "$(hold_ask "at-$to")" '.failed == 0 and .ok == 60'
    wait $load || true
    check "no request failed under load" holds "$(cat "$run/load.json")" '.failed == 0 and .ok > 100'
    awk -v flip="$flipped_us" '$3 == "b1" && $1 > last { last = $1 }
        END { printf "the last connection to b1 was begun %.1f ms after the file was written\n", (last - flip) / 1000 }' \
        "$run/load.log"
    rm -f "$run/load.log"
done

say "fifty flips under load"
load_in client "$web4" --seconds 4 --bye >"$run/load.json" &
load=$!
for ((i = 0; i < 50; i++)); do
    endpoints web "$web_ports" "b$((i % 3 + 1)):notready" "b$(((i + 1) % 3 + 1))" "b$(((i + 2) % 3 + 1))"
    sleep 0.05
done
wait $load || true
check "no request failed" holds "$(cat "$run/load.json")" '.failed == 0 and .ok > 100'
harness_end
