#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# The idle timeouts of the configuration: the collector takes what has been silent for that long, in pairs, and leaves
# what has not, or has a longer one.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

# With the defaults, the shortest of which is 120 seconds, nothing here would be gone in time.
patience=60

# converse POD ADDRESS: three datagrams and their answers from one socket, which makes an established conversation.
converse() {
    pod_exec "$1" timeout 30 python3 - "$2" <<'PYTHON'
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

harness_begin timeouts
web_cluster 2
cat >"$run/config.yaml" <<'YAML'
apiVersion: svclb.io/v1alpha1
kind: AgentConfiguration
flowTimeouts: {tcpEstablished: 1h, tcpClosing: 3s, udpAnswered: 4s}
YAML
start_agent --config "$run/config.yaml"

for family in 4 6; do
    declare -n to=web$family
    hold_begin "held$family" client "$to" 10
    check "IPv$family: 20 connections come and go" holds "$(load_in client "$to" --connections 20 --bye)" '.failed == 0'
done
converse client 10.96.0.10
converse client fd00:10:96::10
check "closed connections are collected" await $patience eval '(($(flows --state closed) == 0))'
check "and idle conversations" await $patience eval '(($(flows --state assured --protocol udp) == 0))'
check "connections that are open stay, however idle" test "$(flows --state established --protocol tcp)" = 20
for family in 4 6; do
    check "IPv$family: and answer" holds "$(hold_ask "held$family")" '.failed == 0 and .ok == 10'
done
entries='[.items[] | select(.name | startswith("established")) | .entries] | add'
check "nothing is left of the others: two entries for each connection" \
    test "$(ctl get maps -o json | jq "$entries")" = 40
harness_end
