#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# The agent as an ordinary user with three capabilities; and what it says to one who has none.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin capabilities
# The machine's own bpffs may let nobody but root in, as systemd mounts it.
mkdir "$run/bpf"
mount -t bpf -o mode=1777 bpf "$run/bpf"
bpf_dir() { echo "$run/bpf/svclb"; }
web_cluster 2
mkdir -p "$(bpf_dir)" "$run/state1"
chown -R nobody "$(bpf_dir)" "$run/state1"

# as_nobody CAPS COMMAND...: takes the shell's place, so that its pid is the command's.
as_nobody() {
    local caps=$1
    shift
    exec nsenter --net="/run/netns/$(node_ns)" setpriv --reuid=nobody --clear-groups --inh-caps="-all$caps" \
        --ambient-caps="-all$caps" --bounding-set="-all$caps" "$@"
}
# A copy, for the user nobody may be shut out of where the build tree lies.
cp "$build/userspace/agent/svclb-agent" "$run/svclb-agent"
agent=("$run/svclb-agent" --manifests "$manifests" --node-name node-1 --state-dir "$run/state1"
    --bpf-dir "$(bpf_dir)")

status=0
(as_nobody "" timeout 60 "${agent[@]}") >"$run/bare.log" 2>&1 || status=$?
sed 's/^/    /' "$run/bare.log"
check "without capabilities it ends with exit code 1" test "$status" = 1
check "and names what it lacks in its one line" grep -qx "svclb-agent: missing capabilities: CAP_BPF.*CAP_NET_ADMIN.*CAP_PERFMON.*" "$run/bare.log"

as_nobody ,+bpf,+net_admin,+perfmon "${agent[@]}" >"$run/agent1.log" 2>&1 &
AGENT_PID[1]=$!
came_up() { agent_synced 1 2>/dev/null; }
check "with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON it comes up" await 20 came_up
sed 's/^/    /' "$run/agent1.log"
check "as nobody" test "$(stat -c %U "/proc/${AGENT_PID[1]}")" = nobody
check "TCP reaches both backends" holds "$(load_in client "$web4" --connections 100)" '.failed == 0 and (.backends | length) == 2'
check "UDP over IPv6 too" holds "$(load_in client "$web6" --udp --connections 100)" '.failed == 0 and (.backends | length) == 2'
check "desired and programmed state agree" ctl verify
harness_end
