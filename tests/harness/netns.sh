# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
# A cluster of network namespaces to source: nodes with a bridge, pods on veths, an agent on each node.
#   harness_begin NAME; cluster_up; pod_add client; pod_add b1; start_agent; service web "http:80:TCP"; ...; harness_end
# Everything it makes carries the prefix svclb-NAME; leftovers of an earlier run are removed at the beginning, and all of
# it at the end, whatever the end is. It ends only processes that live in its own namespaces.
#
# Addresses: node N has the pods 10.244.N.0/24 and fd00:10:244:N::/64 (ptp pods: 100 + N); ClusterIPs are 10.96.0.0/16 and fd00:10:96::/112,
# to which the pods' default route leads; nodes I < J are joined by 10.0.1IJ.0/24 and fd00:77:IJ::/64.
#
# "ip netns exec" mounts a new /sys, without bpffs and cgroups, so programs are entered with nsenter.

harness_top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

declare -A POD_IP4 POD_IP6 POD_NODE AGENT_PID
harness_checks=0
harness_failures=0
harness_pods=0

# ---------------------------------------------------------------- begin and end

harness_names() { # NAME
    prefix=svclb-$1
    build=${SVCLB_BUILD:-$harness_top/build}
    tools=$build/tests/e2e/tools
    run=/tmp/$prefix
    manifests=$run/manifests
    agent_source=(--manifests "$manifests")
    agent_within=() # a command that runs the agent as its arguments say
    nodes=0
}

harness_begin() {
    harness_names "$1"
    ((EUID == 0)) || harness_skip "namespaces need root"
    umask 022 # one test's agent is nobody
    harness_mount_bpffs
    harness_cleanup
    mkdir -p "$manifests"
    trap harness_cleanup EXIT
    trap 'exit 130' INT TERM
}

harness_skip() {
    echo "skipped: $1"
    trap - EXIT
    exit 77
}

harness_mount_bpffs() {
    [[ $(stat -f -c %T /sys/fs/bpf 2>/dev/null) == bpf_fs ]] || mount -t bpf bpf /sys/fs/bpf 2>/dev/null ||
        harness_skip "no bpf file system at /sys/fs/bpf and none could be mounted"
}

harness_namespaces() {
    ip netns list 2>/dev/null | awk -v prefix="$prefix-" 'index($1, prefix) == 1 { print $1 }'
}

harness_cleanup() {
    local ns pid dir
    disown -a # or the shell reports each child that is ended here
    for ns in $(harness_namespaces); do
        for pid in $(ip netns pids "$ns" 2>/dev/null); do
            kill -KILL "$pid" 2>/dev/null || true
        done
    done
    for ns in $(harness_namespaces); do
        ip netns delete "$ns" || true
    done
    for dir in /sys/fs/bpf/"$prefix"-node*; do
        [[ ! -d $dir ]] || rm -rf "$dir"
    done
    ! mountpoint -q "$run/bpf" || umount "$run/bpf"
    rm -rf "$run"
}

# harness_end: the verdict of a test.
harness_end() {
    echo "$harness_checks checks, $harness_failures failed"
    ((harness_checks > 0 && harness_failures == 0))
    exit
}

say() { printf '== %s\n' "$*"; }

# check SENTENCE COMMAND...: prints the sentence and whether the command held.
check() {
    local sentence=$1
    shift
    harness_checks=$((harness_checks + 1))
    if "$@"; then
        echo "ok: $sentence"
    else
        harness_failures=$((harness_failures + 1))
        echo "FAILED: $sentence ($*)"
    fi
}

# await SECONDS COMMAND...: asks every 5 ms until the command holds. The seconds are those of an idle machine: no verdict
# is to depend on what else runs on it, so that four times as long is waited for.
await() {
    local until=$((${EPOCHREALTIME/[.,]/} + $1 * 4000000))
    shift
    until "$@" >/dev/null 2>&1; do
        ((${EPOCHREALTIME/[.,]/} < until)) || return 1
        sleep 0.005
    done
}

now_us() { echo "${EPOCHREALTIME/[.,]/}"; }

# ---------------------------------------------------------------- namespaces

harness_namespace() { # NAME
    ip netns add "$1"
    # Duplicate address detection would hold IPv6 back for a second on each new link.
    nsenter --net="/run/netns/$1" sysctl -q -w net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 \
        net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    ip -n "$1" link set lo up
}

node_ns() { echo "$prefix-node${1:-1}"; }
pod_ns() { echo "$prefix-pod-$1"; }

# cluster_up [NODES]
cluster_up() {
    local count=${1:-1} node
    for ((node = 1; node <= count; node++)); do
        node_add
    done
}

# A node with the bridge br0, and one veth to each earlier node.
node_add() {
    local node=$((nodes + 1)) ns other to
    nodes=$node
    ns=$(node_ns "$node")
    harness_namespace "$ns"
    nsenter --net="/run/netns/$ns" sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
        net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
    ip -n "$ns" link add br0 type bridge forward_delay 0
    ip -n "$ns" address add "10.244.$node.1/24" dev br0
    ip -n "$ns" address add "fd00:10:244:$node::1/64" dev br0 nodad
    ip -n "$ns" link set br0 up
    for ((other = 1; other < node; other++)); do
        to=$(node_ns "$other")
        ip link add "to-node$other" netns "$ns" type veth peer name "to-node$node" netns "$to"
        harness_uplink "$ns" "to-node$other" "$other" "$node" "$other$node"
        harness_uplink "$to" "to-node$node" "$node" "$other" "$other$node"
    done
}

harness_uplink() { # NAMESPACE DEVICE PEER-NODE OWN-NODE SUBNET
    ip -n "$1" address add "10.0.$((100 + $5)).$4/24" dev "$2"
    ip -n "$1" address add "fd00:77:$5::$4/64" dev "$2" nodad
    ip -n "$1" link set "$2" up
    local subnet
    for subnet in "$3" $((100 + $3)); do # pods on the bridge, and ptp pods
        ip -n "$1" route add "10.244.$subnet.0/24" via "10.0.$((100 + $5)).$3"
        ip -n "$1" -6 route add "fd00:10:244:$subnet::/64" via "fd00:77:$5::$3"
    done
}

# pod_add NAME [NODE] [bridge|ptp]: the host end is called v-NAME. A ptp pod has no bridge: a host route to its veth, and
# a gateway that exists on no interface, as the ptp and Calico plug-ins do it.
pod_add() {
    local name=$1 node=${2:-1} style=${3:-bridge} ns host host_mac
    harness_pods=$((harness_pods + 1))
    local number=$((harness_pods + 9))
    ns=$(pod_ns "$name")
    host=$(node_ns "$node")
    local subnet=$node
    [[ $style == bridge ]] || subnet=$((100 + node))
    POD_NODE[$name]=$node
    POD_IP4[$name]=10.244.$subnet.$number
    POD_IP6[$name]=fd00:10:244:$subnet::$(printf %x "$number")
    harness_namespace "$ns"
    # Created in the pod, so that the host end appears in the node all at once, peer and all.
    ip link add eth0 netns "$ns" type veth peer name "v-$name" netns "$host"
    if [[ $style == bridge ]]; then
        ip -n "$host" link set "v-$name" master br0 up
        ip -n "$ns" link set eth0 up
        ip -n "$ns" address add "${POD_IP4[$name]}/24" dev eth0
        ip -n "$ns" address add "${POD_IP6[$name]}/64" dev eth0 nodad
        ip -n "$ns" route add default via "10.244.$node.1"
        ip -n "$ns" -6 route add default via "fd00:10:244:$node::1"
        return
    fi
    ip -n "$host" link set "v-$name" up
    ip -n "$ns" link set eth0 up
    host_mac=$(ip -n "$host" -j link show "v-$name" | jq -r '.[0].address')
    ip -n "$ns" address add "${POD_IP4[$name]}/32" dev eth0
    ip -n "$ns" address add "${POD_IP6[$name]}/128" dev eth0 nodad
    ip -n "$ns" neighbour add 169.254.1.1 lladdr "$host_mac" dev eth0 nud permanent
    ip -n "$ns" neighbour add fe80::1 lladdr "$host_mac" dev eth0 nud permanent
    ip -n "$ns" route add default via 169.254.1.1 dev eth0 onlink
    ip -n "$ns" -6 route add default via fe80::1 dev eth0 onlink
    ip -n "$host" route add "${POD_IP4[$name]}/32" dev "v-$name"
    ip -n "$host" -6 route add "${POD_IP6[$name]}/128" dev "v-$name"
}

pod_delete() { # NAME
    local pid
    for pid in $(ip netns pids "$(pod_ns "$1")"); do
        kill -KILL "$pid" 2>/dev/null || true
    done
    ip netns delete "$(pod_ns "$1")"
}

# pod_exec NAME COMMAND..., node_exec [-n NODE] COMMAND...
pod_exec() {
    local ns
    ns=$(pod_ns "$1")
    shift
    nsenter --net="/run/netns/$ns" "$@"
}

node_exec() {
    local node=1
    if [[ $1 == -n ]]; then
        node=$2
        shift 2
    fi
    nsenter --net="/run/netns/$(node_ns "$node")" "$@"
}

# pod_serve NAME PORT...: pod_server in the pod, ready when this returns.
pod_serve() {
    local name=$1
    nsenter --net="/run/netns/$(pod_ns "$name")" "$tools/pod_server" "$@" >"$run/$name.server" 2>&1 &
    await 5 grep -q ready "$run/$name.server" || { cat "$run/$name.server" && return 1; }
}

# pod_packets NAME: TCP segments and datagrams that have reached the pod's sockets' layer.
pod_packets() {
    pod_exec "$1" cat /proc/net/snmp /proc/net/snmp6 | awk '
        $1 == "Tcp:" && $2 ~ /^[0-9]/ { n += $11 }
        $1 == "Udp:" && $2 ~ /^[0-9]/ { n += $2 + $3 }
        $1 == "Udp6InDatagrams" || $1 == "Udp6NoPorts" { n += $2 }
        END { print n + 0 }'
}

# load_in NAME TO OPTION...: connect_load in a pod; prints its line of JSON. Long loads want --bye or --reset: with half
# of the client's ports in TIME_WAIT its kernel searches for a free one longer than anything here takes.
load_in() {
    local name=$1
    shift
    pod_exec "$name" "$tools/connect_load" "$@"
}

# bulk_in POD TO [OPTION...]: 20 MB to the iperf3 server behind port 80 of TO; prints how many bytes the receiver had when
# the sender was through, which is when the last byte is in its socket: both ends' buffers, 10 MB at most, may still be on
# their way. The server takes one client at a time, and opens its port anew for each.
bulk_in() {
    local said i
    for ((i = 0; i < 40; i++)); do
        said=$(pod_exec "$1" timeout 250 iperf3 -c "$2" -p 80 -n 20M --json "${@:3}") || true
        jq -e '.error // "" | test("busy|refused")' <<<"$said" >/dev/null || break
        sleep 0.25
    done
    jq '.end.sum_received.bytes // 0' <<<"$said"
}

# holds JSON EXPRESSION: jq's verdict, which is yes for no JSON at all; the JSON is printed when it is no.
holds() {
    [[ -n $1 ]] && jq -e "$2" <<<"$1" >/dev/null && return
    echo "  $1"
    return 1
}

# hold_begin ID POD TO COUNT [OPTION...]: opens connections and keeps them idle; not in a subshell, which would take the pipe with it.
# hold_ask ID: asks one question on each and prints the JSON of how many answered. hold_said ID: prints the last JSON.
declare -A HOLD_FD
hold_begin() {
    local fd
    mkfifo "$run/hold-$1"
    exec {fd}<>"$run/hold-$1"
    HOLD_FD[$1]=$fd
    pod_exec "$2" "$tools/connect_load" "$3" --connections "$4" --hold "${@:5}" <"$run/hold-$1" >"$run/hold-$1.out" 2>&1 &
    await 20 test -s "$run/hold-$1.out"
}

hold_said() { tail -n 1 "$run/hold-$1.out"; }

hold_ask() {
    local lines
    lines=$(wc -l <"$run/hold-$1.out")
    echo >&"${HOLD_FD[$1]}"
    await 60 eval "((\$(wc -l <'$run/hold-$1.out') > $lines))"
    hold_said "$1"
}

# ---------------------------------------------------------------- manifests

# manifest FILE: puts its standard input into place in one step, so that no half a file is ever seen.
manifest() {
    cat >"$run/.$1.new"
    mv "$run/.$1.new" "$manifests/$1"
}

# manifest_us FILE: when it was written, in microseconds since 1970; it was put into place a little later.
manifest_us() { stat -c %.6Y "$manifests/$1" | tr -d .,; }

# service NAME IPV4 IPV6 PORT-NAME:PORT:PROTOCOL...; with affinity_s=SECONDS before it, session affinity; with
# internal_policy=Local, that.
service() {
    local name=$1 v4=$2 v6=$3 spec port_name port protocol
    shift 3
    {
        printf 'apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: default}\nspec:\n' "$name"
        [[ -z ${affinity_s:-} ]] ||
            printf '  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: %s}}\n' "$affinity_s"
        [[ -z ${internal_policy:-} ]] || printf '  internalTrafficPolicy: %s\n' "$internal_policy"
        printf '  clusterIP: %s\n  clusterIPs: ["%s", "%s"]\n  ipFamilies: [IPv4, IPv6]\n  ports:\n' "$v4" "$v4" "$v6"
        for spec in "$@"; do
            IFS=: read -r port_name port protocol <<<"$spec"
            printf '    - {name: %s, port: %s, protocol: %s}\n' "$port_name" "$port" "$protocol"
        done
    } | manifest "$name.service.yaml"
}

# endpoints SERVICE "PORT-NAME:PORT:PROTOCOL ..." POD[:notready|:draining]...: one slice for each family, in one file, so
# that a change is one step. With part=NAME before it they stand beside the Service's others; with weight=N they have that.
endpoints() {
    local owner=$1 name=$1${part:+-$part} ports=$2 family spec pod state conditions port_name port protocol
    shift 2
    for family in IPv4 IPv6; do
        printf 'apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: %s-%s\n  namespace: default\n' \
            "$name" "${family,,}"
        [[ -z ${weight:-} ]] || printf '  annotations: {svclb.io/weight: "%s"}\n' "$weight"
        printf '  labels: {kubernetes.io/service-name: %s}\naddressType: %s\nports:\n' "$owner" "$family"
        for spec in $ports; do
            IFS=: read -r port_name port protocol <<<"$spec"
            printf '  - {name: %s, port: %s, protocol: %s}\n' "$port_name" "$port" "$protocol"
        done
        (($#)) && printf 'endpoints:\n' || printf 'endpoints: []\n'
        for spec in "$@"; do
            IFS=: read -r pod state <<<"$spec"
            case $state in
            '') conditions='{ready: true}' ;;
            notready) conditions='{ready: false, serving: false, terminating: false}' ;;
            draining) conditions='{ready: false, serving: true, terminating: true}' ;;
            esac
            if [[ $family == IPv4 ]]; then
                printf '  - {addresses: ["%s"]' "${POD_IP4[$pod]}"
            else
                printf '  - {addresses: ["%s"]' "${POD_IP6[$pod]}"
            fi
            printf ', conditions: %s, nodeName: node-%s}\n' "$conditions" "${POD_NODE[$pod]}"
        done
        echo '---'
    done | manifest "$name.endpoints.yaml"
}

# web_cluster BACKENDS: one node, a pod "client", and pods b1.. that serve port 8080 behind the Service web, port 80.
# shellcheck disable=SC2034 # for the scripts that source this
web4=10.96.0.10:80 web6='[fd00:10:96::10]:80'
web_ports="tcp:8080:TCP udp:8080:UDP"
web_cluster() {
    local i pods=()
    cluster_up
    pod_add client
    for ((i = 1; i <= $1; i++)); do
        pod_add "b$i"
        pod_serve "b$i" 8080
        pods+=("b$i")
    done
    service web 10.96.0.10 fd00:10:96::10 tcp:80:TCP udp:80:UDP
    endpoints web "$web_ports" "${pods[@]}"
}

# web_backend_state POD STATE: whether svclb-ctl shows the pod's IPv4 endpoint of web in that state.
web_backend_state() {
    ctl get services -o json | jq -e --arg ip "${POD_IP4[$1]}" --arg state "$2" \
        'any(.items[] | select(.name == "web") | .backends[]; .address == $ip and .state == $state)'
}

# ---------------------------------------------------------------- agent

bpf_dir() { echo "/sys/fs/bpf/$prefix-node${1:-1}"; }

# start_agent [-n NODE] OPTION...: returns when the agent has programmed what its source says.
start_agent() {
    local node=1
    if [[ ${1:-} == -n ]]; then
        node=$2
        shift 2
    fi
    mkdir -p "$run/state$node"
    launch_agent "$node" "$@"
    await 20 agent_synced "$node" && return
    echo "the agent of node $node did not come up:"
    cat "$run/agent$node.log"
    return 1
}

# launch_agent NODE OPTION...: waits for nothing.
launch_agent() {
    local node=$1
    shift
    nsenter --net="/run/netns/$(node_ns "$node")" "${agent_within[@]}" "$build/userspace/agent/svclb-agent" \
        "${agent_source[@]}" --node-name "node-$node" --state-dir "$run/state$node" --bpf-dir "$(bpf_dir "$node")" "$@" \
        >>"$run/agent$node.log" 2>&1 &
    AGENT_PID[$node]=$!
}

agent_synced() {
    kill -0 "${AGENT_PID[$1]}" &&
        ctl -n "$1" status -o json | jq -e --argjson pid "${AGENT_PID[$1]}" '.agent.pid == $pid and .lastSync != ""' >/dev/null
}

# stop_agent [-n NODE] [SIGNAL]: TERM unless told otherwise.
stop_agent() {
    local node=1
    if [[ ${1:-} == -n ]]; then
        node=$2
        shift 2
    fi
    kill "-${1:-TERM}" "${AGENT_PID[$node]}"
    wait "${AGENT_PID[$node]}" 2>/dev/null || true
}

# ctl [-n NODE] ARGUMENT...
ctl() {
    local node=1
    if [[ $1 == -n ]]; then
        node=$2
        shift 2
    fi
    nsenter --net="/run/netns/$(node_ns "$node")" "$build/userspace/ctl/svclb-ctl" --bpf-dir "$(bpf_dir "$node")" "$@"
}
