#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# A node is taken over from a proxy that works by netfilter's NAT, as kube-proxy does, and given back: docs/deploy.md, step
# by step. Connections of either one outlive the change to the other.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin takeover
cluster_up
pod_add client 1 ptp # ptp: replies pass the node's netfilter, as they do on bridges with br_netfilter
for pod in b1 b2; do
    pod_add "$pod" 1 ptp
    pod_serve "$pod" 8080
done
service web 10.96.0.10 fd00:10:96::10 tcp:80:TCP udp:80:UDP
endpoints web "$web_ports" b1 b2

# What conntrack remembers is translated as long as some rule of the node needs it, such as a CNI's masquerading.
node_exec nft -f - <<EOF
table inet cni {
    chain post {
        type nat hook postrouting priority srcnat;
        oifname "to-the-world" masquerade
    }
}
EOF

# The other proxy: one rule for each ClusterIP and protocol, its choice at random, its connections remembered by conntrack.
proxy_begin() {
    node_exec nft -f - <<EOF
table inet proxy {
    counter begun { }
    chain pre {
        type nat hook prerouting priority dstnat;
        ip daddr 10.96.0.10 meta l4proto { tcp, udp } th dport 80 counter name begun dnat ip to numgen random mod 2 map { 0 : ${POD_IP4[b1]}, 1 : ${POD_IP4[b2]} }:8080
        ip6 daddr fd00:10:96::10 meta l4proto { tcp, udp } th dport 80 counter name begun dnat ip6 to numgen random mod 2 map { 0 : ${POD_IP6[b1]}, 1 : ${POD_IP6[b2]} }:8080
    }
}
EOF
}
proxy_end() { node_exec nft delete table inet proxy; }
proxy_begun() { node_exec nft -j list counter inet proxy begun | jq '.nftables[] | .counter? // empty | .packets'; }
web_services() { ctl get services -o json | jq '[.items[] | select(.name == "web")] | length'; }

# new_ones SENTENCE LEAST MOST: 200 new connections of every kind work, and so many begin in the other proxy. Not all of
# them where they should: a client's port that conntrack knows from a round before begins nothing there.
new_ones() {
    local before to
    before=$(proxy_begun)
    for to in "$web4" "$web6"; do
        check "$1: TCP to $to" holds "$(load_in client "$to" --connections 50)" '.failed == 0 and (.backends | length) == 2'
        check "$1: UDP to $to" holds "$(load_in client "$to" --connections 50 --udp)" '.failed == 0 and (.backends | length) == 2'
    done
    check "$1: $(($(proxy_begun) - before)) of them by the other proxy" between "$2" $(($(proxy_begun) - before)) "$3"
}

between() { (($1 <= $2 && $2 <= $3)); }

# live ID WHAT COUNT
live() { check "$2 lives" holds "$(hold_ask "$1")" ".ok == $3"; }
old_ones_live() {
    live old4 "each TCP connection that the other proxy began over IPv4" 20
    live old6 "each one over IPv6" 20
    live udp4 "each UDP conversation" 20
}

proxy_begin
new_ones "before" 190 200
hold_begin old4 client "$web4" 20
hold_begin old6 client "$web6" 20
hold_begin udp4 client "$web4" 20 --udp
old_ones_live

say "svclb comes, the other proxy still runs"
start_agent --service-cidr 10.96.0.0/16,fd00:10:96::/112
old_ones_live
new_ones "svclb goes first" 0 0
passed=$(ctl status -o json | jq '[.drops[]? | select(.reason == "NO_FLOW") | .packets] | add')
check "packets without a flow were passed on to it: $passed" test "$passed" -ge 80
hold_begin new4 client "$web4" 20
hold_begin new6 client "$web6" 20

say "the other proxy goes"
proxy_end
old_ones_live
live new4 "each TCP connection that svclb began" 20

say "back: the other proxy first"
proxy_begin
new_ones "svclb still goes first" 0 0
say "then svclb without Services, which keeps what it began"
stop_agent
mkdir "$run/nothing"
agent_source=(--manifests "$run/nothing")
start_agent
check "svclb knows no Service any more" test "$(web_services)" = 0
new_ones "the other proxy has them" 190 200
old_ones_live
live new4 "each TCP connection that svclb began over IPv4" 20
live new6 "each one over IPv6" 20
svclb_flows() { ctl get flows -o json | jq '[.items[] | select(.protocol == "TCP" and .state == "ESTABLISHED")] | length'; }
check "svclb-ctl counts them: $(svclb_flows)" test "$(svclb_flows)" = 40

say "svclb goes"
stop_agent
# As in a Pod, where the state directory is mounted from the node.
# shellcheck disable=SC2016 # for the inner shell
check "--cleanup succeeds" node_exec unshare --mount bash -c 'mount --bind "$1" "$1" && exec "$0" --cleanup --state-dir "$1" --bpf-dir "$2"' \
    "$build/userspace/agent/svclb-agent" "$run/state1" "$(bpf_dir)"
nothing_left() { [[ ! -e $(bpf_dir) && -z $(ls "$run/state1") ]]; }
check "and leaves nothing behind" nothing_left
old_ones_live
new_ones "after" 190 200
harness_end
