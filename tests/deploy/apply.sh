#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# apply.sh DIRECTORY FILE...: "kubectl apply --dry-run=client" of each, against the scripted API server, which knows the kinds
# and has no object yet. Prints what kubectl says; the certificates and so on go to the directory. Best in a network
# namespace of its own: ports are fixed.
set -euo pipefail
server=$(cd "$(dirname "$0")/../harness" && pwd)/api_server.py
dir=$1
shift
ip link set lo up
: >"$dir/log" # an earlier run's "ready" is not this one's
"$server" serve "$dir" >"$dir/log" 2>&1 &
trap 'kill $!' EXIT
for ((i = 0; i < 600; i++)); do
    ! grep -q ready "$dir/log" || break
    sleep 0.1
done
for file in "$@"; do
    # Without validation, which would want the schema of everything from the server.
    HOME=$dir kubectl --kubeconfig /dev/null --server https://127.0.0.1:6443 --certificate-authority "$dir/ca.crt" \
        --token "$(cat "$dir/token")" apply --dry-run=client --validate=false -f "$file"
done
