#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# bench.sh [--rounds N] [--seconds S] [--host] [--only MODE]: what the data path costs. Prints; passes and fails nothing.
#   1. nanoseconds a packet of the real programs, by test-run, with the floor beside them;
#   2. bulk TCP, request/response and connect-request-close from one pod to another, through the ClusterIP (A) and
#      dialling the pod (B), pinned, in one process that takes turns every S seconds: the median of the rounds' ratios
#      A/B, with the bounds between which it lies in 95 of 100 runs. Who else is on the machine disturbs both alike.
# With --host the client is a process of the node itself, translated at its socket, and there is no part 1. MODE is one of
# net_bench's; nothing else is measured then, not even the noise.
# Direct and through the ClusterIP run under the same agent.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/harness/netns.sh

rounds=400
seconds=0.02
only=
from=(pod_exec client)
while (($#)); do
    case $1 in
    --rounds) rounds=$2 && shift 2 ;;
    --seconds) seconds=$2 && shift 2 ;;
    --host) from=(node_exec) && shift ;;
    --only) only=$2 && shift 2 ;;
    *) echo "usage: bench.sh [--rounds N] [--seconds S] [--host] [--only bulk|rr|udp_rr|crr]" >&2 && exit 2 ;;
    esac
done

build=${SVCLB_BUILD:-$PWD/build}
for program in tests/bench/bench_datapath tests/bench/net/net_bench; do
    [[ -x $build/$program ]] || { echo "$build/$program is not built: run scripts/test.sh or scripts/demo.sh first" >&2 && exit 1; }
done

if [[ ${from[0]} == pod_exec && -z $only ]]; then
    echo "# nanoseconds a packet (test-run), pinned"
    taskset -c 1 "$build/tests/bench/bench_datapath"
fi

# compare LABEL MODE A B: the client on one CPU, the server on the other.
compare() {
    "${from[@]}" taskset -c 0 "$build/tests/bench/net/net_bench" "$2" "$3" "$4" --rounds "$rounds" --seconds "$seconds" |
        awk -v label="$1" '
        { a[NR] = $1; b[NR] = $2; r[NR] = $1 / $2 }
        function sort(v, n,   i, j, t) { for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j-1]; j--) { t = v[j]; v[j] = v[j-1]; v[j-1] = t } }
        function at(i) { return r[i < 1 ? 1 : i > NR ? NR : i] }
        END {
            sort(a, NR); sort(b, NR); sort(r, NR); m = int((NR + 1) / 2); off = int(0.98 * sqrt(NR)) + 1
            printf "%-34s %12.4g %12.4g %9.3f %9.3f %9.3f\n", label, a[m], b[m], at(m - off), r[m], at(m + off)
        }'
}

harness_begin bench
cluster_up
pod_add client
pod_add backend
# Each way has a port of its own: where the client's port has just been used through the ClusterIP, a direct connection
# to the same port is translated as well (docs/design.md, TIME_WAIT), and would not be what we compare with.
for port in 8080 8081; do
    pod_exec backend taskset -c 1 "$build/tests/bench/net/net_bench" serve $port >"$run/server$port" 2>&1 &
    await 5 grep -q ready "$run/server$port"
done
header() {
    printf '\n# %s\n%-34s %12s %12s %9s %9s %9s\n' "$1" measure "median A" "median B" "A/B from" "median" "to"
}

b4=${POD_IP4[backend]}:8081
b6=[${POD_IP6[backend]}]:8081
if [[ -z $only ]]; then
    header "no agent: A and B are both direct, so this is the noise"
    compare "v4 request/response" rr "$b4" "$b4"
    compare "v4 connect-request-close" crr "$b4" "$b4"
fi

service bench 10.96.0.10 fd00:10:96::10 tcp:80:TCP udp:80:UDP
endpoints bench "tcp:8080:TCP udp:8080:UDP" backend
start_agent
header "A through the ClusterIP, B direct, $rounds rounds of $seconds s"
for mode in "bulk bulk TCP, Gbit/s" "rr request/response, 1/s" "udp_rr UDP request/response, 1/s" "crr connect-request-close, 1/s"; do
    [[ -z $only || $only == "${mode%% *}" ]] || continue
    compare "v4 ${mode#* }" "${mode%% *}" 10.96.0.10:80 "$b4"
    compare "v6 ${mode#* }" "${mode%% *}" "[fd00:10:96::10]:80" "$b6"
done
