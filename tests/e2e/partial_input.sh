#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Bad input never takes away what is programmed: a file that breaks while the agent runs, and a file that is broken when
# an agent starts. And bad usage is one line and exit code 2.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin partial_input
web_cluster 2
start_agent

agent_said() { grep -q "$1" "$run"/agent1*.log; }

echo "apiVersion: v1: kind" | manifest web.endpoints.yaml
check "a file that does not parse is named, with its line" await 5 agent_said "web.endpoints.yaml:1:"
check "its Service goes on" holds "$(load_in client "$web4" --connections 200)" '.failed == 0 and (.backends | length) == 2'

stop_agent KILL
start_agent
check "an agent that starts with the broken file leaves the Service as it was" \
    holds "$(load_in client "$web6" --connections 200)" '.failed == 0 and (.backends | length) == 2'
check "and says that it holds it" agent_said "cannot be read as a whole"
service other 10.96.0.11 fd00:10:96::11 tcp:80:TCP
other_programmed() { ctl get services -o json | jq -e '[.items[] | select(.name == "other")] | length == 1' >/dev/null; }
check "a Service that is new is programmed all the same" await 5 other_programmed

endpoints web "$web_ports" b2
only_b2() { load_in client "$web4" --connections 50 | jq -e '.failed == 0 and (.backends | keys) == ["b2"]' >/dev/null; }
check "with the file repaired its content counts" await 5 only_b2
rm "$manifests/other.service.yaml"
other_gone() { ! other_programmed; }
check "and what is gone goes" await 5 other_gone
check "desired and programmed state agree" ctl verify

manifest odd.yaml <<EOF
apiVersion: v1
kind: Service
metadata: {name: odd, namespace: default}
spec:
  clusterIP: 10.96.0.12
  externalIPs: ["127.0.0.1"]
  ports: [{port: 80, protocol: TCP}]
EOF
problems_are() { ctl status -o json | jq -e "[.problems[].object] == $1" >/dev/null; }
check "a field that cannot be used is a problem that svclb-ctl shows" await 5 problems_are '["Service default/odd"]'
stop_agent
rm "$manifests/odd.yaml"
start_agent
check "and none of the next agent's, which has never seen it" await 5 problems_are '[]'

usage() { # OPTION...: exit code 2, one line on standard error
    local status=0
    node_exec "$build/userspace/agent/svclb-agent" "$@" >"$run/usage" 2>&1 || status=$?
    sed 's/^/    /' "$run/usage"
    ((status == 2)) && [[ -s $run/usage ]]
}
check "no source at all is bad usage" usage
check "an unknown option is bad usage" usage --manifests "$manifests" --no-such-option
check "a CIDR that is none is bad usage" usage --manifests "$manifests" --service-cidr 10.96.0.0/99
harness_end
