# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Large clusters for the scripted API server: objects of the size that real ones have, made and changed in the server
# itself, as text, so that the server is not what is measured.
import asyncio
import ipaddress
import json
import time
import zlib

from api_store import BY_KIND

SERVICE, SLICE = BY_KIND["Service"], BY_KIND["EndpointSlice"]
MANAGED = json.dumps([{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                       "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {
                           f"f:{name}": {".": {}, "f:labels": {".": {}, "f:app.kubernetes.io/name": {}}}
                           for name in ("metadata", "spec", "addressType", "endpoints", "ports")}}],
                     separators=(",", ":"))


class Size:
    """generate {services: N, ports: P, endpoints: E of each Service}, the clusters of the benchmark."""

    def __init__(self, store, services, ports, endpoints):
        self.store, self.ports = store, ports
        # The pods of each Service by number; what a restart makes gets a new one.
        self.pods = [list(range(index * endpoints, (index + 1) * endpoints)) for index in range(services)]
        self.next_pod = services * endpoints
        for index in range(services):
            self.put_service(self.name(index), ipaddress.ip_address("10.100.0.0") + index)
            self.put_slice(self.name(index), [(pod, "ready") for pod in self.pods[index]])
        self.put_service(("ns-0", "probe"), "10.99.0.1")
        self.probe_pods = [self.next_pod + number for number in range(16)]
        self.next_pod += 16
        self.put_probe(0)

    @staticmethod
    def name(index):
        return f"ns-{index % 100}", f"service-{index}"

    def put_service(self, key, address):
        namespace, name = key
        ports = ",".join(f'{{"name":"port-{number}","protocol":"TCP","port":{80 + number},"targetPort":{8080 + number}}}'
                         for number in range(self.ports))
        text = (f'"name":"{name}","namespace":"{namespace}","uid":"00000000-0000-4000-8000-{zlib.crc32(name.encode()):012x}",'
                f'"creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app.kubernetes.io/name":"{name}"}},'
                f'"managedFields":{MANAGED}}},"spec":{{"ports":[{ports}],"selector":{{"app.kubernetes.io/name":"{name}"}},'
                f'"clusterIP":"{address}","clusterIPs":["{address}"],"type":"ClusterIP","sessionAffinity":"None",'
                '"ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","internalTrafficPolicy":"Cluster"},'
                '"status":{"loadBalancer":{}}}')
        fields = {"metadata.name": name, "metadata.namespace": namespace, "spec.clusterIP": str(address),
                  "spec.type": "ClusterIP"}
        self.store.put_bytes(SERVICE, key, {"app.kubernetes.io/name": name}, fields, text.encode())

    def put_slice(self, key, pods):
        namespace, name = key
        conditions = {"ready": '"ready":true,"serving":true,"terminating":false',
                      "starting": '"ready":false,"serving":false,"terminating":false',
                      "terminating": '"ready":false,"serving":true,"terminating":true'}
        endpoints = ",".join(
            f'{{"addresses":["10.{128 + (pod >> 16)}.{pod >> 8 & 255}.{pod & 255}"],"conditions":{{{conditions[state]}}},'
            f'"nodeName":"node-{pod % 1000}","zone":"zone-{pod % 3}","targetRef":{{"kind":"Pod","namespace":"{namespace}",'
            f'"name":"{name}-7d4b9c6f5-{pod:06d}","uid":"00000000-0000-4000-9000-{pod:012x}"}}}}'
            for pod, state in pods)
        ports = ",".join(f'{{"name":"port-{number}","protocol":"TCP","port":{8080 + number}}}' for number in range(self.ports))
        changed = time.time_ns()
        changed = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(changed // 10**9)) + f".{changed % 10**9:09d}Z"
        text = (f'"name":"{name}-x7k2p","generateName":"{name}-","namespace":"{namespace}",'
                f'"uid":"00000000-0000-4000-a000-{zlib.crc32(name.encode()):012x}","creationTimestamp":"2026-01-01T00:00:00Z",'
                f'"annotations":{{"endpoints.kubernetes.io/last-change-trigger-time":"{changed}"}},'
                f'"labels":{{"kubernetes.io/service-name":"{name}","app.kubernetes.io/name":"{name}",'
                '"endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io"},'
                f'"ownerReferences":[{{"apiVersion":"v1","kind":"Service","name":"{name}","controller":true,'
                f'"blockOwnerDeletion":true}}],"managedFields":{MANAGED}}},'
                f'"addressType":"IPv4","endpoints":[{endpoints}],"ports":[{ports}]}}')
        fields = {"metadata.name": f"{name}-x7k2p", "metadata.namespace": namespace}
        self.store.put_bytes(SLICE, (namespace, f"{name}-x7k2p"), {"kubernetes.io/service-name": name}, fields,
                             text.encode())

    def put_probe(self, number):
        """The length of the probe's run tells which change it is."""
        self.put_slice(("ns-0", "probe"), [(pod, "ready") for pod in self.probe_pods[:5 + number % 10]])

    def restart_step(self, step):
        """A restarted endpoint is two events of its slice: the old one ends while the new one starts, then the new one
        is ready and the old one gone."""
        restart, second = step >> 1, step & 1
        pods = self.pods[restart % len(self.pods)]
        place = restart // len(self.pods) % len(pods)
        if second:
            pods[place] = self.next_pod
            self.next_pod += 1
        states = [(pod, "ready") for pod in pods]
        if not second:
            states[place] = (pods[place], "terminating")
            states.append((self.next_pod, "starting"))
        self.put_slice(self.name(restart % len(self.pods)), states)

    async def change(self, seconds, restarts=0, probes=0):
        """So many restarts and probes each second; the times (us) at which the probes were made, and what was done."""
        begin, steps, sent, latest = time.monotonic(), 0, [], 0
        while (passed := time.monotonic() - begin) < seconds:
            while steps < 2 * restarts * passed:
                self.restart_step(steps)
                steps += 1
            if len(sent) < probes * passed:
                sent.append((time.time_ns() // 1000, 5 + (len(sent) + 1) % 10))
                self.put_probe(len(sent))
            latest = max(latest, time.monotonic() - begin - passed)
            await asyncio.sleep(0.002)
        return {"probes": sent, "events": steps + len(sent), "restarts": steps // 2, "longest_turn_ms": latest * 1000}
