#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""gossip.py ROUNDS PORT FRONTEND:PORT [--udp]: asks its peer through a frontend, from the port that it answers at itself.

Answers come from the frontend, and questions from anybody else. Ends when peer and it have asked that often; prints "ok",
or what was wrong. A minute at most.
"""
import socket
import struct
import sys
import time

rounds, port = int(sys.argv[1]), int(sys.argv[2])
host, _, frontend_port = sys.argv[3].rpartition(":")
frontend = (host.strip("[]"), int(frontend_port))
family = socket.AF_INET6 if ":" in frontend[0] else socket.AF_INET
end = time.monotonic() + 60


def bound(kind):
    made = socket.socket(family, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("", port))
    return made


def udp():
    ours = bound(socket.SOCK_DGRAM)
    ours.settimeout(0.05)
    asked, heard, done, due = 0, False, False, 0.0  # heard: that we are done
    while time.monotonic() < end and not (heard and done):
        question = b"done" if asked == rounds else b"ask %d" % asked
        if due <= time.monotonic():
            ours.sendto(question, frontend)
            due = time.monotonic() + 0.05
        try:
            data, peer = ours.recvfrom(100)
        except TimeoutError:
            continue
        if not data.startswith(b"re"):
            if peer[:2] == frontend:
                return f"asked by the frontend: {data}"
            done |= data == b"done"
            ours.sendto(b"re " + data, peer)
        elif peer[:2] != frontend:
            return f"answered by {peer[:2]}"
        elif data == b"re done":
            heard = True
        elif data == b"re " + question:
            asked += 1
            due = 0.0
    return "ok" if heard and done else f"{asked} answers, heard: {heard}, peer done: {done}"


def connected():
    while True:
        ours = bound(socket.SOCK_STREAM)
        ours.settimeout(max(0.1, end - time.monotonic()))
        try:
            ours.connect(frontend)
            return ours
        except ConnectionRefusedError:
            ours.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def tcp():
    listener = bound(socket.SOCK_STREAM)
    listener.listen()
    listener.settimeout(60)
    out = connected()
    accepted, peer = listener.accept()
    if peer[:2] == frontend:
        return "dialled by the frontend"
    accepted.settimeout(60)
    for turn in range(rounds):
        out.sendall(b"ask %04d" % turn)
        if accepted.recv(100) != b"ask %04d" % turn:
            return "another question"
        accepted.sendall(b"re %04d" % turn)
        if out.recv(100) != b"re %04d" % turn:
            return "another answer"
    out.sendall(b"done")
    if accepted.recv(100) != b"done":
        return "not done"
    accepted.sendall(b"done")
    if out.recv(100) != b"done":
        return "peer not done"
    for ours in (out, accepted):  # no TIME_WAIT: the same ports at once again
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return "ok"


try:
    result = udp() if sys.argv[4:] == ["--udp"] else tcp()
except OSError as error:
    result = f"{type(error).__name__}: {error}"
print(result)
sys.exit(result != "ok")
