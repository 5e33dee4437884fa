# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# What the scripted API server holds: objects, their history, and who watches. Selectors, resourceVersions, pages and
# the types of watch events are the real ones; objects stay in memory as JSON bytes, so that a large cluster costs
# nothing to serve. Knows no socket.
import asyncio
import collections
import json
import re
import time
import uuid


class Failure(Exception):
    """What becomes a Status object, as an HTTP answer or as an ERROR event."""

    def __init__(self, code, reason, message):
        super().__init__(message)
        self.code, self.reason = code, reason

    def body(self):
        return json.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                           "message": str(self), "reason": self.reason, "code": self.code}).encode()


class Resource:
    def __init__(self, name, kind, api_version, fields):
        self.name, self.kind, self.api_version = name, kind, api_version
        self.fields = ["metadata.name", "metadata.namespace", *fields]
        # Objects of a list have no kind and apiVersion of their own; those of a watch do.
        self.type_meta = f'"kind":"{kind}","apiVersion":"{api_version}",'.encode()

    def event(self, kind, body):
        return b'{"type":"%s","object":{%s%s}\n' % (kind, self.type_meta, body[1:])

    def bookmark(self, version, initial_end):
        end = b',"annotations":{"k8s.io/initial-events-end":"true"}' if initial_end else b""
        return self.event(b"BOOKMARK", b'{"metadata":{"resourceVersion":"%d"%s}}' % (version, end))


RESOURCES = {resource.name: resource for resource in (
    Resource("services", "Service", "v1", ["spec.clusterIP", "spec.type"]),
    Resource("endpointslices", "EndpointSlice", "discovery.k8s.io/v1", []),
    Resource("nodes", "Node", "v1", ["spec.unschedulable"]),
    Resource("servicecidrs", "ServiceCIDR", "networking.k8s.io/v1", []),
)}
BY_KIND = {resource.kind: resource for resource in RESOURCES.values()}


class Stored:
    """One object at one resourceVersion."""
    __slots__ = ("version", "labels", "fields", "rest")

    def __init__(self, version, labels, fields, rest):
        self.version, self.labels, self.fields, self.rest = version, labels, fields, rest

    def body(self, version=None):
        return b'{"metadata":{"resourceVersion":"%d",%s' % (version or self.version, self.rest)


Event = collections.namedtuple("Event", "version resource key old new")


def dig(obj, path):
    for part in path.split("."):
        obj = obj.get(part) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj)


class Selector:
    """namespace, labelSelector and fieldSelector of a request; raises Failure for what the real server refuses."""

    def __init__(self, resource, namespace, labels, fields):
        self.namespace = namespace
        self.labels = [self.requirement(text) for text in re.split(r",(?![^(]*\))", labels) if text.strip()]
        self.fields = [self.requirement(text) for text in fields.split(",") if text]
        for field, _, _ in self.fields:
            if field not in resource.fields:
                raise Failure(400, "BadRequest", f'field label not supported: "{field}"')

    @staticmethod
    def requirement(text):
        text = text.strip()
        if match := re.fullmatch(r"(\S+) +(in|notin) +\((.*)\)", text):
            return match[1], match[2], {value.strip() for value in match[3].split(",")}
        if match := re.fullmatch(r"([^!=\s]+)\s*(!=|==?)\s*(.*)", text):
            return match[1], "notin" if match[2] == "!=" else "in", {match[3]}
        if match := re.fullmatch(r"(!?)([\w./-]+)", text):
            return match[2], "absent" if match[1] else "present", set()
        raise Failure(400, "BadRequest", f"unable to parse requirement: {text}")

    def selects(self, key, stored):
        if stored is None or (self.namespace and key[0] != self.namespace):
            return False
        for name, operator, values in self.labels:
            value = stored.labels.get(name)
            if operator == "absent" and value is not None or operator == "present" and value is None:
                return False
            # As in the API, a label that is not there is "not in" every set.
            if operator == "in" and value not in values or operator == "notin" and value in values:
                return False
        return all((stored.fields[name] in values) == (operator == "in") for name, operator, values in self.fields)


class Watcher:
    """One open watch; the queue holds bytes to send, or what the script wants done to the stream."""

    def __init__(self, resource, selector, bookmarks):
        self.resource, self.selector, self.bookmarks = resource, selector, bookmarks
        self.queue = asyncio.Queue()

    def tell(self, event):
        was = self.selector.selects(event.key, event.old)
        if self.selector.selects(event.key, event.new):
            self.queue.put_nowait(self.resource.event(b"MODIFIED" if was else b"ADDED", event.new.body()))
        elif was:
            self.queue.put_nowait(self.resource.event(b"DELETED", event.old.body(event.version)))


class Store:
    def __init__(self):
        self.version = 1000
        self.compacted = 0  # nothing can be watched from before this version
        self.objects = {name: {} for name in RESOURCES}
        self.history = collections.deque(maxlen=20000)
        self.watchers = set()
        self.snapshots = {}  # continue token -> the rest of a paged list

    def put(self, obj):
        """Creates or replaces; content that is equal makes no event, as in the API."""
        resource = BY_KIND[obj["kind"]]
        meta = dict(obj["metadata"])
        meta.pop("resourceVersion", None)
        key = (meta.get("namespace", ""), meta["name"])
        meta.setdefault("uid", str(uuid.uuid5(uuid.NAMESPACE_URL, f"{resource.name}/{key}")))
        meta.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        others = {name: value for name, value in obj.items() if name not in ("kind", "apiVersion", "metadata")}
        rest = json.dumps(meta, separators=(",", ":"))[1:]
        rest += "," + json.dumps(others, separators=(",", ":"))[1:] if others else "}"
        fields = {name: dig({**others, "metadata": meta}, name) for name in resource.fields}
        return self.put_bytes(resource, key, meta.get("labels") or {}, fields, rest.encode())

    def put_bytes(self, resource, key, labels, fields, rest):
        old = self.objects[resource.name].get(key)
        if old is not None and old.rest == rest:
            return old.version
        self.version += 1
        new = Stored(self.version, labels, fields, rest)
        self.objects[resource.name][key] = new
        self.publish(Event(self.version, resource, key, old, new))
        return self.version

    def delete(self, resource, key):
        old = self.objects[resource.name].pop(key)
        self.version += 1
        self.publish(Event(self.version, resource, key, old, None))
        return self.version

    def publish(self, event):
        if len(self.history) == self.history.maxlen:
            self.compacted = self.history[0].version
        self.history.append(event)
        for watcher in self.watchers:
            if watcher.resource is event.resource:
                watcher.tell(event)

    def compact(self):
        self.history.clear()
        self.snapshots.clear()
        self.compacted = self.version

    def rewind(self, versions):
        self.version -= versions
        for objects in self.objects.values():
            for stored in objects.values():
                stored.version -= versions
        self.compact()

    def listed(self, resource, selector):
        return [stored.body() for key, stored in sorted(self.objects[resource.name].items())
                if selector.selects(key, stored)]

    def page(self, resource, selector, query, limit_at_most):
        """A list, or a page of it, as pieces of JSON."""
        limit = int(query.get("limit") or 0)
        if limit and limit_at_most:
            limit = min(limit, limit_at_most)
        elif query.get("resourceVersion"):  # answered from the server's cache, which knows no pages
            limit = 0
        if token := query.get("continue"):
            if token not in self.snapshots:
                raise Failure(410, "Expired", "The provided continue parameter is too old")
            version, items = self.snapshots.pop(token)
        else:
            self.refuse_future(query)
            version, items = self.version, self.listed(resource, selector)
        meta = {"resourceVersion": str(version)}
        if limit and len(items) > limit:
            meta["continue"] = uuid.uuid4().hex
            meta["remainingItemCount"] = len(items) - limit
            self.snapshots[meta["continue"]] = (version, items[limit:])
            items = items[:limit]
        yield (f'{{"kind":"{resource.kind}List","apiVersion":"{resource.api_version}",'
               f'"metadata":{json.dumps(meta)},"items":[').encode()
        yield from in_pieces(items, b",")
        yield b"]}\n"

    def refuse_future(self, query):
        if int(query.get("resourceVersion") or 0) > self.version:
            raise Failure(504, "Timeout", f"Too large resource version: {query['resourceVersion']}, "
                                          f"current: {self.version}")

    def watch(self, resource, selector, query):
        """(watcher, what to send first). Raises Failure 410 for a version that is compacted."""
        watcher = Watcher(resource, selector, query.get("allowWatchBookmarks") in ("1", "true"))
        self.refuse_future(query)
        since = int(query.get("resourceVersion") or 0)
        streaming = query.get("sendInitialEvents") in ("1", "true")
        if streaming or since == 0:
            first = [resource.event(b"ADDED", body) for body in self.listed(resource, selector)]
            if streaming:
                first.append(resource.bookmark(self.version, True))
        elif since < self.compacted:
            raise Failure(410, "Expired", f"too old resource version: {since} ({self.compacted})")
        else:
            for event in self.history:
                if event.resource is resource and event.version > since:
                    watcher.tell(event)
            first = []
        self.watchers.add(watcher)
        return watcher, in_pieces(first, b"")


def in_pieces(items, separator, size=1 << 18):
    piece, length = [], 0
    for index, item in enumerate(items):
        piece.append(separator + item if index else item)
        length += len(item)
        if length >= size:
            yield b"".join(piece)
            piece, length = [], 0
    if piece:
        yield b"".join(piece)


def now():
    return time.time_ns() // 1000
