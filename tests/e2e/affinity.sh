#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Session affinity by client address (behaviour row 1.18): from every source port, for the timeout to the second, through
# a crash of the agent, and only to a backend that new connections may go to.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin affinity
web_cluster 3
long=10800 short=8
affinity_s=$long service web 10.96.0.10 fd00:10:96::10 tcp:80:TCP udp:80:UDP
affinity_s=$short service brief 10.96.0.11 fd00:10:96::11 tcp:80:TCP udp:80:UDP
endpoints brief "$web_ports" b1 b2 b3
start_agent

# Many clients in one pod: what is random shows itself at once.
sources4=() sources6=()
for ((i = 1; i <= 16; i++)); do
    sources4+=("10.244.1.$((200 + i))")
    sources6+=("fd00:10:244:1::f$(printf %02x "$i")")
    pod_exec client ip address add "10.244.1.$((200 + i))/24" dev eth0
    pod_exec client ip address add "${sources6[-1]}/64" dev eth0 nodad
done

# ask_all FAMILY PROTOCOL SERVICE: each of the addresses asks once.
ask_all() {
    local -n sources=sources$1
    local host=10 udp=()
    [[ $3 == web ]] || host=11
    [[ $2 == tcp ]] || udp=(--udp)
    local to=10.96.0.$host:80
    (($1 == 4)) || to="[fd00:10:96::$host]:80"
    pod_exec client python3 "$harness_top/tests/e2e/tools/ask.py" "${udp[@]}" "$to" "${sources[@]}"
}
backends_of() { awk '{ print $1, $2 }' "$1"; }
same_answers() { diff <(backends_of "$1") <(backends_of "$2"); }

# Clients whose two questions were so many seconds apart must have had one answer, or must be free to have another: with
# a second of play, for times are whole seconds. Prints "same moved unsure".
compare() { # FIRST SECOND TIMEOUT
    paste -d' ' "$1" "$2" | awk -v timeout="$3" '
        $6 - $3 < timeout - 1 { $2 == $5 ? kept++ : lost++; next }
        $6 - $3 >= timeout + 1 { $2 == $5 ? stayed++ : moved++; next }
        { unsure++ }
        END { printf "{\"kept\": %d, \"lost\": %d, \"stayed\": %d, \"moved\": %d, \"unsure\": %d}", kept, lost, stayed, moved, unsure }'
}

check "15 connections, one answer" holds "$(load_in client "$web4" --connections 15 --bye)" \
    '.failed == 0 and (.backends | length) == 1'
check "15 datagrams, one answer, over IPv6" holds "$(load_in client "$web6" --connections 15 --udp)" \
    '.failed == 0 and (.backends | length) == 1'

kinds=("4 tcp" "4 udp" "6 tcp" "6 udp")
for kind in "${kinds[@]}"; do
    read -r family protocol <<<"$kind"
    ask_all "$family" "$protocol" web >"$run/first-$family-$protocol"
    check "IPv$family $protocol: 16 clients spread" test "$(awk '{ print $2 }' "$run/first-$family-$protocol" | sort -u | wc -l)" -gt 1
done
stop_agent KILL
start_agent
for kind in "${kinds[@]}"; do
    read -r family protocol <<<"$kind"
    ask_all "$family" "$protocol" web >"$run/again"
    check "IPv$family $protocol: and keep their backends when the agent is killed and comes back" \
        same_answers "$run/first-$family-$protocol" "$run/again"
done
check "svclb-ctl shows them" holds "$(ctl get affinity default/web -o json)" '(.items | length) >= 64'

say "b1 takes no new connections"
endpoints web "$web_ports" b1:draining b2 b3
await 5 web_backend_state b1 draining
for kind in "${kinds[@]}"; do
    read -r family protocol <<<"$kind"
    ask_all "$family" "$protocol" web >"$run/without-$family-$protocol"
    check "IPv$family $protocol: its clients go elsewhere, the others stay" eval \
        "paste -d' ' $run/first-$family-$protocol $run/without-$family-$protocol |
         awk '\$5 !~ /^b[23]\$/ || (\$2 != \"b1\" && \$2 != \$5) { wrong = 1 } END { exit wrong }'"
done
endpoints web "$web_ports" b1 b2 b3
await 5 web_backend_state b1 ready
for kind in "${kinds[@]}"; do
    read -r family protocol <<<"$kind"
    ask_all "$family" "$protocol" web >"$run/again"
    check "IPv$family $protocol: nobody moves back" same_answers "$run/without-$family-$protocol" "$run/again"
done

say "a timeout of $short seconds, renewed by each new connection"
declare -A log
for kind in "${kinds[@]}"; do
    read -r family protocol <<<"$kind"
    # A machine that sleeps too long between two questions proves nothing: it is asked again.
    (
        for ((round = 0; round < 4; round++)); do
            ask_all "$family" "$protocol" brief >"$run/$family-$protocol.0"
            sleep 4.5
            ask_all "$family" "$protocol" brief >"$run/$family-$protocol.1"
            sleep 4.5
            ask_all "$family" "$protocol" brief >"$run/$family-$protocol.2"
            for step in 0 1; do
                compare "$run/$family-$protocol.$step" "$run/$family-$protocol.$((step + 1))" $short >"$run/$family-$protocol.kept$step"
            done
            ! jq -es 'all(.[]; .kept == 16)' "$run/$family-$protocol".kept? >/dev/null || break
            ! jq -es 'any(.[]; .lost > 0)' "$run/$family-$protocol".kept? >/dev/null || break
        done
        sleep $((short + 1))
        ask_all "$family" "$protocol" brief >"$run/$family-$protocol.3"
    ) &
    log["$kind"]=$!
done
for kind in "${kinds[@]}"; do
    read -r family protocol <<<"$kind"
    wait "${log[$kind]}"
    for step in 0 1; do
        check "IPv$family $protocol: kept from question $step to the next" \
            holds "$(cat "$run/$family-$protocol.kept$step")" '.kept == 16 and .lost == 0'
    done
    check "IPv$family $protocol: forgotten a second after the timeout" \
        holds "$(compare "$run/$family-$protocol.2" "$run/$family-$protocol.3" $short)" '.moved > 0 and .kept == 0'
done
harness_end
