#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What kubelet and a container runtime make of the DaemonSet's container, in the network namespace of the caller. Its
capabilities, mounts, environment and command are the manifest's and no more; seccomp, AppArmor and SELinux are left out.

container.py start MANIFESTS --root DIR --host DIR --cgroup DIR [--patch KUSTOMIZATION] [--set KEY=VALUE]
    takes the shell's place; DIR of --host stands for the node's root, KEY is one of the ConfigMap's
container.py exec MANIFESTS PID COMMAND...    as kubectl exec does; PID is the container's first process
container.py probes MANIFESTS                 a line for each: port and path
"""
import argparse
import ctypes
import os
import pathlib
import subprocess
import sys

import yaml

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")  # below /proc, as runtimes have them
PROPAGATION = {None: "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}
ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"  # /var/run leads there
NAMESPACES = ("--mount", "--pid", "--ipc", "--cgroup")


class Pod:
    def __init__(self, manifests, patch=None):
        self.spec = load(manifests, "daemonset.yaml")
        self.config = load(manifests, "configmap.yaml")["data"]
        if patch:
            apply_patch(self.spec, patch)
        self.spec = self.spec["spec"]["template"]["spec"]
        assert self.spec["hostNetwork"] and not self.spec.get("hostPID")
        (self.container,) = self.spec["containers"]
        self.rights = self.container["securityContext"]

    def environment(self):
        # What kubelet gives: the API server's ClusterIP, where the container's own does not say otherwise.
        values = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
        values["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        for each in self.container["env"]:
            source = each.get("valueFrom", {})
            if "fieldRef" in source:
                assert source["fieldRef"]["fieldPath"] == "spec.nodeName"
                values[each["name"]] = "node-1"
            elif "configMapKeyRef" in source:
                key = source["configMapKeyRef"]
                if key["key"] in self.config or not key.get("optional"):
                    values[each["name"]] = self.config[key["key"]]
            else:
                values[each["name"]] = each["value"]
        return values

    def command(self):
        words = self.container.get("command", ["/usr/sbin/svclb-agent"]) + self.container.get("args", [])
        for name, value in self.environment().items():
            words = [word.replace(f"$({name})", value) for word in words]
        return words

    def privileges(self):
        """The words before a command that leave it the container's rights."""
        named = self.rights["capabilities"]
        assert named["drop"] == ["ALL"]
        only = ",".join(["-all"] + ["+" + name.lower() for name in named["add"]])
        words = ["setpriv", f"--reuid={self.rights['runAsUser']}", "--clear-groups", "--inh-caps=-all", f"--bounding-set={only}"]
        return words + ([] if self.rights["allowPrivilegeEscalation"] else ["--no-new-privs"])

    def mounts(self, host):
        """(source, target, read-only, propagation) of each volume."""
        volumes = {each["name"]: each for each in self.spec["volumes"]}
        for each in self.container["volumeMounts"]:
            volume = volumes[each["name"]]
            if "hostPath" in volume:
                source = host + volume["hostPath"]["path"]
                if volume["hostPath"]["type"] == "DirectoryOrCreate":
                    os.makedirs(source, exist_ok=True)
            else:
                source = f"{host}/var/lib/kubelet/{each['name']}"
                os.makedirs(source, exist_ok=True)
                for name, text in self.config.items() if "configMap" in volume else ():
                    pathlib.Path(source, name).write_text(text)
            yield source, each["mountPath"], each.get("readOnly", False), PROPAGATION[each.get("mountPropagation")]
        yield f"{host}/var/lib/kubelet/account", ACCOUNT, True, "rprivate"


def load(directory, file):
    return yaml.safe_load(pathlib.Path(directory, file).read_text())


def apply_patch(document, kustomization):
    (patch,) = yaml.safe_load(pathlib.Path(kustomization).read_text())["patches"]
    for step in yaml.safe_load(patch["patch"]):
        *way, last = step["path"].strip("/").split("/")
        place = document
        for name in way:
            place = place[int(name) if isinstance(place, list) else name]
        if step["op"] == "remove":
            del place[last]
        elif last == "-":
            place.append(step["value"])
        else:
            place[last] = step["value"]


def mount(*words):
    subprocess.run(["mount", *words], check=True)


def within(pod, root, host):
    """In new namespaces: makes the container's file systems, and becomes its first process."""
    mount("--make-rprivate", "/")
    mount("--bind", root, root)

    def place(path, file=False):
        target = root + path
        assert os.path.realpath(target).startswith(root), f"{path} leads out of the image"
        os.makedirs(os.path.dirname(target) if file else target, exist_ok=True)
        if file:
            pathlib.Path(target).touch()
        return target

    mount("-t", "proc", "proc", place("/proc"))
    for name in READ_ONLY:
        path = f"{root}/proc/{name}"
        if os.path.exists(path):
            mount("--bind", path, path)
            mount("-o", "remount,bind,ro", path)
    mount("-t", "sysfs", "-o", "ro", "sysfs", place("/sys"))
    mount("-t", "cgroup2", "-o", "ro", "cgroup2", place("/sys/fs/cgroup"))
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", place("/dev"))
    for name in DEVICES:
        mount("--bind", f"/dev/{name}", place(f"/dev/{name}", file=True))
    for source, target, read_only, propagation in pod.mounts(host):
        target = place(target)
        mount("--rbind", source, target)
        mount(f"--make-{propagation}", target)
        if read_only:
            mount("-o", "remount,bind,ro", target)
    for name in ("hosts", "resolv.conf"):
        mount("--bind", f"/etc/{name}", place(f"/etc/{name}", file=True))
    if pod.rights["readOnlyRootFilesystem"]:
        mount("-o", "remount,bind,ro", root)
    os.chdir(root)
    subprocess.run(["pivot_root", ".", "."], check=True)
    assert ctypes.CDLL(None).umount2(b".", 2) == 0  # MNT_DETACH: the old root
    os.chdir("/")
    words = pod.privileges() + pod.command()
    os.execvpe(words[0], words, pod.environment())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["start", "within", "exec", "probes"])
    parser.add_argument("manifests")
    for name in ("root", "host", "cgroup", "patch"):
        parser.add_argument("--" + name)
    parser.add_argument("--set", action="append", default=[])
    own = 2 if sys.argv[1:2] == ["exec"] else None  # behind them is the command's
    options = parser.parse_args(sys.argv[1:][:own])
    pod = Pod(options.manifests, options.patch)
    pod.config.update(each.split("=", 1) for each in options.set)
    if options.action == "start":
        # A container has a cgroup, and sees the tree from there on.
        pathlib.Path(options.cgroup, "cgroup.procs").write_text(str(os.getpid()))
        again = [sys.executable, __file__, "within", *sys.argv[2:]]
        os.execvp("unshare", ["unshare", *NAMESPACES, "--fork", "--kill-child", *again])
    elif options.action == "within":
        within(pod, options.root, options.host)
    elif options.action == "exec":
        target, *command = sys.argv[3:]
        words = ["nsenter", "--target", target, "--net", *NAMESPACES, "--wd=/", *pod.privileges(), *command]
        os.execvpe(words[0], words, pod.environment())
    else:
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = pod.container[name]["httpGet"]
            print(probe["port"], probe["path"])


main()
