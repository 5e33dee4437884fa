#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# The DaemonSet's container: the image's files, exactly the manifest's capabilities, mounts, environment and command, on a
# node with traffic. What it serves, its probes, kubectl exec, an upgrade, a kill, the drain and the cleanup.
set -euo pipefail
# shellcheck source=tests/harness/kube.sh
. "$(dirname "$0")/../harness/kube.sh"
top=$harness_top
# shellcheck source=tests/deploy/root.sh
. "$top/tests/deploy/root.sh"

harness_begin daemonset
cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
[[ -n $cgroups ]] || harness_skip "no cgroup v2 hierarchy is mounted"
cgroup=$cgroups/$prefix
leave() { harness_cleanup && { [[ ! -d $cgroup ]] || await 5 rmdir "$cgroup"; }; }
root_skip() { leave && harness_skip "$1"; }
trap leave EXIT

say "the image, as deploy/Dockerfile's last stage makes it"
work=$run/image
mkdir "$work"
root_make
within dpkg -i /svclb.deb >"$run/dpkg.log" 2>&1 || { cat "$run/dpkg.log" && exit 1; }
rm "$work/root/svclb.deb" "$work/root/etc/svclb/config.yaml"
entrypoint=$(sed -n 's/^ENTRYPOINT \["\(.*\)"\]$/\1/p' "$top/deploy/Dockerfile")
check "the image's entry point is there" test -x "$work/root$entrypoint"

say "the node"
kube_cluster 2
host=$run/host account=$run/host/var/lib/kubelet/account
mkdir -p "$host/sys/fs" "$host/run" "$account"
# A file system of its own, so that the agent may have its default directory there.
mkdir "$run/bpf"
mount -t bpf -o mode=0700 bpf "$run/bpf"
ln -s "$run/bpf" "$host/sys/fs/bpf"
ln -s /sys/fs/cgroup "$host/sys/fs/cgroup"
[[ -d $cgroup ]] || mkdir "$cgroup"
cp "$api/ca.crt" "$api/token" "$account/"
bpf_dir() { echo "$run/bpf/svclb"; }
kube apply - >/dev/null <<'YAML'
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 10.244.1.1}, {type: InternalIP, address: "fd00:10:244:1::1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: ports, namespace: default}
spec:
  type: NodePort
  clusterIP: 10.96.0.20
  clusterIPs: ["10.96.0.20", "fd00:10:96::20"]
  ipFamilies: [IPv4, IPv6]
  ports: [{name: tcp, port: 80, protocol: TCP, nodePort: 30080}]
YAML
endpoints ports tcp:8080:TCP b1 b2

manifests_dir=$top/deploy/kubernetes/run
container=(/usr/bin/python3 "$top/tests/deploy/container.py")
# container_begin OPTION...
container_begin() {
    # Not by node_exec, whose shell would stand between.
    nsenter --net="/run/netns/$(node_ns)" "${container[@]}" start "$manifests_dir" --root "$work/root" --host "$host" --cgroup "$cgroup" \
        --set "apiServerHost=$api4" --set apiServerPort=6443 "$@" >>"$run/agent1.log" 2>&1 &
    UNSHARE_PID=$!
    await 20 started && return
    echo "the container did not start:"
    cat "$run/agent1.log"
    return 1
}
first_process() { pgrep -P "$UNSHARE_PID"; } # process 1 within
started() {
    local name
    name=$(cat "/proc/$(first_process)/comm") && [[ ! $name =~ python3|unshare|setpriv ]]
}
container_end() { # SIGNAL
    kill "-$1" "$(first_process)"
    await 10 eval "! kill -0 $UNSHARE_PID" || return 1
    wait "$UNSHARE_PID"
}
container_exec() { "${container[@]}" exec "$manifests_dir" "$(first_process)" "$@"; }
comes_up() { await 20 in_step || { cat "$run/agent1.log" && return 1; }; }
in_step() { container_exec svclb-ctl status -o json | jq -e '.agent.running and .lastSync != "" and .complete' >/dev/null; }
status_holds() { holds "$(container_exec svclb-ctl status -o json)" "$1"; }
probe() { # PORT PATH: as kubelet asks, at the Pod's address, which is the node's
    local address
    for address in "$api4" "[$api6]"; do
        [[ $(node_exec curl -s --max-time 5 -o /dev/null -w '%{http_code}' "http://$address:$1$2") == 200 ]] || return
    done
}
dial() { node_exec curl -s --max-time 5 -o /dev/null -w '%{remote_ip}' "http://$1/" || true; }

say "the container"
container_begin
check "comes up" comes_up
((harness_failures == 0)) || kube_end # nothing below could hold
sed 's/^/    /' "$run/agent1.log"
check "it is process 1 of its own" holds "$(container_exec svclb-ctl status -o json)" '.agent.pid == 1'
rights() { awk '/^Cap(Inh|Prm|Eff|Bnd|Amb)|^NoNewPrivs/ { printf "%s%s ", $1, $2 }' "/proc/$(first_process)/status"; }
echo "    $(rights)"
check "with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON alone, for good" test "$(rights)" = \
    "CapInh:0000000000000000 CapPrm:000000c000001000 CapEff:000000c000001000 CapBnd:000000c000001000 CapAmb:0000000000000000 NoNewPrivs:1 "
check "on a root that nobody writes to" eval '! container_exec touch /tmp/x 2>/dev/null'
while read -r port path; do
    check "the probe of $path at $port" probe "$port" "$path"
done < <("${container[@]}" probes "$manifests_dir" | sort -u)
check "host sockets are served below the whole tree" status_holds '.hostSockets.attached and (.hostSockets.text | contains("a part") | not)'
check "what no socket hook sees of the node, too" status_holds '.hostPackets | contains("dropped") | not'
check "nothing failed and nothing is wrong" status_holds '.failures == 0 and .problems == []'
check "svclb-ctl verify" container_exec svclb-ctl verify
check "a pod's TCP by IPv4" holds "$(load_in client "$web4" --connections 60)" '.failed == 0 and (.backends | length) == 2'
check "a pod's UDP by IPv6" holds "$(load_in client "$web6" --udp --connections 60)" '.failed == 0 and (.backends | length) == 2'
check "a node port" holds "$(load_in client "$api4:30080" --connections 60)" '.failed == 0 and (.backends | length) == 2'
check "and over IPv6" holds "$(load_in client "[$api6]:30080" --connections 60)" '.failed == 0 and (.backends | length) == 2'
check "the node's own by IPv4" test "$(dial 10.96.0.10)" = 10.96.0.10
check "and by IPv6" test "$(dial '[fd00:10:96::10]')" = fd00:10:96::10

say "an upgrade, and a kill"
traffic_begin
check "SIGTERM ends the agent with code 0" container_end TERM
check "svclb-ctl of the host knows that no agent runs" holds "$(ctl status -o json)" '.agent.running == false'
container_begin
check "the next one comes up" comes_up
check "which svclb-ctl of the host knows, though it sees other process numbers" holds "$(ctl status -o json)" '.agent.running'
container_end KILL || true
check "killed, it does not run" holds "$(ctl status -o json)" '.agent.running == false'
container_begin
check "the one after it comes up" comes_up
traffic_end

say "the way back"
check "SIGTERM is heard again" container_end TERM
container_begin --patch "$top/deploy/kubernetes/drain/kustomization.yaml"
drained() { [[ $(container_exec svclb-ctl get services -o json | jq -r '[.items[].name] | unique | join(" ")') == kubernetes ]]; }
check "an agent that drains knows no Service but the API server's" await 20 drained
hold_again() { holds "$(hold_ask v4)" '.ok == 50' && holds "$(hold_ask v6)" '.ok == 50'; }
check "and keeps what is open" hold_again
check "SIGTERM ends it" container_end TERM
container_begin --patch "$top/deploy/kubernetes/cleanup/kustomization.yaml"
cleaned() { [[ ! -e $(bpf_dir) && -z $(ls "$host/run/svclb") ]]; }
check "the cleanup leaves nothing behind" await 20 cleaned
no_devices() { ! ip -n "$(node_ns)" link show svclb0 >/dev/null 2>&1; }
check "nor devices" no_devices
waits() { [[ $(cat "/proc/$(first_process)/comm") == sleep ]]; }
check "and its Pod stays" await 10 waits
container_end KILL || true
kube_end
