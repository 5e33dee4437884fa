#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Datagrams of 4,000 bytes through a ClusterIP and back, as the kernel sends them, and with their fragments in disorder.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

# ask ADDRESS ORDER: 20 questions of 4,000 bytes; prints how many came back whole. But for "normal", a raw socket sends
# the fragments of each: "reversed", the last one first; "twice", each of them; "one-id", all datagrams with one id;
# "first-lost", after those of another datagram that has no first.
ask() {
    pod_exec client timeout 250 python3 - "$1" "$2" <<'PYTHON'
import os, socket, struct, sys
address, order = sys.argv[1:]
v6 = ":" in address
family = socket.AF_INET6 if v6 else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect((address, 80))
source, destination = (socket.inet_pton(family, a) for a in (s.getsockname()[0], address))
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff or 0xffff

def fragments(payload, number):
    udp = struct.pack("!HHHH", s.getsockname()[1], 80, 8 + len(payload), 0)
    pseudo = source + destination + struct.pack("!HH", 17, len(udp) + len(payload))
    udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp + payload)) + payload
    for at in range(0, len(udp), 1200):
        piece, more = udp[at:at + 1200], at + 1200 < len(udp)
        if v6:
            yield (struct.pack("!IHBB", 6 << 28, 8 + len(piece), 44, 64) + source + destination +
                   struct.pack("!BBHI", 17, 0, at | more, number) + piece)
        else:
            yield struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(piece), number, more << 13 | at // 8, 64, 17, 0) + \
                  source + destination + piece

def in_order(payload, number):
    pieces = list(fragments(payload, number))
    if order == "reversed": return reversed(pieces)
    if order == "twice": return [piece for piece in pieces for _ in range(2)]
    if order == "first-lost": return list(fragments(payload[::-1], number + 30000))[1:] + pieces
    return pieces

whole = 0
for number in range(1, 21):
    payload = bytes((i * 7 + number) % 256 for i in range(4000))
    if order == "normal":
        s.send(payload)
    else:
        first = os.getpid() * 20 % 30000
        for piece in in_order(payload, first if order == "one-id" else first + number): raw.sendto(piece, (address, 0))
    try:
        whole += s.recv(5000) == payload
    except TimeoutError:
        pass
print(whole)
PYTHON
}

harness_begin fragments
cluster_up
pod_add client
for style in bridge ptp; do
    pod_add "$style" 1 $style
    pod_exec "$style" python3 - >"$run/$style.server" 2>&1 <<'PYTHON' &
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 8080))
print("ready", flush=True)
while True:
    s.sendto(*s.recvfrom(5000))
PYTHON
    await 5 grep -q ready "$run/$style.server"
done
service large 10.96.0.70 fd00:10:96::70 udp:80:UDP
start_agent

backend_is() {
    ctl get services -o json | jq -e --arg ip "${POD_IP4[$1]}" \
        '[.items[] | select(.name == "large") | .backends[].address] | any(. == $ip)'
}

for style in bridge ptp; do
    endpoints large "udp:8080:UDP" "$style"
    check "the backend is a pod on a $style link" await 5 backend_is "$style"
    for address in 10.96.0.70 fd00:10:96::70; do
        check "20 datagrams of 4,000 bytes to $address come back whole" test "$(ask $address normal)" = 20
        for order in reversed twice one-id first-lost; do
            check "and 20 more, $order" test "$(ask $address $order)" = 20
        done
    done
done
# Three without a first, of 80 datagrams.
check "what was lost is counted" holds "$(ctl status -o json)" \
    '[.drops[] | {(.reason): .packets}] | add | .FRAGMENT_HELD - .FRAGMENT_RELEASED == 240'
ctl status | sed -n '/REASON/,$p'
harness_end
