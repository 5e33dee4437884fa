#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Programs on the host network dial ClusterIPs, on two nodes at the same time: curl, dig, asyncio's event loop, and
# getaddrinfo() of glibc and musl with a ClusterIP in resolv.conf; translated at the socket, with the agents running,
# killed, and started anew.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin host_connect
cluster_up 2
for pod in b1:1 b2:2; do
    pod_add "${pod%:*}" "${pod#*:}"
    pod_serve "${pod%:*}" 8080
done
pod_add dns 1
pod_add dns2 2
pod_add mute 2
service web 10.96.0.10 fd00:10:96::10 tcp:80:TCP udp:80:UDP
endpoints web "$web_ports" b1 b2
service empty 10.96.0.20 fd00:10:96::20 tcp:80:TCP
endpoints empty "tcp:8080:TCP"

# A name with one address of each family, one whose IPv6 half is refused, and one whose answer is too long for a datagram.
names=(--address=/who.test/192.0.2.1 --address=/who.test/2001:db8::1 --address=/web.test/10.96.0.10
    --address=/web.test/fd00:10:96::10 --address=/half.test/10.96.0.10 --address=/half.test/fd00:10:96::20)
for ((i = 1; i <= 40; i++)); do echo "192.0.2.$i many.test"; done >"$run/hosts"
for pod in dns dns2; do
    pod_exec $pod dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --user=root --no-resolv --no-hosts \
        --log-facility=- --addn-hosts="$run/hosts" "${names[@]}" >"$run/$pod.log" 2>&1 &
    await 5 pod_exec $pod dig +short +time=1 +tries=1 who.test A @127.0.0.1
done
pod_exec mute python3 -c '
import signal, socket
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind(("::", 53))
print("ready", flush=True)
signal.pause()' >"$run/mute.log" &
await 5 grep -q ready "$run/mute.log"

dns_ports="dns:53:UDP dns-tcp:53:TCP"
number=53
for pods in "dns dns2" "" mute "mute dns"; do # .53 answers, .54 refuses, .55 is silent, .56 is silent half of the time
    service dns$number 10.96.0.$number fd00:10:96::$number dns:53:UDP dns-tcp:53:TCP
    # shellcheck disable=SC2086 # a list
    endpoints dns$number "$dns_ports" $pods
    number=$((number + 1))
done
tools_source=$harness_top/tests/e2e/tools
musl-gcc -static -O1 -o "$run/musl_resolver" "$harness_top/tests/sockets/musl_resolver.c"
# Since 1.2.4 it repeats over TCP what did not fit into a datagram.
musl=$(for library in /lib/ld-musl-*.so.1; do "$library" 2>&1 || true; done | awk '/^Version/ { print $2 }')
musl_takes_tcp=$([[ $(printf '%s\n' 1.2.4 "$musl" | sort -V | head -n 1) == 1.2.4 ]] && echo yes || echo no)
say "musl $musl: asks over TCP: $musl_takes_tcp"
echo "hosts: dns" >"$run/nsswitch"

# A program's process, on the network of the node whose turn it is.
on() { node_exec -n "$node" "$@"; }
# says LABEL WANTED COMMAND...: a line for check_said below.
says() {
    local got
    got=$("${@:3}" 2>&1) || true
    [[ $got == "$2" ]] && echo "ok $1" || echo "got '$got' instead of '$2': $1"
}
curl_peer() { on curl -s --max-time 20 -o /dev/null -w '%{remote_ip}' "$1"; }
ask() { on dig +short +time=10 +tries=2 who.test A "$@"; }
# with_dns "SERVER... [OPTION...]" COMMAND...: with a resolv.conf of its own.
with_dns() {
    local word words file
    file=$(mktemp "$run/resolv.XXXXXX")
    read -ra words <<<"$1"
    for word in "${words[@]}"; do
        [[ $word == *.* || $word == *::* ]] && echo "nameserver $word" || echo "options $word"
    done >"$file"
    # shellcheck disable=SC2016 # expanded by the shell within
    on unshare --mount sh -c 'mount --bind "$1" /etc/resolv.conf && mount --bind "$2" /etc/nsswitch.conf && shift 2 && exec "$@"' \
        sh "$file" "$run/nsswitch" "${@:2}"
}
# resolve PROGRAM NAME SERVERS: its addresses, in a line.
resolve() {
    case $1 in
    glibc) with_dns "$3" getent ahosts "$2" | awk '{ print $1 }' ;;
    musl) with_dns "$3" "$run/musl_resolver" "$2" ;;
    esac | sort -u | xargs
}
resolved() { resolve "$@" | wc -w; }

# musl asks from one unconnected socket; its second attempt comes after 2.5 s. That one of these 8 meets the silent
# backend in all of its attempts happens in less than one of 10^10 runs.
try_again() { # SERVER
    local i pids=() said
    said=$(mktemp -d "$run/again.XXXXXX")
    for ((i = 0; i < 8; i++)); do
        resolve musl who.test "$1 timeout:20 attempts:8" >"$said/$i" &
        pids+=($!)
    done
    wait "${pids[@]}"
    sort -u "$said"/*
}

who="192.0.2.1 2001:db8::1"
programs() { # ROUND
    local server web other first libc options
    says "curl over IPv4" 10.96.0.10 curl_peer http://10.96.0.10/
    says "curl over IPv6" fd00:10:96::10 curl_peer 'http://[fd00:10:96::10]/'
    for server in 10.96.0.53 fd00:10:96::53; do
        says "dig over UDP to $server" 192.0.2.1 ask "@$server"
        says "dig over TCP to $server" 192.0.2.1 ask "@$server" +tcp
        for libc in glibc musl; do
            says "$libc, by $server" "$who" resolve $libc who.test "$server"
        done
        [[ $1 == running ]] || continue
        for web in web half; do
            says "asyncio to $web.test, a name that $server resolves" $'frontend\nfrontend\nfrontend' \
                with_dns "$server" python3 "$tools_source/event_loop.py" $web.test
        done
        says "curl to a name of which IPv6 is refused, by $server" 10.96.0.10 \
            with_dns "$server" curl -s --max-time 20 -o /dev/null -w '%{remote_ip}' http://half.test/
        says "glibc, by $server, with an answer that takes TCP" 40 resolved glibc many.test "$server"
        if [[ $musl_takes_tcp == yes ]]; then
            says "musl, by $server, with an answer that takes TCP" 40 resolved musl many.test "$server"
        fi
        [[ $server == *::* ]] && other=10.96.0.53 || other=fd00:10:96::53
        for libc in glibc musl; do
            # glibc asks one server after the other; musl asks all of them, and gives up after `timeout`.
            [[ $libc == glibc ]] && options="timeout:1 attempts:5" || options="timeout:20"
            for first in "${server%53}54" "${server%53}55"; do
                says "$libc, by $first, which does not answer, and $other" "$who" resolve $libc who.test "$first $other $options"
            done
        done
        says "musl, by ${server%53}56, of whose backends one is silent" "$who" try_again "${server%53}56"
    done
    echo "ok all of them"
}
both_nodes() { # ROUND
    local node line pids=()
    for node in 1 2; do
        programs "$1" >"$run/said$node" 2>&1 &
        pids+=($!)
    done
    wait "${pids[@]}"
    for node in 1 2; do
        while read -r line; do
            check "agents $1, node $node: ${line#ok }" test "${line%% *}" = ok
        done <"$run/said$node"
        check "agents $1, node $node: it has come to its end" grep -qx "ok all of them" "$run/said$node"
    done
}

start_agent
start_agent -n 2
check "the hooks are attached, and shown" \
    holds "$(ctl get links -o json)" '[.items[] | select(.kind == "cgroup") | .hooks[]] | length == 9'
both_nodes running
stop_agent KILL
stop_agent -n 2 KILL
both_nodes killed
start_agent
start_agent -n 2
check "the next agent: curl over IPv4" test "$(node=1 && curl_peer http://10.96.0.10/)" = 10.96.0.10
check "the next agent: dig over IPv6" test "$(node=2 && ask @fd00:10:96::53)" = 192.0.2.1
harness_end
