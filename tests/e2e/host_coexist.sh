#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Somebody else's connect4 programs on the cgroup that the agent attaches to, one from before it came and one from after:
# theirs stay in force and so do ours, whichever agent runs, until and after ours have gone.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin host-coexist
# A cgroup of our own: whatever happens to this test, nothing stays attached to the machine's.
root=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
[[ -n $root ]] || harness_skip "no cgroup v2 hierarchy is mounted"
cgroup=$root/$prefix
# Those in it have just been killed, and take a moment.
leave_cgroup() { harness_cleanup && { [[ ! -d $cgroup ]] || await 5 rmdir "$cgroup"; }; }
trap leave_cgroup EXIT
[[ ! -d $cgroup ]] || rmdir "$cgroup"
mkdir "$cgroup"

cluster_up
for pod in b1 b2 b3; do
    pod_add $pod
    pod_serve $pod 8080
done
number=10
for pod in b1 b2 b3; do
    service $pod 10.96.0.$number fd00:10:96::$number tcp:80:TCP
    endpoints $pod "tcp:8080:TCP" $pod
    number=$((number + 1))
done

within() { # COMMAND...: a process of the node and of the cgroup
    # shellcheck disable=SC2016 # expanded by the shell within
    node_exec sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$cgroup" "$@"
}
dial() { # ADDRESS:PORT: who answers, or the error
    within python3 "$harness_top/tests/e2e/tools/ask.py" "$1" "$([[ $1 == *.* ]] && echo 0.0.0.0 || echo ::)" | awk '{ print $2 }'
}
foreign() { # NAME ADDRESS:PORT WAY
    node_exec sleep infinity | node_exec "$tools/foreign_hook" "$cgroup" "$2" "$3" >"$run/$1.said" 2>&1 &
    await 5 grep -q ready "$run/$1.said"
}
in_force() { # WHEN
    check "$1: what the first of them bars, a ClusterIP, is barred" test "$(dial 10.96.0.11:80)" = EPERM
    check "$1: what the second one bars, the backend that we lead to, is barred" test "$(dial 10.96.0.12:80)" = EPERM
}
all_in_force() { # WHEN
    in_force "$1"
    check "$1: we translate the rest" test "$(dial 10.96.0.10:80)" = b1
    check "$1: and IPv6" test "$(dial '[fd00:10:96::12]:80')" = b3
}

foreign before 10.96.0.11:80 program
check "somebody else's program bars an address" test "$(dial 10.96.0.11:80)" = EPERM
start_agent --cgroup-root "$cgroup"
foreign after "${POD_IP4[b3]}:8080" link
all_in_force "attached between the two"
stop_agent KILL
all_in_force "with the agent killed"
start_agent --cgroup-root "$cgroup"
all_in_force "with the next agent"
stop_agent
node_exec "$build/userspace/agent/svclb-agent" --cleanup --state-dir "$run/state1" --bpf-dir "$(bpf_dir)" \
    --node-name node-1 >/dev/null 2>&1
check "after our clean-up the first one is still in force" test "$(dial 10.96.0.11:80)" = EPERM
check "and so is the second" test "$(dial "${POD_IP4[b3]}:8080")" = EPERM
check "and ours are gone" test "$(dial 10.96.0.10:80)" = ENETUNREACH
harness_end
