#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Real sockets with rare headers: IP options, extension headers, datagrams without a checksum.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

# ask POD ADDRESS KIND: one TCP and one UDP question to port 80 with the headers KIND; prints the answers' names.
ask() {
    pod_exec "$1" timeout 90 python3 - "$2" "$3" <<'PYTHON'
import socket, sys
address, kind = sys.argv[1], sys.argv[2]
v6 = ":" in address
IPV6_HOPOPTS, IPV6_DSTOPTS, SO_NO_CHECK, UDP_NO_CHECK6_TX = 54, 59, 11, 101
pad = bytes([0, 0, 1, 4, 0, 0, 0, 0])
for kind_of in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, kind_of)
    s.settimeout(10)
    if kind == "options" and v6:
        s.setsockopt(socket.IPPROTO_IPV6, IPV6_HOPOPTS, pad)
        s.setsockopt(socket.IPPROTO_IPV6, IPV6_DSTOPTS, pad)
    elif kind == "options":
        s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([1, 1, 7, 7, 4, 0, 0, 0, 0, 0, 0, 0]))  # record route
    elif kind == "no-checksum" and kind_of == socket.SOCK_DGRAM:
        if v6:
            s.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_TX, 1)
        else:
            s.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    s.connect((address, 80))
    s.send(b"hello\n")
    print(s.recv(100).decode().split()[0], end=" ")
PYTHON
}

harness_begin headers
web_cluster 1
# The UDP socket of the server must take datagrams without a checksum in IPv6 too: another one does.
pod_exec b1 python3 - >"$run/nocheck.log" 2>&1 <<'PYTHON' &
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_UDP, 102, 1)  # UDP_NO_CHECK6_RX
s.bind(("::", 8081))
print("ready", flush=True)
while True:
    peer = s.recvfrom(100)[1]
    s.sendto(b"b1 hello", peer)
PYTHON
await 5 grep -q ready "$run/nocheck.log"
endpoints web "tcp:8080:TCP udp:8081:UDP" b1
start_agent
for address in 10.96.0.10 fd00:10:96::10; do
    for kind in plain options no-checksum; do
        check "$address, $kind: TCP and UDP are answered" test "$(ask client $address $kind)" = "b1 b1 "
    done
done
# But for what the kernel itself tells the new devices of the catch-all (MLD).
check "nothing was dropped or given up on" holds "$(ctl status -o json)" \
    '([.drops[] | select(.reason != "HOST_PACKET_REFUSED") | .packets] | add // 0) == 0'
harness_end
