#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Direct server return: a client outside dials an external address at node 1, the backend is on node 2. The backend sees
# the client, its answers pass node 1 by, and nothing established ends when the annotation comes or goes.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"
. "$(dirname "$0")/../harness/outside.sh"

annotation='svclb.io/forwarding-mode: dsr'
snat='svclb.io/forwarding-mode: snat'

# seen ADDRESS:PORT [--udp]: whom the backend sees where the client outside dials.
seen() {
    pod_exec outside python3 "$harness_top/tests/e2e/tools/ask.py" "${@:2}" "$1" "$source" | awk '{ print $2 }'
}

# is_direct NODE NAME: the node's external frontends of the Service are marked, its node ports are not.
is_direct() {
    ctl -n "$1" get services "default/$2" -o json | jq -e '[.items[].frontends[]] | length > 0 and
        all(.dsr == (.kind == "externalIP" or .kind == "loadBalancer"))'
}
is_not_direct() { ctl -n "$1" get services "default/$2" -o json | jq -e '[.items[].frontends[].dsr] | any | not'; }

harness_begin dsr
cluster_up 2
outside_up
for node in 1 2; do
    pod_add "b$node" $node
    pod_serve "b$node" 8080
    nsenter --net="/run/netns/$(pod_ns "b$node")" python3 "$harness_top/tests/e2e/tools/peer_name.py" 9090 >"$run/peer$node" &
    await 10 grep -q ready "$run/peer$node"
done
exposed here 81 9090 Cluster b1
exposed there 82 9090 Cluster b2
exposed both 83 8080 Cluster b1 b2
annotation=$snat exposed other 84 9090 Cluster b2
for node in 1 2; do
    start_agent -n $node --node-ip "10.0.20$node.2,fd00:78:20$node::2"
done
check "the frontends are marked" is_direct 1 there
check "on the other node as well" is_direct 2 there
check "without the annotation they are not" is_not_direct 1 other

for family in 4 6; do
    if [[ $family == 4 ]]; then
        source=$outside4 node=10.0.201.2 external=192.0.2. bracket='' end=''
    else
        source=[$outside6] node=fd00:78:201::2 external=2001:db8:: bracket='[' end=']'
    fi
    client=${source//[\[\]]/}
    say "IPv$family"
    for udp in "" --udp; do
        # shellcheck disable=SC2086 # no option where there is none
        {
            for at in "$external" "${external}1"; do
                check "the backend of ${at}82 on the other node sees the client $udp" \
                    test "$(seen "$bracket${at}82$end:80" $udp)" = "$client"
                check "the one of ${at}81 here as well $udp" test "$(seen "$bracket${at}81$end:80" $udp)" = "$client"
                check "that of ${at}84 sees the node $udp" test "$(seen "$bracket${at}84$end:80" $udp)" = "$node"
            done
            check "a node port's sees the node $udp" test "$(seen "$bracket$node$end:30082" $udp)" = "$node"
        }
    done
done

# uplink_bytes NODE COLUMN: received (2) or sent (10) by the node's uplink.
uplink_bytes() { node_exec -n "$1" cat /proc/net/dev | awk -v column="$2" '$1 == "uplink:" { print $column }'; }

learned_mtu() { pod_exec outside ip route get "$1" | grep -o 'mtu [0-9]*' | cut -d ' ' -f 2; }

say "bulk transfers, and the size of packets"
nsenter --net="/run/netns/$(pod_ns b2)" iperf3 -s -p 5201 --forceflush >"$run/iperf3.log" 2>&1 &
await 5 grep -q listening "$run/iperf3.log"
exposed bulk 85 5201 Cluster b2
check "the Service is there" await 5 is_direct 1 bulk
check "and at the other node" await 5 is_direct 2 bulk
for to in 192.0.2.85 2001:db8::85; do
    mtu=1480
    [[ $to != *:* ]] || mtu=1460
    check "a bulk transfer to $to goes through" test "$(bulk_in outside "$to")" -ge 5000000
    check "the client has learned the MTU $mtu for $to" test "$(learned_mtu "$to")" = "$mtu"
    before=$(uplink_bytes 1 2)
    sent=$(uplink_bytes 2 10)
    check "a bulk transfer from $to goes through" test "$(bulk_in outside "$to" -R)" -ge 5000000
    check "from the backend's node" test $(($(uplink_bytes 2 10) - sent)) -ge 5000000
    check "past node 1" test $(($(uplink_bytes 1 2) - before)) -le 4000000
done
# Devices that take no super-packets: the kernel cuts them, with the outer header, and without it again.
node_exec -n 1 ethtool -K uplink tso off gso off
node_exec -n 2 ethtool -K v-b2 tso off gso off
for to in 192.0.2.85 2001:db8::85; do
    check "cut by the kernel, a transfer to $to goes through" test "$(bulk_in outside "$to")" -ge 5000000
done
# Behind the router, a link of the client's that takes less than the backend sends.
ip -n "$prefix-router" link set link250 mtu 1400
pod_exec outside ip link set eth0 mtu 1400
for to in 192.0.2.85 2001:db8::85; do
    check "errors about what the backend sends find it: a transfer from $to" test "$(bulk_in outside "$to" -R)" -ge 5000000
done
ip -n "$prefix-router" link set link250 mtu 1500
pod_exec outside ip link set eth0 mtu 1500

# Between the nodes, a link that takes less than their own devices: the router tells node 1, and that the client.
ip -n "$prefix-router" link set link202 mtu 1400
node_exec -n 2 ip link set uplink mtu 1400
for to in 192.0.2.85 2001:db8::85; do
    mtu=1380
    [[ $to != *:* ]] || mtu=1360
    check "errors about encapsulated packets are passed on: a transfer to $to" test "$(bulk_in outside "$to")" -ge 5000000
    check "the client has learned the MTU $mtu for $to" test "$(learned_mtu "$to")" = "$mtu"
done
ip -n "$prefix-router" link set link202 mtu 1500
node_exec -n 2 ip link set uplink mtu 1500

say "what is open stays, whatever the annotation says and whoever dies"
hold_begin v4 outside 192.0.2.83:80 40
hold_begin v6 outside "[2001:db8::83]:80" 40
check "connections are open" holds "$(hold_said v4)" '.failed == 0'
check "in both families" holds "$(hold_said v6)" '.failed == 0'
load_in outside 192.0.2.83:80 --seconds 6 --rate 100 --bye --timeout-ms 20000 >"$run/load4.json" &
load4=$!
load_in outside "[2001:db8::83]:80" --seconds 6 --rate 100 --udp >"$run/load6.json" &
load6=$!
annotation=$snat exposed both 83 8080 Cluster b1 b2
check "the annotation is gone" await 5 is_not_direct 1 both
check "on both nodes" await 5 is_not_direct 2 both
check "every open IPv4 connection lives" holds "$(hold_ask v4)" '.ok == 40'
check "every open IPv6 connection lives" holds "$(hold_ask v6)" '.ok == 40'
hold_begin snat4 outside 192.0.2.83:80 20
exposed both 83 8080 Cluster b1 b2
check "it is back" await 5 is_direct 1 both
check "on both nodes again" await 5 is_direct 2 both
check "connections by way of the node live" holds "$(hold_ask snat4)" '.ok == 20'
for node in 1 2; do
    stop_agent -n $node KILL
    check "with the agent of node $node killed, new connections reach both backends" \
        holds "$(load_in outside 192.0.2.83:80 --connections 200 --bye)" '.failed == 0 and (.backends | length) == 2'
    start_agent -n $node --node-ip "10.0.20$node.2,fd00:78:20$node::2"
done
wait $load4 $load6 || true
check "no TCP request failed" holds "$(cat "$run/load4.json")" '.failed == 0 and .ok > 50'
check "every open IPv4 connection lives" holds "$(hold_ask v4)" '.ok == 40'
check "every open IPv6 connection lives" holds "$(hold_ask v6)" '.ok == 40'
pod_exec outside "$tools/packet_flood" tcp 10.0.250.100 192.0.2.83:80 20000
pod_exec outside "$tools/packet_flood" tcp fd00:78:250::100 "[2001:db8::83]:80" 20000
check "after a flood of SYNs every IPv4 connection lives" holds "$(hold_ask v4)" '.ok == 40'
check "and every IPv6 one" holds "$(hold_ask v6)" '.ok == 40'
endpoints both "tcp:8080:TCP udp:8080:UDP"
check "also without any endpoint" holds "$(hold_ask v4)" '.ok == 40'

say "the router asks another node"
exposed moved 86 8080 Cluster b2
check "the Service is there" await 5 is_direct 1 moved
check "and at the other node" await 5 is_direct 2 moved
hold_begin moved4 outside 192.0.2.86:80 20
hold_begin moved6 outside "[2001:db8::86]:80" 20
check "connections by way of node 1 are open" holds "$(hold_said moved4)" '.failed == 0'
check "in both families" holds "$(hold_said moved6)" '.failed == 0'
external_by 2
check "the backend's own node goes on with them" holds "$(hold_ask moved4)" '.ok == 20'
check "in IPv6, too" holds "$(hold_ask moved6)" '.ok == 20'
external_by 1
check "and node 1 once more" holds "$(hold_ask moved4)" '.ok == 20'
check "in IPv6 as well" holds "$(hold_ask moved6)" '.ok == 20'
annotation="svclb.io/algorithm: maglev, $annotation" exposed shared 87 8080 Cluster b1 b2
check "a Service with Maglev is there" await 5 is_direct 1 shared
check "and at the other node" await 5 is_direct 2 shared
hold_begin shared4 outside 192.0.2.87:80 40
hold_begin shared6 outside "[2001:db8::87]:80" 40
check "connections lead to both nodes' backends" holds "$(hold_said shared4)" '.failed == 0 and (.backends | length) == 2'
check "in both families" holds "$(hold_said shared6)" '.failed == 0 and (.backends | length) == 2'
external_by 2
check "with Maglev node 2 goes on with what it has never seen" holds "$(hold_ask shared4)" '.ok == 40'
check "in IPv6, too" holds "$(hold_ask shared6)" '.ok == 40'
external_by 1
check "and node 1 once more" holds "$(hold_ask shared4)" '.ok == 40'
check "in IPv6 as well" holds "$(hold_ask shared6)" '.ok == 40'

say "a connection that the node which is asked does not know"
annotation=$snat
exposed alone 88 8080 Cluster b1 b2
# has NODE NAME: the node serves it.
has() { ctl -n "$1" get services "default/$2" -o json | jq -e '[.items[].frontends[]] | length > 0'; }
unknown() { ctl -n "$1" status -o json | jq '[.drops[]? | select(.reason == "NO_FLOW_REJECTED") | .packets] | add // 0'; }
check "a Service without DSR is there" await 5 has 1 alone
check "and at the other node" await 5 has 2 alone
hold_begin alone4 outside 192.0.2.88:80 10
hold_begin alone6 outside "[2001:db8::88]:80" 10
check "connections by way of node 1 are open" holds "$(hold_said alone4)" '.failed == 0'
check "in both families" holds "$(hold_said alone6)" '.failed == 0'
check "and live" holds "$(hold_ask alone4)" '.ok == 10'
external_by 2
check "node 2 resets them" holds "$(hold_ask alone4)" '.errors == {"Connection reset by peer": 10}'
check "in IPv6, too" holds "$(hold_ask alone6)" '.errors == {"Connection reset by peer": 10}'
check "and counts them" test "$(unknown 2)" -ge 20
external_by 1

# Another proxy, by netfilter's NAT, has begun them, and svclb comes to know the Service.
node_exec nft -f - <<EOF
table inet proxy {
    chain pre {
        type nat hook prerouting priority dstnat;
        ip daddr 192.0.2.89 tcp dport 80 dnat ip to ${POD_IP4[b2]}:8080
        ip6 daddr 2001:db8::89 tcp dport 80 dnat ip6 to [${POD_IP6[b2]}]:8080
    }
    chain post {
        type nat hook postrouting priority srcnat;
        ct status dnat masquerade
    }
}
EOF
hold_begin proxied4 outside 192.0.2.89:80 10
hold_begin proxied6 outside "[2001:db8::89]:80" 10
check "another proxy's connections are open" holds "$(hold_said proxied4)" '.failed == 0'
check "in both families" holds "$(hold_said proxied6)" '.failed == 0'
exposed proxied 89 8080 Cluster b1 b2
check "svclb has the Service as well" await 5 has 1 proxied
check "connections that only conntrack knows live" holds "$(hold_ask proxied4)" '.ok == 10'
check "in IPv6, too" holds "$(hold_ask proxied6)" '.ok == 10'
check "none was taken for unknown" test "$(unknown 1)" = 0
node_exec nft delete table inet proxy

say "where it cannot work"
annotation='svclb.io/forwarding-mode: dsr'
part=other endpoints there "tcp:9091:TCP udp:9091:UDP" b1
told() { ctl get services default/there -o json | jq -e --arg words "$1" '[.items[].problems[]] | any(contains($words))'; }
check "endpoints with two ports: the node stays the source" await 5 is_not_direct 1 there
check "and says why" await 5 told "the endpoints do not all have the same port"
harness_end
