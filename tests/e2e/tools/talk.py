# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""talk.py [--udp] [--pause S] [--until-told] --questions N TO SOURCE: asks pod_server at TO (IPv6 in brackets) over one
socket, one question after the other, and prints a line of JSON: how many were answered, how many were not within
20 seconds (UDP), and the answering pods. With --until-told it goes on after those N until SIGTERM comes, and prints
"asking" once that may come. A connection that breaks ends it."""
import argparse
import json
import signal
import socket
import time

from ask import endpoint


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--udp", action="store_true")
    options.add_argument("--until-told", action="store_true")
    options.add_argument("--questions", type=int, required=True)
    options.add_argument("--pause", type=float, default=0)
    options.add_argument("to")
    options.add_argument("source")
    given = options.parse_args()
    to, source = endpoint(given.to), endpoint(given.source)
    asked = lost = answered = 0
    pods, error = set(), ""
    told = []
    if given.until_told:
        signal.signal(signal.SIGTERM, lambda *_: told.append(True))
        print("asking", flush=True)
    with socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET,
                       socket.SOCK_DGRAM if given.udp else socket.SOCK_STREAM) as peer:
        peer.settimeout(20)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        peer.bind(source)
        try:
            peer.connect(to)
            while asked < given.questions or (given.until_told and not told):
                asked += 1
                words = f"question-{asked}"
                peer.send(words.encode() if given.udp else words.encode() + b"\n")
                try:
                    answer = peer.recv(200).decode().split()
                    while given.udp and answer[1] != words:  # to one that was given up
                        answer = peer.recv(200).decode().split()
                    if answer[1] != words:
                        raise OSError(f"answered {answer}")
                    pods.add(answer[0])
                    answered += 1
                except TimeoutError:
                    if not given.udp:
                        raise
                    lost += 1
                time.sleep(given.pause)
        except OSError as failure:
            error = str(failure)
    print(json.dumps({"asked": asked, "answered": answered, "lost": lost, "pods": sorted(pods), "error": error}))


if __name__ == "__main__":
    main()
