#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A scripted Kubernetes API server: real TLS, HTTP/1.1 and HTTP/2, real list and watch, and faults on demand.

  api_server.py serve DIR [--port P] [--address A]... [--protocols h2,http/1.1]
      DIR gets ca.crt, client.crt and client.key, token, and the control socket; "ready" is printed once it serves.
  api_server.py ctl DIR COMMAND [ARGUMENT]
      the argument is JSON, or YAML (several documents are a list), "-" reads it from standard input; the reply is JSON.

Commands (a line of JSON each on DIR/control: {"command": ..., "argument": ...}):
  apply OBJECTS               create or replace; lists are unfolded; equal content makes no event. Replies with the
                              resourceVersion and the time (us) after which the events were sent
  delete [[KIND, NS, NAME]..] delete, with events
  fault FAULT                 add a fault; null removes all. FAULT: {on: list|watch|get|post|any, resource: R, with: a
                              parameter of the request, times: N (1; 0 = until removed), and what happens: status, reason, message, retry_after (s),
                              error_event: CODE (in a 200 watch), hang: true, end: true (an orderly end after what
                              exists), or the shapes of api_http.Answer: chunk, drip, garbage, cut, cut_stream}
  inject {resource: R, ...}   into open watches: error_event: CODE, raw: TEXT, bookmark: true, end: true, reset: true,
                              or replay: N (the last N events once more; reverse: true for the newest first)
  set {...}                   bookmark_seconds, watch_seconds (0: as the client asks), page (greatest limit,
                              also where the real server would answer from its cache, without pages), chunk,
                              streaming (on | refuse: 422 | ignore), gone (event | status), servicecidrs (true | false),
                              protocols (of new connections: ["h2", "http/1.1"])
  tokens [TOKEN..]            the only valid ones from now on
  rotate {ca: BOOL}           a new server certificate, with ca a new CA and client certificate first
  compact                     forget history: every older resourceVersion is 410
  rewind N                    as restored from a backup: resourceVersions go on from N less
  accept BOOL, answer BOOL    false: refuse connections; stop answering on all of them, silently
  drop                        reset all connections
  goaway                      HTTP/2's word that a connection takes no new requests, those under way go on, as servers
                              with --goaway-chance and those that shut down say it
  requests [CLEAR]            what was asked since the last clear
  stats                       connections, faults that wait to be played, resourceVersion, watchers
  generate {services: N, ports: P, endpoints: E}   that many Services with so many endpoints each, see api_size.py
  change {seconds: S, restarts: R, probes: P}      restarts of their endpoints, and changes that are timed, a second
"""
import argparse
import collections
import json
import pathlib
import re
import secrets
import sys
import time

PATH = re.compile(r"/(?:api/v1|apis/(?P<group>[\w.]+)/v1)"
                  r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?")
# What kubectl asks before it looks for an object: which kinds there are. None of these is ever found.
DISCOVERY = {"v1": [("ConfigMap", "configmaps", True), ("ServiceAccount", "serviceaccounts", True)],
             "apps/v1": [("DaemonSet", "daemonsets", True)],
             "rbac.authorization.k8s.io/v1": [("ClusterRole", "clusterroles", False),
                                              ("ClusterRoleBinding", "clusterrolebindings", False)]}
REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 410: "Expired", 422: "Invalid",
           429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable", 504: "Timeout"}


def discovery(path):
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [{"name": version.partition("/")[0], "versions": [{"groupVersion": version, "version": "v1"}],
                   "preferredVersion": {"groupVersion": version, "version": "v1"}} for version in DISCOVERY if "/" in version]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    version = path.removeprefix("/api/" if path == "/api/v1" else "/apis/")
    kinds = [{"name": name, "singularName": kind.lower(), "kind": kind, "namespaced": namespaced,
              "verbs": ["create", "get", "list", "patch", "update"]} for kind, name, namespaced in DISCOVERY.get(version, ())]
    return kinds and {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": kinds}


class Server:
    def __init__(self, directory, addresses, port, protocols):
        self.directory, self.addresses, self.port = pathlib.Path(directory), addresses, port
        self.store = Store()
        self.answering = asyncio.Event()
        self.answering.set()
        self.settings = {"bookmark_seconds": 60, "watch_seconds": 0, "page": 0, "chunk": 0, "streaming": "on",
                         "gone": "event", "servicecidrs": True, "protocols": protocols}
        self.faults = []
        self.requests = collections.deque(maxlen=20000)
        self.connections = set()
        self.accepted = self.sent = 0
        self.answers = []
        self.size = None
        make_certificates(self.directory, ["127.0.0.1", "::1", *addresses])
        self.tls = tls_context(self.directory, protocols)
        self.tokens = {secrets.token_urlsafe(16)}
        (self.directory / "token").write_text(next(iter(self.tokens)))

    async def run(self):
        await self.listen()
        await asyncio.start_unix_server(self.control, str(self.directory / "control"), limit=1 << 28)
        print("ready", flush=True)
        await asyncio.Event().wait()

    async def listen(self):
        self.listener = await asyncio.start_server(self.accept, ["::", "0.0.0.0"], self.port, ssl=self.tls, backlog=100)

    async def accept(self, reader, writer):
        connection = Connection(self, reader, writer)
        self.accepted += 1
        self.connections.add(connection)
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)

    # ------------------------------------------------------------ requests

    async def serve(self, request, answer):
        record = {"at_us": now(), "connection": request.connection.number, "protocol": request.connection.protocol,
                  "method": request.method, "path": request.path, "query": request.query, "status": None}
        if request.method != "GET":
            record["body"] = request.body.decode(errors="replace")
        self.requests.append(record)
        answer.shape = {"chunk": self.settings["chunk"]}
        answer.record = record
        self.answers.append(answer)
        try:
            if request.path in ("/livez", "/readyz", "/healthz"):  # anybody may ask
                await answer.whole(200, b"ok")
            else:
                record["user"] = self.user(request)
                await self.route(request, answer, record)
        except Failure as failure:
            headers = [("retry-after", str(failure.retry_after))] if getattr(failure, "retry_after", None) else []
            await answer.whole(failure.code, failure.body(), headers)
        finally:
            record.update(sent=answer.sent, ended_us=now())
            self.answers.remove(answer)
            self.sent += answer.sent

    def user(self, request):
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if token in self.tokens:
            return "token"
        if request.connection.client_certificate and not token:
            return request.connection.client_certificate
        raise Failure(401, "Unauthorized", "Unauthorized")

    async def route(self, request, answer, record):
        if request.path == "/version":
            return await answer.whole(200, b'{"major":"1","minor":"34","gitVersion":"v1.34.0"}')
        if found := discovery(request.path):
            return await answer.whole(200, json.dumps(found).encode())
        match = PATH.fullmatch(request.path)
        if not match:
            raise Failure(404, "NotFound", "the server could not find the requested resource")
        name = match["resource"]
        query = dict(request.query)
        if match["name"]:
            query["fieldSelector"] = f"metadata.name={match['name']}"
        watching = query.get("watch") in ("1", "true")
        verb = request.method.lower() if request.method != "GET" else \
            "watch" if watching else "get" if match["name"] else "list"
        fault = self.take_fault(verb, name, query)
        answer.shape.update({word: fault[word] for word in ("chunk", "drip", "garbage", "cut", "cut_stream")
                             if word in fault})
        if fault.get("hang"):
            await asyncio.Event().wait()
        if "status" in fault:
            failure = self.failure(fault["status"], fault)
            failure.retry_after = fault.get("retry_after")
            raise failure
        if name == "events" and verb in ("post", "patch", "put"):
            return await answer.whole(201 if verb == "post" else 200, request.body)
        resource = RESOURCES.get(name)
        expected = resource and resource.api_version.rpartition("/")[0]
        if resource is None or expected != (match["group"] or "") or \
                name == "servicecidrs" and not self.settings["servicecidrs"]:
            raise Failure(404, "NotFound", "the server could not find the requested resource")
        if verb not in ("get", "list", "watch"):
            raise Failure(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        selector = Selector(resource, match["namespace"], query.get("labelSelector", ""),
                            query.get("fieldSelector", ""))
        if verb == "watch":
            await self.watch(resource, selector, query, answer, fault, record)
        elif verb == "get":
            body = self.store.listed(resource, selector)
            if not body:
                raise Failure(404, "NotFound", f'{name} "{match["name"]}" not found')
            await answer.whole(200, b"{" + resource.type_meta + body[0][1:])
        else:
            pieces = self.store.page(resource, selector, query, self.settings["page"])
            first = next(pieces)
            await answer.begin(200)
            await answer.send(first)
            for piece in pieces:
                await answer.send(piece)
            record["listed_us"] = now()
            await answer.finish()

    def take_fault(self, verb, resource, query):
        for fault in self.faults:
            if fault.get("on", "any") in (verb, "any") and fault.get("resource", resource) == resource and \
                    ("with" not in fault or fault["with"] in query):
                times = fault.get("times", 1)
                if times == 1:
                    self.faults.remove(fault)
                elif times:
                    fault["times"] = times - 1
                return fault
        return {}

    @staticmethod
    def failure(code, fault):
        reason = fault.get("reason", REASONS.get(code, "Unknown"))
        return Failure(code, reason, fault.get("message", f"scripted: {reason}"))

    async def watch(self, resource, selector, query, answer, fault, record):
        streaming = "sendInitialEvents" in query
        if streaming and self.settings["streaming"] == "refuse":
            raise Failure(422, "Invalid", "ListOptions.meta.k8s.io is invalid: sendInitialEvents: Forbidden: "
                                          "sendInitialEvents is forbidden for watch unless the WatchList feature gate "
                                          "is enabled")
        if streaming and self.settings["streaming"] == "ignore":
            query.pop("sendInitialEvents")
        elif streaming and query.get("resourceVersionMatch") != "NotOlderThan":
            raise Failure(422, "Invalid", "ListOptions.meta.k8s.io is invalid: resourceVersionMatch: Forbidden: "
                                          "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
        until = float(self.settings["watch_seconds"] or query.get("timeoutSeconds") or 1800)
        until += time.monotonic()
        watcher = None
        try:
            watcher, first = self.store.watch(resource, selector, query)
        except Failure as failure:
            if failure.code != 410 or self.settings["gone"] == "status":
                raise
            fault, first = {**fault, "failure": failure}, []
        try:
            await answer.begin(200)
            if "error_event" in fault:
                fault["failure"] = self.failure(fault["error_event"], fault)
            for piece in first:
                await answer.send(piece)
            record["listed_us"] = now()
            if "failure" in fault:
                await answer.send(error_event(fault["failure"]))
            while watcher and not fault.get("end") and "failure" not in fault:
                left = until - time.monotonic()
                try:
                    item = await asyncio.wait_for(watcher.queue.get(), min(left, self.settings["bookmark_seconds"]))
                except asyncio.TimeoutError:
                    if left <= self.settings["bookmark_seconds"]:
                        break
                    item = resource.bookmark(self.store.version, False) if watcher.bookmarks else b""
                if item == "end":
                    break
                if item == "reset":
                    answer.abort()
                    return
                while not watcher.queue.empty() and isinstance(watcher.queue._queue[0], bytes):
                    item += watcher.queue.get_nowait()
                await answer.send(item)
            await answer.finish()
        finally:
            self.store.watchers.discard(watcher)

    # ------------------------------------------------------------ control

    async def control(self, reader, writer):
        while line := await reader.readline():
            try:
                message = json.loads(line)
                reply = await getattr(self, "do_" + message["command"])(message.get("argument"))
            except Exception as error:  # whatever is wrong with a script must not end the server
                reply = {"error": f"{type(error).__name__}: {error}"}
            writer.write(json.dumps({} if reply is None else reply).encode() + b"\n")
            await writer.drain()
        writer.close()

    def did(self):
        return {"resourceVersion": self.store.version, "at_us": now()}

    async def do_apply(self, objects):
        for obj in objects if isinstance(objects, list) else [objects]:
            for item in obj.get("items", [obj]) if obj else []:
                self.store.put(item)
        return self.did()

    async def do_delete(self, objects):
        for kind, namespace, name in objects:
            self.store.delete(BY_KIND[kind], (namespace, name))
        return self.did()

    async def do_fault(self, fault):
        self.faults = self.faults + [fault] if fault else []

    async def do_inject(self, what):
        watchers = [watcher for watcher in self.store.watchers
                    if what.get("resource", watcher.resource.name) == watcher.resource.name]
        for watcher in watchers:
            put = watcher.queue.put_nowait
            if "error_event" in what:
                put(error_event(self.failure(what["error_event"], what)))
            if "raw" in what:
                put(what["raw"].encode())
            if what.get("bookmark"):
                put(watcher.resource.bookmark(self.store.version, False))
            if "replay" in what:
                events = [event for event in self.store.history if event.resource is watcher.resource]
                events = events[-what["replay"]:]
                for event in reversed(events) if what.get("reverse") else events:
                    watcher.tell(event)
            for word in ("end", "reset"):
                if what.get(word):
                    put(word)
        return {"watches": len(watchers), **self.did()}

    async def do_set(self, settings):
        if unknown := settings.keys() - self.settings.keys():
            raise KeyError(*unknown)
        self.settings.update(settings)
        self.tls.set_alpn_protocols(self.settings["protocols"])

    async def do_tokens(self, tokens):
        self.tokens = set(tokens)

    async def do_rotate(self, what):
        if (what or {}).get("ca"):
            make_certificates(self.directory, ["127.0.0.1", "::1", *self.addresses])
        else:
            make_server_certificate(self.directory, ["127.0.0.1", "::1", *self.addresses])
        use_certificates(self.tls, self.directory)

    async def do_compact(self, _):
        self.store.compact()

    async def do_rewind(self, versions):
        self.store.rewind(versions)

    async def do_accept(self, yes):
        if yes:
            await self.listen()
        else:
            self.listener.close()

    async def do_answer(self, yes):
        if yes:
            self.answering.set()
        else:
            self.answering.clear()

    async def do_goaway(self, _):
        for connection in self.connections:
            connection.go_away()

    async def do_drop(self, _):
        for connection in list(self.connections):
            connection.drop()

    async def do_requests(self, clear):
        requests = list(self.requests)
        if clear:
            self.requests.clear()
        return requests

    async def do_generate(self, what):
        self.size = Size(self.store, **what)
        self.store.compact()
        return self.did()

    async def do_change(self, what):
        return await self.size.change(**what)

    async def do_stats(self, _):
        return {"accepted": self.accepted, "unplayed": sum(fault.get("times", 1) > 0 for fault in self.faults), "open": len(self.connections), "resourceVersion": self.store.version,
                "sent": self.sent + sum(answer.sent for answer in self.answers),
                "watchers": collections.Counter(watcher.resource.name for watcher in self.store.watchers),
                "objects": {name: len(objects) for name, objects in self.store.objects.items()}}


def error_event(failure):
    return b'{"type":"ERROR","object":%s}\n' % failure.body()


# ---------------------------------------------------------------- command line

def parse(text):
    try:
        return json.loads(text)
    except ValueError:
        import yaml  # slow to import, hence only where it is needed

        class Loader(yaml.CSafeLoader):  # times stay text, as in JSON
            yaml_implicit_resolvers = {first: [(tag, regexp) for tag, regexp in resolvers if "timestamp" not in tag]
                                       for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()}
        documents = [document for document in yaml.load_all(text, Loader) if document is not None]
        return documents[0] if len(documents) == 1 else documents


def ctl(directory, command, argument):
    import socket
    if argument == "-":
        argument = sys.stdin.read()
    message = {"command": command, "argument": None if argument is None else parse(argument)}
    with socket.socket(socket.AF_UNIX) as control, control.makefile("rwb") as stream:
        control.connect(f"{directory}/control")
        stream.write(json.dumps(message).encode() + b"\n")
        stream.flush()
        reply = json.loads(stream.readline())
    print(json.dumps(reply))
    return 1 if isinstance(reply, dict) and "error" in reply else 0


def main():
    parser = argparse.ArgumentParser(description="A scripted Kubernetes API server; see the head of this file")
    parser.add_argument("action", choices=["serve", "ctl"])
    parser.add_argument("directory")
    parser.add_argument("command", nargs="?")
    parser.add_argument("argument", nargs="?")
    parser.add_argument("--port", type=int, default=6443)
    parser.add_argument("--address", action="append", default=[], help="one more for the certificate")
    parser.add_argument("--protocols", default="h2,http/1.1")
    options = parser.parse_args()
    if options.action == "ctl":
        return ctl(options.directory, options.command, options.argument)

    async def serve():
        await Server(options.directory, options.address, options.port, options.protocols.split(",")).run()
    asyncio.run(serve())


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:  # ctl starts faster without
        import asyncio

        from api_http import Connection, make_certificates, make_server_certificate, tls_context, use_certificates
        from api_size import Size
        from api_store import BY_KIND, RESOURCES, Failure, Selector, Store, now
    sys.exit(main())
