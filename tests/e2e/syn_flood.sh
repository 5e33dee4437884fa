#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# A flood of ten times the flow table's size pushes out no established connection, idle ones included.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin syn_flood
web_cluster 2
pod_add attacker
start_agent --flow-entries 4096
flood=$((10 * $(ctl get maps -o json | jq '[.items[] | select(.name | test("^(established|transient)")) | .maxEntries] | max')))

hold_begin v4 client "$web4" 500
held=$(hold_said v4)
check "500 connections are open over IPv4" holds "$held" '.failed == 0'
hold_begin v6 client "$web6" 500
held=$(hold_said v6)
check "500 connections are open over IPv6" holds "$held" '.failed == 0'

survived() { # AFTER-WHAT
    check "after $1 every IPv4 connection lives" holds "$(hold_ask v4)" '.ok == 500'
    check "after $1 every IPv6 connection lives" holds "$(hold_ask v6)" '.ok == 500'
    check "after $1 new connections are made" holds "$(load_in client "$web4" --connections 200)" '.failed == 0'
    # The ones that begin beside a flood must outlive the next one just as well.
    if [[ -n $late ]]; then
        check "after $1 the connections that began after $late live" holds "$(hold_ask "after-$late")" '.ok == 50'
    fi
    late=$1
    hold_begin "after-$late" client "$web4" 50
    ctl status -o wide | grep -E 'established|transient|ESTABLISHED' | sed 's/^ */    /'
}
late=

flood() { pod_exec attacker "$tools/packet_flood" "$@"; }

say "$flood SYNs from addresses that nobody has, in each family"
flood tcp 10.244.200.1 "$web4" "$flood"
flood tcp fd00:10:244:200::1 "$web6" "$flood"
survived "SYNs from nobody"

say "$flood SYNs from the attacker's own address: its kernel answers each SYN-ACK with RST"
flood tcp "${POD_IP4[attacker]}" "$web4" "$flood"
survived "SYNs that are reset"

say "$flood SYNs from its own address, without the RST: half-open as long as it likes"
pod_exec attacker nft -f - <<'NFT'
table inet quiet { chain out { type filter hook output priority 0; tcp flags & rst == rst drop; }; }
NFT
flood tcp "${POD_IP4[attacker]}" "$web4" "$flood"
flood tcp "${POD_IP6[attacker]}" "$web6" "$flood"
survived "SYNs that are left half-open"

say "$flood datagrams, one way"
flood udp fd00:10:244:201::1 "$web6" "$flood"
survived "one-way datagrams"
ctl status -o wide
harness_end
