# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""matrix.py WORLD SETTING CALLER: dials every frontend of every Service of WORLD, a file of JSON, as CALLER, in whose network
namespace it runs, and holds what comes of it to matrix_rules.py: reached, refused or silence, which backends answer, and whom
they see. Prints what is wrong, cell by cell, and one line of JSON: how many cells there were, how many of them silent.

WORLD: {"nodes": {NODE: {"4": ADDRESS, "6": ADDRESS}}, "pods": {POD: {"node": NODE, "4": ..., "6": ...}}, "services": {NUMBER:
[external policy, internal policy, POD...]}, "routes": {NODE: {POD: {"4": ..., "6": ...}}}}: of the nodes that serve, and by which
address they speak to which backend. What is dialled at NUMBER's addresses is what `exposed` of outside.sh makes. Node ports
and what comes from a node that does not serve are node "1"'s."""
import collections
import dataclasses
import errno
import ipaddress
import json
import selectors
import socket
import sys
import time

import matrix_rules as rules

SETTINGS = {
    "default": rules.Setting(),
    "masquerade-all": rules.Setting(masquerade_all=True),
    "detector": rules.Setting(detector=True, cluster_ip_outside=True),
    "detector-masquerade-all": rules.Setting(detector=True, masquerade_all=True, cluster_ip_outside=True),
    "pod-sockets": rules.Setting(pod_sockets=True),
}
# Of two backends all dials leave one out with a probability of 2^-35, in each of some 2,000 cells.
DIALS_OF_CHOICE = 36
DIALS_OF_ONE = 6  # where another backend would be found by a fault
AT_ONCE = 48
PATIENCE_S = 20  # with nothing whatever coming in
SILENCE_S = 0.3
PROTOCOLS = {"TCP": (socket.SOCK_STREAM, 0), "UDP": (socket.SOCK_DGRAM, 0), "SCTP": (socket.SOCK_STREAM, socket.IPPROTO_SCTP)}


def protocols_of_kernel():
    for name, (kind, number) in PROTOCOLS.items():
        try:
            socket.socket(socket.AF_INET, kind, number).close()
            yield name
        except OSError:
            pass


@dataclasses.dataclass
class Target:
    """One cell, what it is to meet, and what came of its dials."""
    name: str
    cell: rules.Cell
    family: str
    to: tuple
    serving: str
    wanted: object = None
    got: collections.Counter = dataclasses.field(default_factory=collections.Counter)


class Dial:
    """One conversation: it asks "peer" and notes in its target who answered and whom that one saw, or what it failed with."""
    def __init__(self, target, waiting):
        self.target, self.waiting, self.over = target, waiting, False
        kind, number = PROTOCOLS[target.cell.protocol]
        self.datagram = kind == socket.SOCK_DGRAM
        self.socket = socket.socket(socket.AF_INET if target.family == "4" else socket.AF_INET6, kind | socket.SOCK_NONBLOCK, number)
        waiting.register(self.socket, selectors.EVENT_WRITE, self)
        error = self.socket.connect_ex(target.to)
        if error not in (0, errno.EINPROGRESS):
            self.end(errno.errorcode[error])

    def step(self, events):
        try:
            if events & selectors.EVENT_WRITE:
                if error := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(error, "connect")
                self.socket.send(b"peer" if self.datagram else b"peer\n")
                self.waiting.modify(self.socket, selectors.EVENT_READ, self)
                return
            self.end(tuple(self.socket.recv(200).decode().split()) or "closed")
        except OSError as error:
            self.end(errno.errorcode[error.errno])

    def end(self, result):
        self.target.got[result] += 1
        self.over = True
        self.close()

    def close(self):
        self.waiting.unregister(self.socket)
        self.socket.close()


def dial_all(targets):
    """Those of which nothing is to come are dialled beside the others, and heard for a moment longer."""
    waiting = selectors.DefaultSelector()
    todo = collections.deque(target for target in targets for _ in range(dials_of(target)) if target.wanted != rules.SILENCE)
    unheard = [Dial(target, waiting) for target in targets if target.wanted == rules.SILENCE]
    going, heard, patience = [], time.monotonic(), PATIENCE_S
    while todo or going:
        while todo and len(going) < AT_ONCE:
            going.append(Dial(todo.popleft(), waiting))
        if step_all(waiting) or any(dial.over for dial in going):
            heard = time.monotonic()
        elif time.monotonic() > heard + patience:
            end_all(going)
            patience = 1  # it is known to have failed
        going = [dial for dial in going if not dial.over]
    until = time.monotonic() + SILENCE_S
    while time.monotonic() < until:
        step_all(waiting)
    end_all(unheard)


def step_all(waiting):
    ready = waiting.select(SILENCE_S / 10)
    for key, events in ready:
        key.data.step(events)
    return ready


def end_all(dials):
    for dial in dials:
        if not dial.over:
            dial.end(rules.SILENCE)


def dials_of(target):
    if len(target.cell.here | target.cell.elsewhere) < 2:
        return 2
    return DIALS_OF_CHOICE if len(target.wanted) > 1 else DIALS_OF_ONE


def frontends(number, family, node):
    kinds = {"4": (f"10.96.0.{number}", f"192.0.2.{number}", f"192.0.2.1{number}"),
             "6": (f"fd00:10:96::{number}", f"2001:db8::{number}", f"2001:db8::1{number}")}[family]
    yield from ((kind, (address, 80)) for kind, address in zip(("clusterIP", "externalIP", "loadBalancer"), kinds))
    yield "nodePort", (node[family], int(f"300{number}"))


def targets_of(world, setting, caller):
    """`caller` is a pod, or "node-N"."""
    home = caller.removeprefix("node-") if caller.startswith("node-") else world["pods"][caller]["node"]
    for number, (external, internal, *backends) in world["services"].items():
        for family in "46":
            for kind, to in frontends(number, family, world["nodes"]["1"]):
                serving = home if home in world["nodes"] and kind != "nodePort" else "1"
                is_pod = ipaddress.ip_address(world["pods"][caller]["4"]) in ipaddress.ip_network("10.244.0.0/16") \
                    if caller in world["pods"] else False
                place = ("pod" if is_pod else "node") if home == serving else "pod outside" if is_pod else "outside"
                here = frozenset(pod for pod in backends if world["pods"][pod]["node"] == serving)
                for protocol in protocols_of_kernel():
                    cell = rules.Cell(kind, external, internal, here, frozenset(backends) - here, protocol, caller, place)
                    name = (f"{caller}: IPv{family} {protocol} {kind}, external {external}, internal {internal}, "
                            f"backends {' and '.join(backends) or 'none'}")
                    target = Target(name, cell, family, to, serving)
                    target.wanted = rules.verdict(cell, setting)
                    yield target


def seen_at(world, target, setting, backend):
    """(row, address) that the backend is to see."""
    row, word = rules.source(target.cell, setting, backend)
    family, caller = target.family, target.cell.caller
    return row, {
        "client": lambda: (world["pods"].get(caller) or world["hosts"][caller])[family],
        "node": lambda: world["nodes"][target.serving][family],
        "frontend": lambda: target.to[0],
        "route": lambda: world["routes"][target.serving][backend][family],
    }[word]()


def fault_of(world, target, setting):
    """What is wrong with the cell, or None."""
    if target.wanted == rules.SILENCE:
        wanted = {rules.SILENCE}
    elif target.wanted == rules.REFUSED:
        wanted = {"ECONNREFUSED"}
    else:
        by = {backend: seen_at(world, target, setting, backend) for backend in target.wanted}
        wanted = {(backend, address) for backend, (_, address) in by.items()}
    if set(target.got) == wanted:
        return None
    rows = sorted({row for row, _ in by.values()}) if target.wanted not in (rules.SILENCE, rules.REFUSED) else ["1.16"]
    return f"{target.name}: wanted {sorted(wanted)} (row {', '.join(rows)}), got {dict(target.got)}"


def main():
    path, setting_name, caller = sys.argv[1:]
    with open(path) as file:
        world = json.load(file)
    setting = SETTINGS[setting_name]
    targets = list(targets_of(world, setting, caller))
    dial_all(targets)
    faults = [fault for target in targets if (fault := fault_of(world, target, setting))]
    print(*faults, sep="\n")
    print(json.dumps({"cells": len(targets), "wrong": len(faults), "silent": sum(t.wanted == rules.SILENCE for t in targets)}))
    return 1 if faults or not targets else 0


sys.exit(main())
