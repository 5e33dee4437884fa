#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Backends that leave (behaviour rows 1.14, 1.31 to 1.33): a draining one keeps what it has; where all are draining they
# still serve; where none serves clients are refused at once, and UDP conversations move with their next datagram, also
# when nobody is left and when the Service is deleted. TCP connections outlive all of it.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin draining
web_cluster 3
start_agent

# A conversation is its source port: these 60 go on through every step. They lie outside the ephemeral range, from which
# what is called a new conversation below takes its port: one that took one of these would rightly go on with its backend.
ports=()
for ((i = 0; i < 60; i++)); do ports+=($((20000 + i))); done
converse() { # FAMILY FILE [OPTION...]: each conversation's next datagram, and who answers it
    local to=$web4 sources=("${ports[@]/#/${POD_IP4[client]}:}")
    if (($1 == 6)); then
        to=$web6 sources=("${ports[@]/#/[${POD_IP6[client]}]:}")
    fi
    pod_exec client python3 "$harness_top/tests/e2e/tools/ask.py" --udp "${@:3}" "$to" "${sources[@]}" >"$run/$2"
}
answers() { awk '{ print $2 }' "$run/$1" | sort | uniq -c | awk '{ printf "%s:%d ", $2, $1 }'; }
only() { # FILE PATTERN
    echo "    $(answers "$1")"
    awk -v pattern="^($2)\$" '$2 ~ pattern { n++ } END { exit n != 60 }' "$run/$1"
}
same_answers() { diff <(awk '{ print $1, $2 }' "$run/$1") <(awk '{ print $1, $2 }' "$run/$2"); }
states() { # POD STATE...: waits until all are shown
    while (($#)); do
        await 5 web_backend_state "$1" "$2"
        shift 2
    done
}
# A refusal that comes with the second SYN comes after a second each time; a busy machine is that slow only now and then.
refused_fast() { # ADDRESS:PORT [--udp]
    holds "$(load_in client "$1" --connections 20 "${@:2}" || true)" \
        '.ok == 0 and .errors == {"Connection refused": 20} and .first_failure_ms < 900'
}

for family in 4 6; do
    to=$web4
    ((family == 4)) || to=$web6
    say "$to: b1 drains"
    service web 10.96.0.10 fd00:10:96::10 tcp:80:TCP udp:80:UDP
    endpoints web "$web_ports" b1 b2 b3
    states b1 ready b2 ready b3 ready
    hold_begin "at-$family" client "$to" 60
    converse $family first-$family
    echo "    $(answers first-$family)"
    check "60 connections and 60 conversations are spread" eval "holds '$(hold_said "at-$family")' '.backends.b1 > 0' && grep -q b1 '$run/first-$family'"
    endpoints web "$web_ports" b1:draining b2 b3
    states b1 draining
    check "its connections live on" holds "$(hold_ask "at-$family")" '.failed == 0 and .ok == 60'
    converse $family drained-$family
    check "and so do its conversations" same_answers first-$family drained-$family
    check "300 new connections avoid it" holds "$(load_in client "$to" --connections 300 --bye)" '.failed == 0 and .backends.b1 == null'
    check "300 new conversations avoid it" holds "$(load_in client "$to" --connections 300 --udp)" '.failed == 0 and .backends.b1 == null'

    say "$to: b1 is gone, b2 and b3 drain"
    endpoints web "$web_ports" b1:notready b2:draining b3:draining
    states b1 notReady b2 draining b3 draining
    converse $family gone-$family
    check "what was with b1 has moved, the rest has not" eval "only gone-$family 'b2|b3' &&
        paste -d' ' $run/first-$family $run/gone-$family | awk '\$2 != \"b1\" && \$2 != \$5 { exit 1 }'"
    check "new connections are still served" holds "$(load_in client "$to" --connections 300 --bye)" \
        '.failed == 0 and .backends.b1 == null and .backends.b2 > 0 and .backends.b3 > 0'
    check "new conversations too" holds "$(load_in client "$to" --connections 300 --udp)" '.failed == 0 and .backends.b1 == null'

    say "$to: nobody serves"
    endpoints web "$web_ports" b1:notready b2:notready b3:notready
    states b2 notReady b3 notReady
    check "TCP is refused at once" await 5 refused_fast "$to"
    check "UDP is refused at once" await 5 refused_fast "$to" --udp
    converse $family none-$family
    check "open conversations are refused as well" only none-$family ECONNREFUSED
    check "60 connections live on" holds "$(hold_ask "at-$family")" '.failed == 0 and .ok == 60'

    say "$to: b2 comes back"
    endpoints web "$web_ports" b2
    states b2 ready
    converse $family back-$family
    check "every conversation goes on there" only back-$family b2

    say "$to: the Service is deleted"
    rm "$manifests/web.service.yaml"
    await 5 eval "ctl get services -o json | jq -e 'all(.items[]; .name != \"web\")'"
    reached=$(pod_packets b2)
    converse $family deleted-$family --timeout 0.05
    check "no conversation is answered" only deleted-$family 'TIMEOUT|E[A-Z]+'
    check "and no datagram reaches a pod" test "$(pod_packets b2)" = "$reached"
    check "60 connections live on" holds "$(hold_ask "at-$family")" '.failed == 0 and .ok == 60'
done
harness_end
