#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# XDP on the uplinks of two nodes: what a client outside sends through a node port to a backend on the other node is
# turned round there, and its answers too; what may begin no flow is dropped there; direct server return is left alone.
# Another's XDP program stays, flows outlive the agent and the program, and without XDP all goes on by tc.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"
. "$(dirname "$0")/../harness/outside.sh"

# ready_for_xdp NAMESPACE DEVICE NUMBER: a link to the router. A veth hands over what XDP sends only where the other end has an
# XDP program as well; and a checksum that is left to a device would keep every packet from being turned round.
ready_for_xdp() {
    mkfifo "$run/link$3.in"
    # shellcheck disable=SC2034 # it only has to stay open
    exec {open}<>"$run/link$3.in"
    nsenter --net="/run/netns/$prefix-router" "$tools/foreign_xdp" "link$3" <"$run/link$3.in" >"$run/link$3" 2>&1 &
    await 5 grep -q ready "$run/link$3"
    without_offload "$1" "$2"
}
without_offload() { nsenter --net="/run/netns/$1" ethtool -K "$2" tx off >/dev/null; }

talk() { pod_exec outside python3 "$harness_top/tests/e2e/tools/talk.py" "$@"; }
turned() { ctl "$@" status -o json | jq .xdp.packets; }
uplink_has() { holds "$(ctl get links -o json)" '.items[] | select(.name == "uplink") | [.hooks[] | select(.hook == "xdp") | .mode] == '"$1"; }
agent() {
    start_agent -n "$1" --node-ip "10.0.20$1.2,fd00:78:20$1::2" --service-cidr 10.96.0.0/16,fd00:10:96::/112 "${@:2}"
}
sample() { node_exec curl -sS --max-time 20 http://127.0.0.1:10249/metrics | awk -v name="$1" 'index($0, name " ") == 1 { print $NF }'; }

harness_begin xdp
cluster_up 2
outside_up
for node in 1 2; do ready_for_xdp "$(node_ns $node)" uplink "20$node"; done
ready_for_xdp "$(pod_ns outside)" eth0 250
pod_add b2 2
without_offload "$(pod_ns b2)" eth0
pod_serve b2 8080
exposed far 80 8080 Cluster b2
exposed local 81 8080 Local b2
annotation='svclb.io/forwarding-mode: dsr' exposed direct 82 8080 Cluster b2
for node in 1 2; do agent $node --xdp native; done
check "XDP is at the uplink, in the driver" uplink_has '["native"]'
check "and at the other node's" holds "$(ctl -n 2 get links -o json)" \
    '.items[] | select(.name == "uplink") | any(.hooks[]; .hook == "xdp" and .mode == "native")'

# through WHAT EXPRESSION: all four kinds of conversations, 400 questions each; EXPRESSION of how many packets XDP has
# turned round meanwhile.
through() {
    local to source before kind n=0 port
    for kind in "4" "4 --udp" "6" "6 --udp"; do
        n=$((n + 1))
        to=10.0.201.2:30080 source=$outside4
        [[ $kind != 6* ]] || { to="[fd00:78:201::2]:30080" source=[$outside6]; }
        before=$(turned)
        # shellcheck disable=SC2086 # no option where there is none
        check "IPv$kind: every question is answered" holds "$(talk ${kind:2} --questions 400 $to $source)" \
            '.answered == 400 and .lost == 0 and .pods == ["b2"]'
        before=$(($(turned) - before))
        check "IPv$kind: $1: $before packets" test "$before" "${@:2}"
    done
}
say "in the driver"
through "turned round at XDP" -ge 500
check "desired and programmed state agree" ctl verify

dropped_at_xdp() { ctl status -o json | jq .xdp.dropped; }
dropped_for() { ctl status -o json | jq --arg reason "$1" '[.drops[] | select(.reason == $reason) | .packets] | add // 0'; }

has_dropped() { (($(dropped_for "$1") == $2)); } # REASON PACKETS

# floods AT-XDP: packets that may begin no flow, 200 of each kind, fewer than any queue on their way has room for. Whether
# XDP drops them or tc does, they count under one reason.
floods() {
    local reason targets target proto from before early
    while read -r reason targets; do
        for target in $targets; do
            from=10.0.250.100
            [[ $target != *]* ]] || from=fd00:78:250::100
            for proto in tcp udp; do
                before=$(dropped_for "$reason") early=$(dropped_at_xdp)
                pod_exec outside "$tools/packet_flood" $proto $from "$target" 200 >/dev/null
                check "$proto to $target: $reason" await 5 has_dropped "$reason" $((before + 200))
                check "$proto to $target: at XDP" test "$(($(dropped_at_xdp) - early))" = $((200 * $1))
            done
        done
    done <<'TARGETS'
CLUSTER_IP_FROM_OUTSIDE 10.96.0.80:80 [fd00:10:96::80]:80 10.96.0.80:9 [fd00:10:96::80]:9
UNALLOCATED_DROPPED 10.96.7.7:80 [fd00:10:96::707]:80
NO_LOCAL_BACKEND_DROPPED 10.0.201.2:30081 [fd00:78:201::2]:30081 192.0.2.81:80 [2001:db8::81]:80
TARGETS
}

client_port=41000
# conversations: one of each kind, each with a question every 2 ms, until `unbroken` ends them.
conversations() {
    local n=0 kind
    talking=()
    client_port=$((client_port + 1))
    for kind in "10.0.201.2:30080 $outside4:$client_port" "--udp 10.0.201.2:30080 $outside4:$client_port" \
        "[fd00:78:201::2]:30080 [$outside6]:$client_port" "--udp [fd00:78:201::2]:30080 [$outside6]:$client_port"; do
        n=$((n + 1))
        # shellcheck disable=SC2086 # several words
        nsenter --net="/run/netns/$(pod_ns outside)" python3 "$harness_top/tests/e2e/tools/talk.py" --until-told \
            --questions 500 --pause 0.002 $kind >"$run/talk$n" &
        talking+=($!)
    done
    for n in 1 2 3 4; do await 20 grep -q asking "$run/talk$n"; done
}
unbroken() { # SENTENCE
    kill "${talking[@]}" || true
    wait "${talking[@]}" || true
    for n in 1 2 3 4; do
        check "$1: conversation $n is unbroken" holds "$(tail -n 1 "$run/talk$n")" '.lost == 0 and .error == "" and .answered >= 500'
    done
}

say "what may begin no flow"
conversations
floods 1
unbroken "floods"
check "the metrics have them" test "$(sample 'svclb_xdp_packets_total{action="dropped"}')" = "$(dropped_at_xdp)"
check "and what was forwarded" test "$(sample 'svclb_xdp_packets_total{action="forwarded"}')" = "$(turned)"
check "and what went up" test "$(sample 'svclb_xdp_packets_total{action="passed"}')" -gt 0
check "and the uplink's mode" test "$(sample 'svclb_uplink_xdp{device="uplink",mode="native"}')" = 1

say "direct server return"
for kind in "192.0.2.82:80 $outside4" "--udp 192.0.2.82:80 $outside4" "[2001:db8::82]:80 [$outside6]" \
    "--udp [2001:db8::82]:80 [$outside6]"; do
    there=$(turned) here=$(turned -n 2)
    # shellcheck disable=SC2086 # several words
    check "every question is answered: $kind" holds "$(talk --questions 400 $kind)" \
        '.answered == 400 and .lost == 0 and .pods == ["b2"]'
    check "nothing of it is turned round" test "$(turned) $(turned -n 2)" = "$there $here"
done
check "it went to the backend's node whole" holds "$(ctl get flows --all -o json)" '[.items[] | select(.kind == "encapsulated")] | length >= 4'

say "a firewall that drops what connection tracking calls invalid"
node_exec nft -f - <<'RULES'
table inet firewall {
    chain forward {
        type filter hook forward priority 0
        ct state invalid counter drop
    }
}
RULES
conversations
unbroken "firewall"
check "drops nothing" holds "$(node_exec nft -j list chain inet firewall forward)" \
    '[.nftables[].rule.expr[]?.counter | select(.) | .packets] == [0]'
# shellcheck disable=SC2016 # awk's own
check "connection tracking knows datagrams, and no connection" \
    test "$(node_exec awk '{ print $3 }' /proc/net/nf_conntrack | grep -v icmp | sort -u)" = udp
node_exec nft delete table inet firewall

say "the agent is killed, and comes back"
conversations
sleep 1
stop_agent KILL
before=$(turned)
more_turned() { (($(turned) > before)); }
check "without the agent XDP goes on" await 5 more_turned
agent 1 --xdp native
unbroken "killed"
check "the next agent has taken over" uplink_has '["native"]'

say "without XDP, and with it again"
conversations
sleep 1
stop_agent
agent 1 --xdp off
check "it is gone" uplink_has '[]'
before=$(turned)
sleep 1
check "and nothing more is turned round" test "$(turned)" = "$before"
check "the metrics say so" test "$(sample 'svclb_uplink_xdp{device="uplink",mode="off"}')" = 1
stop_agent
agent 1 --xdp generic
check "generic on request" uplink_has '["generic"]'
check "turns round as well" await 5 more_turned
stop_agent
agent 1
check "by itself it is not put on a virtual device" uplink_has '[]'
unbroken "changed"
say "what may begin no flow, by tc"
floods 0

say "somebody else's program"
stop_agent
mkfifo "$run/foreign.in"
# shellcheck disable=SC2034 # it only has to stay open
exec {foreign}<>"$run/foreign.in"
node_exec "$tools/foreign_xdp" uplink <"$run/foreign.in" >"$run/foreign" 2>&1 &
await 5 grep -q ready "$run/foreign"
: >"$run/agent1.log"
agent 1 --xdp native
check "is named, once" test "$(grep -c 'xdp: not on uplink: the XDP program "foreign" (id [0-9]*) is there' "$run/agent1.log")" = 1
check "and in the status" holds "$(ctl status -o json)" '.xdp.text | test("not on uplink: the XDP program .foreign.")'
check "stays" node_exec ip -j -d link show uplink
check "and is the only one" uplink_has '[]'
through "tc serves" -eq 0

say "cleanup"
stop_agent -n 2
nsenter --net="/run/netns/$(node_ns 2)" "$build/userspace/agent/svclb-agent" "${agent_source[@]}" \
    --state-dir "$run/state2" --bpf-dir "$(bpf_dir 2)" --cleanup >/dev/null
check "leaves no XDP program" holds "$(ip -n "$(node_ns 2)" -j -d link show uplink)" '.[0] | has("xdp") | not'
harness_end
