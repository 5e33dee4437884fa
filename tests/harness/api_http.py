# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# HTTP/1.1 and HTTP/2 over TLS for the scripted API server, and what a script does to bytes on their way out: cuts,
# drips, garbage, silence. Knows nothing of Kubernetes; each request goes to server.serve(request, answer).
import asyncio
import itertools
import pathlib
import socket
import ssl
import struct
import subprocess
import urllib.parse

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import hyperframe.frame


class Cut(Exception):
    """The script has ended this answer."""


class Request:
    def __init__(self, method, target, headers, body, connection):
        self.method, self.headers, self.body, self.connection = method, headers, body, connection
        self.path, _, query = target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.path = urllib.parse.unquote(self.path)


class Answer:
    """begin, send..., finish. What shape says happens to the body:
    chunk N: pieces of N bytes; drip [N, S]: N bytes each S seconds; garbage [AFTER, TEXT]; cut N: the end after N bytes,
    of the connection, or with cut_stream of the HTTP/2 stream alone."""

    def __init__(self, connection):
        self.connection, self.shape, self.sent, self.record = connection, {}, 0, {}

    async def send(self, data):
        size, pause = self.shape.get("drip") or (self.shape.get("chunk") or len(data) or 1, 0)
        if garbage := self.shape.get("garbage"):
            at = garbage[0] - self.sent
            if 0 <= at <= len(data):
                data = data[:at] + garbage[1].encode() + data[at:]
                del self.shape["garbage"]
        cut = self.shape.get("cut")
        if cut is not None:
            data = data[:max(0, cut - self.sent)]
        for begin in range(0, len(data), size):
            piece = data[begin:begin + size]
            await self.connection.server.answering.wait()
            if self.connection.writer.transport.is_closing():
                raise ConnectionResetError
            await self.write(piece)
            self.sent += len(piece)
            if size < len(data):  # also tells when the client is gone
                await asyncio.sleep(pause)
        if cut is not None and self.sent >= cut:
            self.abort()
            raise Cut

    async def whole(self, status, body, headers=()):
        await self.connection.server.answering.wait()
        await self.begin(status, [*headers, ("content-length", str(len(body)))])
        await self.send(body)
        await self.finish()


class Http1Answer(Answer):
    chunked = False

    async def begin(self, status, headers=()):
        self.record["status"] = status
        self.chunked = all(name != "content-length" for name, _ in headers)
        lines = [f"HTTP/1.1 {status} Scripted", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines += ["transfer-encoding: chunked"] if self.chunked else []
        self.connection.writer.write("\r\n".join([*lines, "", ""]).encode())

    async def write(self, data):
        self.connection.writer.write(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)
        await self.connection.writer.drain()

    async def finish(self):
        if self.chunked:
            self.connection.writer.write(b"0\r\n\r\n")
        await self.connection.writer.drain()

    def abort(self):
        self.connection.drop()


class Http2Answer(Answer):
    def __init__(self, connection, stream):
        super().__init__(connection)
        self.stream = stream

    async def begin(self, status, headers=()):
        self.record["status"] = status
        self.connection.h2.send_headers(self.stream, [(":status", str(status)), ("content-type", "application/json"),
                                                      *headers])
        self.connection.flush()

    async def write(self, data):
        protocol = self.connection.h2
        while data:
            room = min(protocol.local_flow_control_window(self.stream), protocol.max_outbound_frame_size)
            if room <= 0:
                self.connection.window.clear()
                await self.connection.window.wait()
                continue
            protocol.send_data(self.stream, data[:room])
            data = data[room:]
            self.connection.flush()
        await self.connection.writer.drain()

    async def finish(self):
        self.connection.h2.end_stream(self.stream)
        self.connection.flush()
        await self.connection.writer.drain()

    def abort(self):
        if not self.shape.get("cut_stream"):
            self.connection.drop()
            return
        self.connection.h2.reset_stream(self.stream, 2)
        self.connection.flush()


class Connection:
    numbers = itertools.count(1)

    def __init__(self, server, reader, writer):
        self.server, self.reader, self.writer = server, reader, writer
        self.number = next(self.numbers)
        tls = writer.get_extra_info("ssl_object")
        self.protocol = tls.selected_alpn_protocol() or "http/1.1"
        names = [value for part in (tls.getpeercert() or {}).get("subject", ()) for name, value in part
                 if name == "commonName"]
        self.client_certificate = names[0] if names else None
        self.tasks = {}
        self.last_stream = 0

    async def run(self):
        try:
            await (self.http2() if self.protocol == "h2" else self.http1())
        except (OSError, EOFError, h2.exceptions.ProtocolError):
            pass  # the client is gone
        finally:
            for task in self.tasks.values():
                task.cancel()
            self.writer.close()

    def drop(self):
        """A reset, not an orderly end."""
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def go_away(self):
        if self.protocol == "h2":
            frame = hyperframe.frame.GoAwayFrame(0, last_stream_id=self.last_stream)
            self.writer.write(frame.serialize())

    async def answer(self, request, answer):
        try:
            await self.server.serve(request, answer)
        except (Cut, OSError, h2.exceptions.ProtocolError):
            pass

    async def http1(self):
        head = asyncio.ensure_future(self.reader.readuntil(b"\r\n\r\n"))
        while True:
            first, *lines = (await head).decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
            await self.server.answering.wait()
            task = asyncio.ensure_future(
                self.answer(Request(method, target, headers, body, self), Http1Answer(self)))
            self.tasks[0] = task
            # Reading on tells when the client closes during a watch.
            head = asyncio.ensure_future(self.reader.readuntil(b"\r\n\r\n"))
            await asyncio.wait({task, head}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and head.exception() is None:
                await task

    async def http2(self):
        self.window = asyncio.Event()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings.max_concurrent_streams = 250
        self.h2.initiate_connection()
        self.flush()
        incoming = {}
        while data := await self.reader.read(1 << 16):
            await self.server.answering.wait()
            for event in self.h2.receive_data(data):
                stream = getattr(event, "stream_id", None)
                if isinstance(event, h2.events.RequestReceived):
                    self.last_stream = stream
                    incoming[stream] = (dict(event.headers), bytearray())
                elif isinstance(event, h2.events.DataReceived):
                    incoming[stream][1].extend(event.data)
                    self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.StreamEnded):
                    headers, body = incoming.pop(stream)
                    request = Request(headers[":method"], headers[":path"], headers, bytes(body), self)
                    task = asyncio.ensure_future(self.answer(request, Http2Answer(self, stream)))
                    self.tasks[stream] = task
                    task.add_done_callback(lambda _, stream=stream: self.tasks.pop(stream, None))
                elif isinstance(event, h2.events.StreamReset):
                    incoming.pop(stream, None)
                    if stream in self.tasks:
                        self.tasks[stream].cancel()
                elif isinstance(event, (h2.events.WindowUpdated, h2.events.RemoteSettingsChanged)):
                    self.window.set()
                elif isinstance(event, h2.events.ConnectionTerminated):
                    return
            self.flush()

    def flush(self):
        self.writer.write(self.h2.data_to_send())


# ---------------------------------------------------------------- TLS

OPENSSL_CONFIG = """[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = {usage}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
"""


def make_certificate(directory, name, common_name, usage="clientAuth", names="DNS:none.invalid", ca="ca"):
    """NAME.crt and NAME.key in the directory, signed by CA.crt, or by itself where it is the CA."""
    directory = pathlib.Path(directory)
    config = directory / "openssl.cnf"
    config.write_text(OPENSSL_CONFIG.format(usage=usage, names=names))
    issuer = [] if name == ca else ["-CA", directory / f"{ca}.crt", "-CAkey", directory / f"{ca}.key"]
    subprocess.run(["openssl", "req", "-x509", "-config", config, "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", common_name,
                    "-extensions", "ca" if name == ca else "leaf", *issuer,
                    "-keyout", directory / f".{name}.key", "-out", directory / f".{name}.crt"],
                   check=True, capture_output=True)
    for suffix in ("key", "crt"):  # in one step: a client may read at any time
        (directory / f".{name}.{suffix}").rename(directory / f"{name}.{suffix}")


def make_certificates(directory, addresses):
    make_certificate(directory, "ca", "/CN=scripted-ca")
    make_server_certificate(directory, addresses)
    make_certificate(directory, "client", "/O=system:nodes/CN=scripted-client")


def make_server_certificate(directory, addresses):
    names = ",".join(["DNS:localhost", "DNS:kubernetes.default.svc", *(f"IP:{address}" for address in addresses)])
    make_certificate(directory, "server", "/CN=kube-apiserver", "serverAuth", names)


def tls_context(directory, protocols):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(protocols)
    # Without sessions to resume each connection shows the certificate, and each rotation is seen.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    use_certificates(context, directory)
    return context


def use_certificates(context, directory):
    context.load_cert_chain(f"{directory}/server.crt", f"{directory}/server.key")
    context.load_verify_locations(f"{directory}/ca.crt")
