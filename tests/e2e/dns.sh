#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# A real DNS server behind one ClusterIP for UDP and TCP; a resolver that keeps its source port moves when its server leaves.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin dns
cluster_up
pod_add client
for i in 1 2; do
    pod_add "dns$i"
    pod_exec "dns$i" dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --user=root --no-resolv --no-hosts \
        --log-facility=- --address="/who.test/192.0.2.$i" >"$run/dns$i.log" 2>&1 &
done
ports="dns:53:UDP dns-tcp:53:TCP"
service dns 10.96.0.53 fd00:10:96::53 dns:53:UDP dns-tcp:53:TCP
endpoints dns "$ports" dns1 dns2
start_agent

ask() { pod_exec client dig +short +time=10 +tries=1 who.test A "$@"; }
await 5 ask @"${POD_IP4[dns1]}"
await 5 ask @"${POD_IP6[dns2]}"

for server in 10.96.0.53 fd00:10:96::53; do
    for mode in +notcp +tcp; do
        answers=$(for ((i = 0; i < 40; i++)); do ask "@$server" $mode; done | sort | uniq -c | awk '{ print $2, $1 }' | paste -sd' ')
        echo "    @$server $mode: $answers"
        check "40 queries to $server $mode are answered, by both servers" \
            eval "[[ '$answers' =~ ^192.0.2.1\ [0-9]+\ 192.0.2.2\ [0-9]+\$ ]] && awk 'BEGIN { split(\"$answers\", a); exit a[2] + a[4] != 40 }'"
    done
done

for family in 4 6; do
    if ((family == 4)); then
        server=10.96.0.53 from="${POD_IP4[client]}#5353"
    else
        server=fd00:10:96::53 from="${POD_IP6[client]}#5353"
    fi
    say "one resolver, always from $from"
    first=$(ask "@$server" -b "$from")
    again=$(for ((i = 0; i < 10; i++)); do ask "@$server" -b "$from"; done | sort -u)
    check "it stays with one server ($first)" test "$again" = "$first"
    leaving=dns${first##*.}
    staying=dns$((3 - ${first##*.}))
    endpoints dns "$ports" "$leaving:notready" "$staying"
    await 5 eval "ctl get services -o json | jq -e 'any(.items[].backends[]; .address == \"${POD_IP4[$leaving]}\" and .state == \"notReady\")'"
    check "it is answered by the other one as soon as the first leaves" \
        test "$(ask "@$server" -b "$from")" = "192.0.2.${staying#dns}"
    endpoints dns "$ports" dns1 dns2
    await 5 eval "! ctl get services -o json | jq -e 'any(.items[].backends[]; .state == \"notReady\")'"
done
harness_end
