# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""ask.py [--udp|--unconnected] [--timeout S] TO SOURCE...: asks pod_server at TO who it is, once from each source, ADDRESS or
ADDRESS:PORT (IPv6 in brackets), and prints a line for each: SOURCE, the answering pod or the error, and the second of
CLOCK_MONOTONIC in which the conversation began."""
import argparse
import errno
import socket
import time


def endpoint(text):
    host, _, port = text.rpartition("]")
    if host:
        return host[1:], int(port[1:] or 0)
    if text.count(":") > 1:
        return text, 0
    host, _, port = text.partition(":")
    return host, int(port or 0)


def ask(to, source, udp, unconnected, timeout):
    family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
    kind = socket.SOCK_DGRAM if udp or unconnected else socket.SOCK_STREAM
    with socket.socket(family, kind) as peer:
        peer.settimeout(timeout)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            peer.bind(source)
            if unconnected:
                peer.sendto(b"bye", to)
                return peer.recvfrom(100)[0].split()[0].decode()
            peer.connect(to)
            peer.send(b"bye" if udp else b"bye\n")
            return peer.recv(100).split()[0].decode()
        except OSError as error:
            return errno.errorcode.get(error.errno, "TIMEOUT") if error.errno else "TIMEOUT"


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--udp", action="store_true")
    options.add_argument("--unconnected", action="store_true", help="UDP, without connect()")
    options.add_argument("--timeout", type=float, default=20)
    options.add_argument("to")
    options.add_argument("sources", nargs="+")
    given = options.parse_args()
    for text in given.sources:
        begun = time.clock_gettime(time.CLOCK_MONOTONIC)
        print(text, ask(endpoint(given.to), endpoint(text), given.udp, given.unconnected, given.timeout), f"{begun:.3f}")


if __name__ == "__main__":
    main()
