#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# A Service without a usable backend answers "connection refused" at once, and so does a port that it does not have.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin refused
web_cluster 1
service empty 10.96.0.30 fd00:10:96::30 tcp:80:TCP udp:80:UDP
endpoints empty "$web_ports" b1:notready
start_agent

refused='.ok == 0 and .errors == {"Connection refused": 20}'
for case in 'no usable backend:10.96.0.30:80' 'no usable backend:[fd00:10:96::30]:80' \
    'unknown port:10.96.0.10:81' 'unknown port:[fd00:10:96::10]:81'; do
    to=${case#*:}
    for protocol in TCP UDP; do
        option=()
        [[ $protocol == TCP ]] || option=(--udp)
        result=$(load_in client "$to" --connections 20 --concurrency 1 "${option[@]}") || true
        check "$protocol to $to (${case%%:*}): refused after $(jq .first_failure_ms <<<"$result") ms" holds "$result" "$refused"
    done
done

say "the last backend leaves"
check "web answers" holds "$(load_in client "$web4" --connections 20)" '.failed == 0'
endpoints web "$web_ports"
check "web's backend is gone" await 5 eval '! web_backend_state b1 ready'
for to in "$web4" "$web6"; do
    result=$(load_in client "$to" --connections 20 --concurrency 1) || true
    check "TCP to $to: refused after $(jq .first_failure_ms <<<"$result") ms" holds "$result" "$refused"
done
endpoints web "$web_ports" b1
check "and comes back" await 5 web_backend_state b1 ready
check "web answers again" holds "$(load_in client "$web6" --connections 20)" '.failed == 0'
ctl status
harness_end
