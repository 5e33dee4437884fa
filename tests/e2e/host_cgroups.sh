#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Which processes the socket hooks reach: those in other cgroups and cgroup namespaces; what an agent covers whose own
# cgroup namespace shows it a part of the tree only; and a host without cgroup v2, or with a /proc/sys for reading only.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin host-cgroups
root=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
[[ -n $root ]] || harness_skip "no cgroup v2 hierarchy is mounted"
cgroup=$root/$prefix
leave_cgroup() { harness_cleanup && { [[ ! -d $cgroup ]] || await 5 rmdir "$cgroup"; }; }
trap leave_cgroup EXIT
[[ ! -d $cgroup ]] || rmdir "$cgroup"
mkdir "$cgroup"
cluster_up
# As it may be on a node whose pods have IPv4 only.
node_exec sysctl -q -w net.ipv6.conf.default.forwarding=0
pod_add b1
pod_serve b1 8080
service web 10.96.0.10 fd00:10:96::10 tcp:80:TCP udp:80:UDP
endpoints web "$web_ports" b1
cidrs=(--service-cidr "10.96.0.0/16,fd00:10:96::/112")

# shellcheck disable=SC2016 # expanded by the shells within
{
    in_cgroup=(sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$cgroup")
    # A cgroup namespace and mount of its own, as a container runtime makes them.
    in_container=("${in_cgroup[@]}" unshare --cgroup --mount sh -c
        'umount -l "$0" && mount -t cgroup2 none "$0" && exec "$@"' "$root")
    without_cgroup2=(unshare --mount sh -c 'umount -l -a -t cgroup2 && exec "$@"' sh)
    read_only=(unshare --mount sh -c 'mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"' sh)
}
# dial ADDRESS [COMMAND...]: what a process of the node is told of its peer, or nothing.
dial() { node_exec "${@:2}" curl -s --max-time 20 -o /dev/null -w '%{remote_ip}' "http://$1/" || true; }
served() { # [COMMAND...]
    [[ $(dial 10.96.0.10 "$@") == 10.96.0.10 && $(dial '[fd00:10:96::10]' "$@") == fd00:10:96::10 ]]
}
not_served() { [[ -z $(dial 10.96.0.10 "$@") && -z $(dial '[fd00:10:96::10]' "$@") ]]; }
sockets_are() { holds "$(ctl status -o json | jq -c .hostSockets)" ".attached == $1 and .text == \"$2\""; }

say "the whole tree; no packet is caught"
start_agent --host-packets off
check "status names the root" sockets_are true "$root"
check "a process in the root is served" served
check "one in a cgroup below it" served "${in_cgroup[@]}"
check "one in another cgroup namespace" served "${in_cgroup[@]}" unshare --cgroup
check "and one in a container's" served "${in_container[@]}"
stop_agent

say "the agent in a cgroup namespace of its own"
agent_within=("${in_container[@]}")
start_agent --host-packets off
check "status says that it covers a part" sockets_are true "$root, a part: processes outside of it are not covered"
check "a process in that part is served" served "${in_cgroup[@]}"
check "one outside of it is not" not_served
stop_agent
start_agent "${cidrs[@]}"
node_exec sysctl -q -w net.ipv6.conf.svclb1.forwarding=1
check "but by its packets, when these are caught" served
stop_agent
mkdir "$run/cgroup"
mount --bind "$root" "$run/cgroup"
leave_mount() { umount "$run/cgroup" && leave_cgroup; }
trap leave_mount EXIT
start_agent --host-packets off --cgroup-root "$run/cgroup"
check "with the host's root at hand it is attached there" sockets_are true "$run/cgroup"
check "and every process is served" served
stop_agent
start_agent --host-packets off
check "also where nobody names it" sockets_are true "$run/cgroup"
check "and serves every process" served
stop_agent
umount "$run/cgroup"
trap leave_cgroup EXIT

say "a host without cgroup v2"
agent_within=("${without_cgroup2[@]}")
start_agent "${cidrs[@]}"
check "status says so" sockets_are false "no cgroup v2 hierarchy is mounted"
check "a former agent's hooks are gone" holds "$(ctl get links -o json)" 'all(.items[]; .kind != "cgroup")'
check "every process is served by its packets" served
check "one in another cgroup namespace, too" served "${in_cgroup[@]}" unshare --cgroup
flows() { ctl get flows -o json | jq '.items | length'; }
check "as their flows tell" test "$(flows)" -gt 0
stop_agent

say "a /proc/sys for reading only"
node_exec "$build/userspace/agent/svclb-agent" --cleanup --state-dir "$run/state1" --bpf-dir "$(bpf_dir)" >/dev/null 2>&1
agent_within=("${read_only[@]}")
start_agent "${cidrs[@]}" --host-sockets off
check "status says that sockets are left alone" sockets_are false off
check "and which packets are dropped" holds "$(ctl status -o json)" '.hostPackets |
    endswith("; IPv6 is dropped: /proc/sys/net/ipv6/conf/svclb1/forwarding cannot be set to 1")'
check "IPv4 is served" test "$(dial 10.96.0.10)" = 10.96.0.10
unrouted() { ctl status -o json | jq '[.drops[] | select(.reason == "HOST_PACKET_UNROUTED") | .packets] | add // 0'; }
before=$(unrouted)
check "IPv6 is not" test -z "$(node_exec curl -s --max-time 2 'http://[fd00:10:96::10]/')"
check "which is counted" test "$(unrouted)" -gt "$before"
stop_agent
start_agent "${cidrs[@]}"
check "with the socket hooks no process is told of it" served
stop_agent
agent_within=()
start_agent "${cidrs[@]}" --host-sockets off
check "an agent that may write mends it" served
check "and says nothing of it" holds "$(ctl status -o json)" '.hostPackets | contains("dropped") | not'
harness_end
