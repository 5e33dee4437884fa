#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Compares Kubernetes objects, and what they grant with what the sources ask for.

objects.py same A B        two files say the same, but for what Helm adds to its own
objects.py within A B      every field of A is in B: B is A as a typed client has understood it
objects.py rbac FILE DIR   the ClusterRole in FILE grants what the sources below DIR ask the API for, no more and no less
"""
import pathlib
import re
import sys

import yaml

OF_HELM = {"helm.sh/chart", "app.kubernetes.io/managed-by", "checksum/config"}


def load(path):
    objects = [each for each in yaml.safe_load_all(pathlib.Path(path).read_text()) if each]
    for each in objects:
        metadata = [each.get("metadata", {}), each.get("spec", {}).get("template", {}).get("metadata", {})]
        for place in metadata:
            for field in ("labels", "annotations"):
                kept = {k: v for k, v in place.get(field, {}).items() if k not in OF_HELM}
                place.pop(field, None)
                if kept:
                    place[field] = kept
        if each["kind"] == "ConfigMap":  # comments and order of the file within do not matter
            each["data"] = {k: yaml.safe_load(v) for k, v in each["data"].items()}
    return {(each["kind"], each["metadata"]["name"]): each for each in objects}


def differences(a, b, path="", both=True):
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | (b.keys() if both else set())):
            if key in a and key in b:
                yield from differences(a[key], b[key], f"{path}.{key}", both)
            else:
                yield f"{path}.{key}: only in the {'first' if key in a else 'second'}"
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (one, other) in enumerate(zip(a, b)):
            yield from differences(one, other, f"{path}[{index}]", both)
    elif a != b:
        yield f"{path}: {a!r} and {b!r}"


def compare(first, second, both):
    a, b = load(first), load(second)
    if not a:
        yield f"{first}: no object"
    if both or a.keys() - b.keys():
        yield from (f"{kind} {name}: only in one" for kind, name in sorted(a.keys() ^ b.keys()))
    for key in sorted(a.keys() & b.keys()):
        yield from differences(a[key], b[key], "/".join(key), both)


def rbac(path, sources):
    role = next(each for (kind, _), each in load(path).items() if kind == "ClusterRole")
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    asked = set()
    for file in sorted(pathlib.Path(sources).rglob("*.cpp")):
        text = file.read_text()
        for group, namespace, resource in re.findall(
            r'"/(?:api|apis/([\w.]+))/v\w+/(namespaces/[^/"]+/)?(\w+)', text
        ):
            # What is read is read over all namespaces; what is written is written into one.
            verbs = ["list", "watch"]
            if namespace:
                verbs = [verb for method, verb in (("POST", "create"), ("PATCH", "patch")) if f'"{method}"' in text]
            asked |= {(group, resource, verb) for verb in verbs}
    if not asked:
        yield f"{sources}: asks for nothing"
    yield from (f"asked for and not granted: {each}" for each in sorted(asked - granted))
    yield from (f"granted and not asked for: {each}" for each in sorted(granted - asked))


def main(command, *arguments):
    if command == "rbac":
        faults = list(rbac(*arguments))
    else:
        faults = list(compare(*arguments, both=command == "same"))
    print(*faults, sep="\n")
    return 1 if faults else 0


sys.exit(main(*sys.argv[1:]))
