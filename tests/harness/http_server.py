#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A TLS server on loopback for the tests of the transport alone: what it answers is in the path, what it is like in the
options. Prints {"port": ..., "proxy": ...}, then reads commands from standard input, a line of JSON each, and answers
each with a line.

  http_server.py DIR [--names SAN] [--expired] [--client-certificate] [--old-tls] [--protocols h2,http/1.1]
                 [--proxy http|https|socks5]

  /echo            what was asked, as JSON, and by which connection
  /private         the same for the valid token or any client certificate, else 401
  /watch           events as the command `event` sends them, until `end`; /watch/gzip compressed
  /bytes/N         N bytes, /chunks/S/N the same in pieces of S, /chunks/S/N/gzip compressed
  /cut/N           N bytes (/cut/N/gzip: of a compressed answer) and then a reset; /cut-stream/N the same of the HTTP/2 stream alone
  /hang, /stall    no answer, or the first line of one
  /status/CODE     with the header Retry-After: VALUE of ?retry-after=VALUE

Commands: {"event": TEXT}, {"end": true}, {"token": TEXT}, {"rotate": "server"|"ca"}, {"drop": true}, {"goaway": true},
{"stats": true}: {connections, open, watchers, proxied: [...]}.
"""
import argparse
import asyncio
import base64
import gzip
import json
import logging
import pathlib
import random
import ssl
import struct
import subprocess
import sys
import warnings
import zlib

import api_http


class Server:
    def __init__(self, options):
        self.options, self.directory = options, pathlib.Path(options.directory)
        self.answering = asyncio.Event()
        self.answering.set()
        self.accepted, self.connections, self.watchers, self.proxied = 0, set(), set(), []
        self.token = "first-token"
        api_http.make_certificate(self.directory, "ca", "/CN=test-ca")
        api_http.make_certificate(self.directory, "client", "/CN=test-client")
        self.make_certificate()
        self.tls = api_http.tls_context(self.directory, options.protocols.split(","))
        if options.client_certificate:
            self.tls.verify_mode = ssl.CERT_REQUIRED
        if options.old_tls:
            self.tls.set_ciphers("ALL:@SECLEVEL=0")
            warnings.simplefilter("ignore", DeprecationWarning)
            self.tls.minimum_version = self.tls.maximum_version = ssl.TLSVersion.TLSv1_1

    def make_certificate(self):
        if self.options.expired:
            make_expired(self.directory, self.options.names)
        else:
            api_http.make_certificate(self.directory, "server", "/CN=test-server", "serverAuth", self.options.names)

    async def run(self):
        port = await self.listen()
        ready = {"port": port}
        if self.options.proxy:
            tls = self.tls if self.options.proxy == "https" else None
            serve = self.socks if self.options.proxy == "socks5" else self.connect
            proxy = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
            ready["proxy"] = proxy.sockets[0].getsockname()[1]
        print(json.dumps(ready), flush=True)
        reader = asyncio.StreamReader(limit=1 << 24)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            print(json.dumps(await self.command(json.loads(line))), flush=True)

    async def listen(self):
        """One port in both families."""
        while True:
            listener = await asyncio.start_server(self.accept, "127.0.0.1", 0, ssl=self.tls)
            port = listener.sockets[0].getsockname()[1]
            try:
                self.listeners = [listener, await asyncio.start_server(self.accept, "::1", port, ssl=self.tls)]
                return port
            except OSError:
                listener.close()

    async def command(self, command):
        (name, value), = command.items()
        if name in ("event", "end"):
            text = value.encode() if name == "event" else None
            for queue in self.watchers:
                queue.put_nowait(text)
        elif name == "token":
            self.token = value
        elif name == "rotate":
            if value == "ca":
                api_http.make_certificate(self.directory, "ca", "/CN=test-ca")
                api_http.make_certificate(self.directory, "client", "/CN=test-client")
            self.make_certificate()
            api_http.use_certificates(self.tls, self.directory)
        elif name == "drop":
            for connection in list(self.connections):
                connection.drop()
        elif name == "goaway":
            for connection in self.connections:
                # "No new streams": those that are open go on, which the library's own GOAWAY would end.
                connection.writer.write(bytes([0, 0, 8, 7, 0, 0, 0, 0, 0]) +
                                        struct.pack(">II", connection.h2.highest_inbound_stream_id, 0))
        return {"connections": self.accepted, "open": len(self.connections), "watchers": len(self.watchers),
                "proxied": self.proxied}

    async def accept(self, reader, writer):
        connection = api_http.Connection(self, reader, writer)
        self.accepted += 1
        connection.order = self.accepted
        self.connections.add(connection)
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)

    # ------------------------------------------------------------ requests

    async def serve(self, request, answer):
        _, name, *rest = request.path.split("/")
        connection = request.connection
        if name in ("echo", "private"):
            allowed = request.headers.get("authorization") == f"Bearer {self.token}" or connection.client_certificate
            report = {"connection": connection.order, "protocol": connection.protocol, "method": request.method,
                      "path": request.path, "query": request.query, "headers": request.headers,
                      "body": request.body.decode(), "client": connection.client_certificate}
            await answer.whole(200 if allowed or name == "echo" else 401, json.dumps(report).encode())
        elif name == "watch":
            await self.watch(answer, compressed=rest == ["gzip"])
        elif name == "bytes":
            await answer.whole(200, pattern(int(rest[0])))
        elif name == "chunks":
            answer.shape = {"chunk": int(rest[0])}
            compressed = rest[2:] == ["gzip"]
            await answer.begin(200, [("content-encoding", "gzip")] if compressed else [])
            await answer.send(gzip.compress(pattern(int(rest[1]))) if compressed else pattern(int(rest[1])))
            await answer.finish()
        elif name in ("cut", "cut-stream"):
            answer.shape = {"cut": int(rest[0]), "cut_stream": name == "cut-stream"}
            compressed = rest[1:] == ["gzip"]
            await answer.begin(200, [("content-encoding", "gzip")] if compressed else [])
            whole = pattern(int(rest[0]) + 1)
            await answer.send(gzip.compress(random.Random(1).randbytes(len(whole)) + whole) if compressed else whole)
        elif name == "hang":
            await asyncio.Event().wait()
        elif name == "stall":
            await answer.begin(200)
            await answer.send(b"one line\n")
            await asyncio.Event().wait()
        elif name == "status":
            headers = [(key, value) for key, value in request.query.items() if key != "location"]
            headers += [("location", "/echo")] if rest[0].startswith("3") else []
            await answer.whole(int(rest[0]), b"{}", headers)

    async def watch(self, answer, compressed):
        queue, packer = asyncio.Queue(), zlib.compressobj(wbits=31)
        await answer.begin(200, [("content-encoding", "gzip")] if compressed else [])
        self.watchers.add(queue)
        try:
            while (text := await queue.get()) is not None:
                await answer.send(packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH) if compressed else text)
            if compressed:
                await answer.send(packer.flush())
            await answer.finish()
        finally:
            self.watchers.discard(queue)

    # ------------------------------------------------------------ proxies

    async def connect(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        credentials = [base64.b64decode(line.split()[-1]).decode() for line in head
                       if line.lower().startswith("proxy-authorization:")]
        self.proxied.append({"target": head[0].split()[1], "credentials": credentials,
                             "leaks": [line for line in head if line.lower().startswith("authorization:")]})
        writer.write(b"HTTP/1.1 200 fine\r\nx-proxy: yes\r\n\r\n")
        await self.relay(head[0].split()[1].rpartition(":"), reader, writer)

    async def socks(self, reader, writer):
        methods = await reader.readexactly((await reader.readexactly(2))[1])
        assert 0 in methods
        writer.write(b"\x05\x00")
        _, _, _, kind = await reader.readexactly(4)
        host = (await reader.readexactly((await reader.readexactly(1))[0])).decode() if kind == 3 else \
            ".".join(str(byte) for byte in await reader.readexactly(4))
        port, = struct.unpack(">H", await reader.readexactly(2))
        self.proxied.append({"target": f"{host}:{port}", "credentials": [], "leaks": []})
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        await self.relay((host, ":", port), reader, writer)

    async def relay(self, target, reader, writer):
        # Whatever the name is: a proxy knows names that the client does not.
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(target[2]))

        async def copy(source, sink):
            while data := await source.read(1 << 16):
                sink.write(data)
                await sink.drain()
            sink.close()
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer), return_exceptions=True)


def pattern(size):
    line = bytes(range(ord("a"), ord("z") + 1)) + b"\n"
    return (line * (size // len(line) + 1))[:size]


def make_expired(directory, names):
    """Valid for one day long ago. Only `openssl ca` takes dates."""
    api_http.make_certificate(directory, "server", "/CN=test-server", "serverAuth", names)
    config = api_http.OPENSSL_CONFIG.format(usage="serverAuth", names=names)
    config += f"[ca_tool]\ndatabase = index\nserial = serial\nnew_certs_dir = .\npolicy = any\n[any]\ncommonName = supplied\n"
    (directory / "index").write_text("")
    (directory / "expired.cnf").write_text(config)
    for command in (["req", "-new", "-key", "server.key", "-subj", "/CN=test-server", "-config", "expired.cnf", "-out",
                     "server.csr"],
                    ["ca", "-batch", "-name", "ca_tool", "-config", "expired.cnf", "-md", "sha256", "-notext",
                     "-rand_serial", "-startdate", "20200101000000Z", "-enddate", "20200102000000Z", "-extensions",
                     "leaf", "-cert", "ca.crt", "-keyfile", "ca.key", "-in", "server.csr", "-out", "server.crt"]):
        subprocess.run(["openssl", *command], cwd=directory, check=True, capture_output=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--names", default="DNS:localhost,IP:127.0.0.1,IP:::1")
    parser.add_argument("--expired", action="store_true")
    parser.add_argument("--client-certificate", action="store_true")
    parser.add_argument("--old-tls", action="store_true")
    parser.add_argument("--protocols", default="h2,http/1.1")
    parser.add_argument("--proxy", choices=["http", "https", "socks5"])
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # of clients that go away
    asyncio.run(Server(parser.parse_args()).run())
