#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# bench-sync.sh [--seconds S]: what a large cluster costs an agent that follows an API server. Prints; passes and fails
# nothing. For 10,000 Services x 2 ports with 100,000 endpoints, and for 40,000 Services x 1:
#   first sync     from the last byte of the lists (as the server wrote it) to programmed, five times
#   one change     from the server's event to the new run in the map, 50 a second in an otherwise quiet cluster
#   restarts       1,000 endpoints a second for S seconds (60), two events each; the same delay meanwhile, and the CPU time
# The server is held to one CPU. The agent may use all: it loads programs beside what it writes.
set -euo pipefail
cd "$(dirname "$0")/.."
source tests/harness/kube.sh

seconds=60
while (($#)); do
    case $1 in
    --seconds) seconds=$2 && shift 2 ;;
    *) echo "usage: bench-sync.sh [--seconds S]" >&2 && exit 2 ;;
    esac
done

build=${SVCLB_BUILD:-$PWD/build}
clock=$build/tests/bench/kube/run_clock
for program in "$clock" "$build/userspace/agent/svclb-agent"; do
    [[ -x $program ]] || { echo "$program is not built: run scripts/test.sh or scripts/demo.sh first" >&2 && exit 1; }
done

cpu_s() { awk -v hertz="$(getconf CLK_TCK)" '{ printf "%.2f", ($14 + $15) / hertz }' "/proc/${AGENT_PID[1]}/stat"; }
memory_mib() { awk '/^VmRSS/ { rss = $2 } /^VmHWM/ { peak = $2 } END { printf "%.0f MiB, at most %.0f", rss / 1024, peak / 1024 }' "/proc/${AGENT_PID[1]}/status"; }
sent_mib() { kube stats | jq '.sent / 1048576 * 10 | round / 10'; }
quiet() { # no pass for a second
    local last now=none
    until [[ $now == "${last:-}" ]]; do
        last=$now
        sleep 1
        now=$("$clock" --bpf-dir "$(bpf_dir)" | cut -d ' ' -f 3)
    done
}

# delays LABEL SECONDS RESTARTS PROBES: lets the server make changes, and matches them with the clock's lines.
delays() {
    local before
    before=$(cpu_s)
    "$clock" --bpf-dir "$(bpf_dir)" 10.99.0.1 --seconds $(($2 + 5)) >"$run/clock" &
    local clock_pid=$!
    await 5 grep -q ready "$run/clock"
    kube change "{\"seconds\": $2, \"restarts\": $3, \"probes\": $4}" >"$run/change"
    printf '%-14s %s s of CPU in %s s, ' "$1" "$(awk -v a="$before" -v b="$(cpu_s)" 'BEGIN { printf "%.2f", b - a }')" "$2"
    wait "$clock_pid"
    /usr/bin/python3 - "$run/change" "$run/clock" <<'PYTHON'
import bisect, json, sys
change = json.load(open(sys.argv[1]))
seen = [tuple(map(int, line.split())) for line in open(sys.argv[2]) if line[0].isdigit()]
sent = change["probes"]
times, delays = [at for at, _ in sent], []
for at, slots in seen:  # the latest change before it that made this many
    for index in range(bisect.bisect_right(times, at) - 1, -1, -1):
        if sent[index][1] == slots:
            delays.append((at - times[index]) / 1000)
            break
delays.sort()
rank = lambda share: delays[min(len(delays) - 1, int(share * len(delays)))]
print(f"{change['events']} events, {change['restarts']} restarts; {len(delays)} of {len(sent)} timed changes seen: "
      f"p50 {rank(.5):.2f} ms, p99 {rank(.99):.2f} ms, most {delays[-1]:.2f} ms "
      f"(longest turn of the server {change['longest_turn_ms']:.1f} ms)")
PYTHON
}

# first_sync: prints microseconds, from the last byte of the lists to programmed, and from the agent's start to that byte.
# Nobody asks the agent meanwhile: that would take one of its CPUs.
first_sync() {
    local started synced
    kube requests true >/dev/null
    mkdir -p "$run/state1"
    launch_agent 1 --log-level warn
    sleep 4
    await 20 agent_synced 1
    quiet
    read -r started synced _ < <("$clock" --bpf-dir "$(bpf_dir)")
    kube requests | jq -r --argjson started "$started" --argjson synced "$synced" '
        [.[] | select(.listed_us != null and (.path | test("services$|endpointslices$")) and .listed_us < $synced)] | map(.listed_us) | max
        | "\($synced - .) \(. - $started)"'
}

forget_agent() {
    stop_agent
    node_exec "$build/userspace/agent/svclb-agent" --cleanup --bpf-dir "$(bpf_dir)" --state-dir "$run/state1" >/dev/null
}

measure() { # SERVICES PORTS ENDPOINTS-OF-EACH
    local round passes writes
    harness_begin bench-sync
    cluster_up
    pod_add client
    kube_start
    [[ $(nproc) == 1 ]] || taskset -cp 0 "$API_PID" >/dev/null
    kube generate "{\"services\": $1, \"ports\": $2, \"endpoints\": $3}" >/dev/null
    printf '\n# %s Services x %s ports, %s endpoints\n' "$1" "$2" $(($1 * $3))
    for round in 1 2 3 4 5; do
        ((round == 1)) || forget_agent
        first_sync
    done >"$run/first"
    sort -n "$run/first" | awk '{ after[NR] = $1; lists[NR] = $2 } END {
        printf "%-14s %.0f ms after the last byte of the lists (best of %d; median %.0f); the lists took %.0f ms\n", "first sync",
            after[1] / 1e3, NR, after[int((NR + 1) / 2)] / 1e3, lists[1] / 1e3 }'
    read -r _ _ passes writes < <("$clock" --bpf-dir "$(bpf_dir)")
    printf '%-14s %s passes, %s rows written, %s s of CPU, %s MiB from the server\n' "" "$passes" "$writes" "$(cpu_s)" "$(sent_mib)"
    printf '%-14s %s\n' memory "$(memory_mib)"
    delays "one change" 20 0 50
    delays restarts "$seconds" 1000 10
    quiet
    printf '%-14s %s, %s MiB from the server in all\n' memory "$(memory_mib)" "$(sent_mib)"
    check "desired and programmed state agree" ctl verify
    stop_agent
    harness_cleanup
}

measure 10000 2 10
measure 40000 1 1
