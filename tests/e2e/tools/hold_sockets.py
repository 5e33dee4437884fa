# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""hold_sockets.py KIND=ADDRESS:PORT*COUNT...: connects COUNT sockets of each, KIND "tcp" or "udp", and keeps them;
"udp+failed" calls connect() once more, with an address that no route leads to. For each line of standard input
it asks one question on each, and prints one line of JSON: a list of {kind, to, pod, peer, error}: who answered,
whom getpeername() names, or what the call failed with."""
import errno
import json
import socket
import sys


class Held:
    def __init__(self, kind, to):
        host, _, port = to.rpartition(":")
        host = host.strip("[]")
        kind, _, failed = kind.partition("+")
        self.kind, self.to = kind, to
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET,
                                    socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
        self.socket.settimeout(20)
        self.socket.connect((host, int(port)))
        if failed:
            try:
                self.socket.connect(("2001:db8::1" if ":" in host else "192.0.2.1", 9))
                sys.exit("a route leads there")
            except OSError:
                pass
        self.stream = self.socket.makefile("rb") if kind == "tcp" else None

    def ask(self):
        answer = {"kind": self.kind, "to": self.to, "pod": None, "peer": None, "error": None}
        try:
            self.socket.sendall(b"hello\n")
            said = self.stream.readline() if self.stream else self.socket.recv(100)
            answer["pod"] = said.split()[0].decode() if said else "EOF"
            host, port = self.socket.getpeername()[:2]
            answer["peer"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        except OSError as error:
            answer["error"] = errno.errorcode.get(error.errno, "TIMEOUT")
        return answer


def main():
    held = []
    for wanted in sys.argv[1:]:
        kind, _, rest = wanted.partition("=")
        to, _, count = rest.rpartition("*")
        held += [Held(kind, to) for _ in range(int(count))]
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps([one.ask() for one in held]), flush=True)


if __name__ == "__main__":
    main()
