# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""peer_name.py PORT: answers each line and each datagram, of both families, with the address of the one who asks, as this
end sees it. Writes "ready" once it serves."""
import selectors
import socket
import sys


def listener(kind, port):
    server = socket.socket(socket.AF_INET6, kind)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::", port))
    if kind == socket.SOCK_STREAM:
        server.listen(64)
    return server


def name_of(peer):
    return peer[0].removeprefix("::ffff:").encode() + b"\n"


def main():
    port = int(sys.argv[1])
    waiting = selectors.DefaultSelector()
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        waiting.register(listener(kind, port), selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in waiting.select():
            if key.fileobj.type == socket.SOCK_DGRAM:
                _, peer = key.fileobj.recvfrom(2000)
                key.fileobj.sendto(name_of(peer), peer)
                continue
            connection, peer = key.fileobj.accept()
            with connection:
                connection.settimeout(5)
                try:
                    connection.recv(100)
                    connection.send(name_of(peer))
                except OSError:
                    pass


main()
