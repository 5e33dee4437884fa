# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""event_loop.py NAME: asks pod_server behind NAME, port 80, as a program with an event loop does: a TCP connection by
Happy Eyeballs, a connected UDP socket, an unconnected one. For each prints "frontend" when the peer is an address that the
name has and it was a pod that answered, or what happened instead."""
import asyncio
import socket
import sys

PATIENCE_S = 20


async def addresses_of(name):
    found = await asyncio.get_running_loop().getaddrinfo(name, 80, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def verdict(said, peer, addresses):
    known = [address[:2] for _, address in addresses]
    if said.startswith(b"b") and said.endswith(b" hello") and tuple(peer[:2]) in known:
        return "frontend"
    return f"{said!r} from {peer}"


async def stream(name, addresses):
    reader, writer = await asyncio.open_connection(name, 80, happy_eyeballs_delay=0.1)
    writer.write(b"hello\n")
    said = await reader.readline()
    peer = writer.get_extra_info("socket").getpeername()
    writer.close()
    return verdict(said.rstrip(b"\n"), peer, addresses)


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self):
        self.heard = asyncio.get_running_loop().create_future()

    def datagram_received(self, data, addr):
        if not self.heard.done():
            self.heard.set_result((data, addr))

    def error_received(self, exc):
        if not self.heard.done():
            self.heard.set_exception(exc)


async def datagram(addresses, connected):
    loop = asyncio.get_running_loop()
    refused = None
    for family, address in addresses:
        try:
            if connected:
                transport, protocol = await loop.create_datagram_endpoint(Datagrams, remote_addr=address[:2], family=family)
                transport.sendto(b"hello")
            else:
                any_address = "::" if family == socket.AF_INET6 else "0.0.0.0"
                transport, protocol = await loop.create_datagram_endpoint(Datagrams, local_addr=(any_address, 0))
                transport.sendto(b"hello", address)
            said, peer = await protocol.heard
            transport.close()
            return verdict(said, peer, addresses)
        except ConnectionRefusedError as error:
            refused = error
    return repr(refused)


async def main():
    addresses = await addresses_of(sys.argv[1])
    for asked in (stream(sys.argv[1], addresses), datagram(addresses, True), datagram(addresses, False)):
        print(await asyncio.wait_for(asked, PATIENCE_S))


asyncio.run(main())
