# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""share_ports.py [--udp] PORTS TURNS ADDRESS TO...: from each of so many source ports of ADDRESS one conversation with
each TO, all open at the same time and spoken in turns. A TO is ADDRESS:PORT, or ADDRESS:PORT=NAME where only that pod
may answer. Prints how many answers were right, and the first few that were not."""
import argparse
import random
import socket

from ask import endpoint

FIRST_PORT = 41000


def converse(given):
    udp = given.udp
    targets = [(endpoint(text.partition("=")[0]), text.partition("=")[2]) for text in given.to]
    peers = []
    for port in range(FIRST_PORT, FIRST_PORT + given.ports):
        order = list(targets)
        random.Random(port).shuffle(order)
        for to, name in order:
            family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
            peer = socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
            peer.settimeout(20)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            peer.bind((given.address, port))
            peer.connect(to)
            peers.append((peer, f"{to[0]}-{port}", name))
    wrong, right, served_by = [], 0, {}
    for turn in range(given.turns):
        words = [f"{who}-{turn}" for _, who, _ in peers]
        for (peer, _, _), word in zip(peers, words):
            peer.send(word.encode() if udp else word.encode() + b"\n")
        for (peer, who, name), word in zip(peers, words):
            try:
                answer = peer.recv(200).decode().split()
            except OSError as error:
                wrong.append(f"{word}: {error or 'no answer'}")
                continue
            backend = served_by.setdefault(who, answer[0])
            if answer[1:] == [word] and answer[0] == backend and name in ("", backend):
                right += 1
            else:
                wrong.append(f"{word}: {answer}")
    print(f"{right} right, {len(wrong)} wrong", *wrong[:5])
    return not wrong


options = argparse.ArgumentParser()
options.add_argument("--udp", action="store_true")
options.add_argument("ports", type=int)
options.add_argument("turns", type=int)
options.add_argument("address")
options.add_argument("to", nargs="+")
raise SystemExit(0 if converse(options.parse_args()) else 1)
