#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# ICMP errors that end in sockets: a client is told that its backend's port is closed, a backend that its client has gone.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

# closed_port TO PORT: whether a datagram to a port without a socket fails on the client's socket, and how.
closed_port() {
    pod_exec client timeout 90 python3 - "$1" "$2" <<'PYTHON'
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect((sys.argv[1], int(sys.argv[2])))
s.send(b"anybody?")
try:
    s.recv(100)
except ConnectionRefusedError:
    sys.exit(0)
sys.exit("not refused")
PYTHON
}

# late_server PORT: answers one datagram after its client has closed, and exits 0 if its second answer is refused.
late_server() {
    pod_exec b1 timeout 90 python3 - "$1" <<'PYTHON' &
import socket, sys, time
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", int(sys.argv[1])))
s.settimeout(20)
client = s.recvfrom(100)[1]
s.connect(client)
s.send(b"first")
time.sleep(0.3)
for _ in range(150):
    try:
        s.send(b"late")
        time.sleep(0.05)
    except ConnectionRefusedError:
        sys.exit(0)
sys.exit("the client's error did not come")
PYTHON
    server=$!
    await 5 eval "pod_exec b1 ss -uln | grep -q ':$1 '"
}

# ask_and_leave TO PORT: one question, one answer, and the socket is gone.
ask_and_leave() {
    pod_exec client timeout 90 python3 - "$1" "$2" <<'PYTHON'
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect((sys.argv[1], int(sys.argv[2])))
s.send(b"question")
sys.exit(s.recv(100) != b"first")
PYTHON
}

harness_begin icmp
cluster_up
pod_add client
pod_add b1
service errors 10.96.0.40 fd00:10:96::40 closed:80:UDP late:81:UDP
endpoints errors "closed:9000:UDP late:9001:UDP" b1
start_agent

for to in 10.96.0.40 fd00:10:96::40; do
    check "a datagram to $to, whose backend has no socket there: connection refused" closed_port "$to" 80
    late_server 9001
    check "a question to $to is answered" ask_and_leave "$to" 81
    check "its backend is told that the client has gone" wait "$server"
done
harness_end
