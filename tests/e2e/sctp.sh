#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# SCTP associations through a ClusterIP, with real sockets where the kernel has them.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)' 2>/dev/null ||
    harness_skip "this kernel has no SCTP sockets; the packet tests [sctp] cover the translation"

# ask ADDRESS: 20 associations, one question each; prints how many were answered.
ask() {
    pod_exec client timeout 250 python3 - "$1" <<'PYTHON'
import socket, sys
answered = 0
for _ in range(20):
    s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_STREAM, 132)
    s.settimeout(10)
    s.connect((sys.argv[1], 80))
    s.send(b"x" * 3000)
    answered += s.recv(100) == b"b1"
    s.close()
print(answered)
PYTHON
}

harness_begin sctp
cluster_up
pod_add client
pod_add b1
pod_exec b1 python3 - >"$run/b1.server" 2>&1 <<'PYTHON' &
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 132)
s.bind(("::", 8080))
s.listen(100)
print("ready", flush=True)
while True:
    connection = s.accept()[0]
    connection.recv(4000)
    connection.send(b"b1")
    connection.close()
PYTHON
await 5 grep -q ready "$run/b1.server"
service sctp 10.96.0.60 fd00:10:96::60 sctp:80:SCTP
endpoints sctp "sctp:8080:SCTP" b1
start_agent
for address in 10.96.0.60 fd00:10:96::60; do
    check "20 associations with $address are answered" test "$(ask $address)" = 20
done
harness_end
