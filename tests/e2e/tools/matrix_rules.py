# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a client of a Service is to meet, by kube-proxy's rules (behaviour rows 1.13, 1.16, 1.19 to 1.23) and by what
docs/behaviour.md says is decided otherwise. Written from those, never from what the agent programs."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Setting:
    """What an operator has set that changes a cell."""
    masquerade_all: bool = False
    detector: bool = False  # a range of pods; else pods are known by their links
    cluster_ip_outside: bool = False
    pod_sockets: bool = False


@dataclasses.dataclass(frozen=True)
class Cell:
    kind: str  # clusterIP, nodePort, externalIP, loadBalancer
    external: str  # policies, Cluster or Local
    internal: str
    here: frozenset  # names of usable backends on the node that serves
    elsewhere: frozenset
    protocol: str
    caller: str  # a pod's name, or "node"
    place: str  # of the caller, as the node that serves sees it: pod, node, outside, pod outside

    def comes(self, setting):
        """What the caller is to the node that serves (rows 1.22, 1.23)."""
        if self.place == "pod outside":  # a pod of another node, whom only a range tells from the rest of the world
            return "cluster" if setting.detector else "outside"
        return self.place


REFUSED, SILENCE = "refused", "silence"


def verdict(cell, setting):
    """REFUSED, SILENCE, or the set of backends of which each is to answer."""
    comes = cell.comes(setting)
    if cell.kind == "clusterIP" and comes in ("outside", "cluster") and not setting.cluster_ip_outside:
        return SILENCE  # decided: row 1.19, kube-proxy forwards
    everywhere = cell.here | cell.elsewhere
    if not everywhere:
        return REFUSED  # row 1.16
    policy = cell.internal if cell.kind == "clusterIP" else cell.external if comes == "outside" else "Cluster"
    chosen = cell.here if policy == "Local" else everywhere
    if chosen:
        return chosen
    return REFUSED if comes == "node" else SILENCE  # row 1.16; decided: a call cannot be dropped


# What the backend sees: the first line that fits. Words of `seen`: client, the caller's own address; node, the primary address
# of the node that serves; frontend, what was dialled; route, what the way from the node to the backend gives.
ANY = None
SOURCES = (
    # row, kind, external policy, who comes, what else holds, and what is seen
    ("1.20", ANY, ANY, "node", (), "route"),
    ("docs/sockets.md", ANY, ANY, "pod", ("socket",), "client"),
    ("1.21, decided", ANY, ANY, "pod", ("itself",), "frontend"),
    ("1.19", "clusterIP", ANY, ANY, ("masquerade all",), "node"),
    ("1.19", "clusterIP", ANY, "pod", (), "client"),
    ("1.19, decided", "clusterIP", ANY, "cluster", ("elsewhere",), "node"),
    ("1.19", "clusterIP", ANY, "cluster", (), "client"),
    ("1.19, decided", "clusterIP", ANY, "outside", (), "node"),
    ("1.20", ANY, "Cluster", ANY, (), "node"),
    ("1.20", ANY, "Local", "pod", (), "client"),
    ("1.20, decided", ANY, "Local", "cluster", ("elsewhere",), "node"),
    ("1.20", ANY, "Local", "cluster", (), "client"),
    ("1.20", ANY, "Local", "outside", (), "client"),
)


def source(cell, setting, backend):
    """(row, word of SOURCES) for the backend that answered."""
    comes = cell.comes(setting)
    holds = {"elsewhere": backend in cell.elsewhere, "itself": backend == cell.caller,
             "masquerade all": setting.masquerade_all, "socket": setting.pod_sockets and cell.protocol == "TCP"}
    for row, kind, policy, who, also, seen in SOURCES:
        if kind in (ANY, cell.kind) and policy in (ANY, cell.external) and who in (ANY, comes) and all(map(holds.get, also)):
            return row, seen
    raise LookupError(f"no rule for {cell}")
