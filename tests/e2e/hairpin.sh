#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Pods that reach themselves through their Service, on a bridge without hairpin mode and on a routed link, with strict
# reverse path filters everywhere. The pod sees the frontend's address as its client.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

# peer_server POD: tells each TCP connection and each datagram on port 8080 who it is from: "POD ADDRESS PORT".
peer_server() {
    pod_exec "$1" python3 - "$1" >"$run/$1.server" 2>&1 <<'PYTHON' &
import select, socket, sys
def of(peer): return f"{sys.argv[1]} {peer[0].removeprefix('::ffff:')} {peer[1]}".encode()
tcp = socket.create_server(("::", 8080), family=socket.AF_INET6, backlog=100, dualstack_ipv6=True)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.bind(("::", 8080))
print("ready", flush=True)
while True:
    for ready in select.select([tcp, udp], [], [])[0]:
        if ready is udp:
            peer = udp.recvfrom(100)[1]
            udp.sendto(of(peer), peer)
        else:
            connection, peer = tcp.accept()
            connection.sendall(of(peer))
            connection.close()
PYTHON
    await 5 grep -q ready "$run/$1.server"
}

# ask POD ADDRESS tcp|udp TIMES PORT [TO-PORT]: asks that often from source port PORT (0 = a new one each time); prints who
# answered and whom they saw, "POD ADDRESS", with how often. Each question has ten seconds.
ask() {
    pod_exec "$1" timeout 250 python3 - "${@:2}" <<'PYTHON' | sort | uniq -c | awk '{ print $2, $3, $1 }' | paste -sd,
import socket, struct, sys
address, protocol, times, port = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
to_port = int(sys.argv[5]) if len(sys.argv) > 5 else 80
family = socket.AF_INET6 if ":" in address else socket.AF_INET
for _ in range(times):
    s = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(10)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", port))
    try:
        s.connect((address, to_port))
        s.send(b"who am I?")
        print(*s.recv(100).decode().split()[:2])
    except OSError as error:
        print("error", str(error).replace(" ", "-"))
    # No TIME_WAIT: the same port at once again.
    if protocol == "tcp": s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
PYTHON
}

harness_begin hairpin
cluster_up
for ns in all default; do
    node_exec sysctl -q -w "net.ipv4.conf.$ns.rp_filter=1"
done
node4=10.244.1.1 node6=fd00:10:244:1::1
manifest self.service.yaml <<EOF
apiVersion: v1
kind: Service
metadata: {name: self, namespace: default}
spec:
  type: NodePort
  clusterIP: 10.96.0.50
  clusterIPs: [10.96.0.50, "fd00:10:96::50"]
  ipFamilies: [IPv4, IPv6]
  externalIPs: [192.0.2.50, "2001:db8::50"]
  ports:
    - {name: tcp, port: 80, protocol: TCP, nodePort: 30050}
    - {name: udp, port: 80, protocol: UDP, nodePort: 30050}
EOF
for style in bridge ptp; do
    pod_add "$style" 1 $style
    pod_add "second-$style" 1 $style
    for pod in "$style" "second-$style"; do
        pod_exec "$pod" sysctl -q -w net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1
        peer_server "$pod"
    done
done
start_agent --node-ip $node4,$node6

backends_are() { # POD...: whether exactly these are programmed
    local want
    want=$(for pod in "$@"; do echo "${POD_IP4[$pod]} ${POD_IP6[$pod]}"; done | tr ' ' '\n' | sort -u | paste -sd' ')
    test "$(ctl get services -o json | jq -r '.items[] | select(.name == "self") | .backends[].address' | sort -u | paste -sd' ')" = "$want"
}

for style in bridge ptp; do
    say "a pod on a $style link, alone"
    endpoints self "tcp:8080:TCP udp:8080:UDP" "$style"
    check "$style is the only backend" await 5 backends_are "$style"
    for to in 10.96.0.50 fd00:10:96::50 192.0.2.50 2001:db8::50 $node4 $node6; do
        port=80
        [[ $to != "$node4" && $to != "$node6" ]] || port=30050
        for protocol in tcp udp; do
            answers=$(ask "$style" "$to" $protocol 50 0 $port)
            check "$protocol to $to: it answers itself, and sees the frontend ($answers)" test "$answers" = "$style $to 50"
            answers=$(ask "$style" "$to" $protocol 50 34567 $port)
            check "$protocol to $to, always from one port ($answers)" test "$answers" = "$style $to 50"
        done
    done
    say "and with another pod behind the Service"
    endpoints self "tcp:8080:TCP udp:8080:UDP" "$style" "second-$style"
    check "both are backends" await 5 backends_are "$style" "second-$style"
    for to in 10.96.0.50 fd00:10:96::50; do
        own=${POD_IP4[$style]}
        [[ $to == *.* ]] || own=${POD_IP6[$style]}
        for protocol in tcp udp; do
            answers=$(ask "$style" "$to" $protocol 100 0)
            check "$protocol to $to: both answer, the other one sees the pod ($answers)" \
                eval "[[ '$answers' =~ ^$style\ $to\ ([0-9]+),second-$style\ $own\ ([0-9]+)\$ ]] && ((BASH_REMATCH[1] + BASH_REMATCH[2] == 100))"
        done
    done
done
harness_end
