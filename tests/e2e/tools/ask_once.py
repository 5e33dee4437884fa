# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""ask_once.py TO COUNT: asks pod_server at TO (IPv6 in brackets) who it is, from COUNT UDP sockets that are connected to
nobody, and prints what connect_load does: how many were answered, by whom, and how many not, or not by TO."""
import collections
import json
import socket
import sys

host, _, port = sys.argv[1].rpartition(":")
to = (host.strip("[]"), int(port))
backends, failed = collections.Counter(), 0
for _ in range(int(sys.argv[2])):
    with socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(20)
        try:
            asking.sendto(b"who", to)
            answer, peer = asking.recvfrom(100)
            if peer[:2] != to:
                raise OSError(f"answered by {peer}")
            backends[answer.split()[0].decode()] += 1
        except OSError:
            failed += 1
print(json.dumps({"ok": sum(backends.values()), "failed": failed, "backends": backends}))
