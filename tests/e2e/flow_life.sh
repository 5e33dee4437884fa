#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Connections that do not just begin, talk and end: with data in their SYN (TCP Fast Open), half closed for longer than
# a closed one is remembered, silent for long. And the idle timeouts of the configuration: the collector takes what has
# been silent for that long, in pairs, and leaves what has not, or has a longer one.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

# With the defaults, the shortest of which is 120 seconds, nothing here would be gone in time.
patience=60

# converse POD ADDRESS: three datagrams and their answers from one socket, which makes an established conversation.
converse() {
    pod_exec "$1" timeout 90 python3 - "$2" <<'PYTHON'
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect((sys.argv[1], 80))
for _ in range(3):
    s.send(b"hello\n")
    s.recv(100)
PYTHON
}
flows() { ctl get flows default/web -o json "$@" | jq '.items | length'; }
none() { (($(flows "$@") == 0)); }

# patient_server POD: on port 8081; answers each connection four seconds after its client has closed its half.
patient_server() {
    pod_exec "$1" sysctl -q -w net.ipv4.tcp_fastopen=3
    pod_exec "$1" python3 - >"$run/patient.log" 2>&1 <<'PYTHON' &
import socket, threading, time
server = socket.create_server(("::", 8081), family=socket.AF_INET6, backlog=100, dualstack_ipv6=True)
server.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 100)
print("ready", flush=True)
def serve(connection):
    said = b""
    while more := connection.recv(1000): said += more
    time.sleep(4)
    connection.sendall(said)
    connection.close()
while True:
    threading.Thread(target=serve, args=(server.accept()[0],)).start()
PYTHON
    await 5 grep -q ready "$run/patient.log"
}

# half_closed ADDRESS: says something with its SYN, closes its half, and waits; prints what is answered.
half_closed() {
    pod_exec client timeout 90 python3 - "$1" <<'PYTHON'
import socket, sys
MSG_FASTOPEN = 0x20000000
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_STREAM)
s.sendto(b"early", MSG_FASTOPEN, (sys.argv[1], 80))
s.shutdown(socket.SHUT_WR)
print(s.recv(100).decode())
PYTHON
}
fast_opens() { # POD COUNTER
    pod_exec "$1" nstat -asz "TcpExtTCPFastOpen$2" | awk '/TcpExt/ { print $2 }'
}

harness_begin life
web_cluster 2
patient_server b1
service patient 10.96.0.90 fd00:10:96::90 tcp:80:TCP
endpoints patient "tcp:8081:TCP" b1
cat >"$run/config.yaml" <<'YAML'
apiVersion: svclb.io/v1alpha1
kind: AgentConfiguration
flowTimeouts: {tcpEstablished: 1h, tcpClosing: 3s, udpAnswered: 4s}
YAML
start_agent --config "$run/config.yaml"

for to in 10.96.0.90 fd00:10:96::90; do
    check "$to: half closed, a connection waits for its answer" test "$(half_closed $to)" = early
    before=$(fast_opens client Active)
    check "$to: and one that began with data in its SYN" test "$(half_closed $to)" = early
    check "$to: that SYN carried it" test "$(fast_opens client Active)" = $((before + 1))
done
check "and its server took it" test "$(fast_opens b1 Passive)" = 2

for family in 4 6; do
    declare -n to=web$family
    hold_begin "held$family" client "$to" 10
    check "IPv$family: 20 connections come and go" holds "$(load_in client "$to" --connections 20 --bye)" '.failed == 0'
done
converse client 10.96.0.10
converse client fd00:10:96::10
check "closed connections are collected" await $patience none --state closed
check "and idle conversations" await $patience none --state assured --protocol udp
check "connections that are open stay, however idle" test "$(flows --state established --protocol tcp)" = 20
for family in 4 6; do
    check "IPv$family: and answer" holds "$(hold_ask "held$family")" '.failed == 0 and .ok == 10'
done
entries='[.items[] | select(.name | startswith("established")) | .entries] | add'
check "nothing is left of the others: two entries for each connection" \
    test "$(ctl get maps -o json | jq "$entries")" = 40
harness_end
