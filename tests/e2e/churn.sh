#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# A backend table that changes a thousand times a second loses no request and never names a backend that was not in it.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin churn
web_cluster 4
pod_add decoy
pod_serve decoy 8080
start_agent

# Tables of every size, b1 always in; the decoy never.
sets=("b1" "b1 b2" "b1 b2 b3" "b1 b2 b3 b4" "b1 b3" "b1 b4" "b1 b2 b4" "b1 b3 b4")
mkdir "$run/sets"
for i in "${!sets[@]}"; do
    # shellcheck disable=SC2086
    endpoints web "$web_ports" ${sets[$i]}
    cp "$manifests/web.endpoints.yaml" "$run/sets/$i"
done

passes_before=$(ctl status -o json | jq .passes)
nice -n -10 python3 - "$run/sets" "$manifests" 6 1000 <<'PYTHON' &
import os, sys, time
sets, manifests, seconds, rate = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
texts = [open(os.path.join(sets, name)).read() for name in sorted(os.listdir(sets))]
begin = time.monotonic()
done = 0
while time.monotonic() - begin < seconds:
    new = os.path.join(sets, "..", ".churn")
    with open(new, "w") as file:
        file.write(texts[done % len(texts)])
    os.rename(new, os.path.join(manifests, "web.endpoints.yaml"))
    done += 1
    time.sleep(max(0.0, done / rate - (time.monotonic() - begin)))
print(f"{done} versions of the manifest in {time.monotonic() - begin:.1f} s")
PYTHON
churn=$!
load_in client "$web6" --seconds 5 --udp >"$run/load6.json" &
load6=$!
tcp=$(load_in client "$web4" --seconds 5 --bye --rate 1500) || true
wait $load6 || true
wait $churn
echo "reconcile passes meanwhile: $(($(ctl status -o json | jq .passes) - passes_before))"
check "no TCP request failed" holds "$tcp" '.failed == 0 and .ok > 100'
check "no UDP request failed" holds "$(cat "$run/load6.json")" '.failed == 0 and .ok > 100'
check "only backends that were in a table answered" \
    holds "$tcp" '(.backends | keys) - ["b1", "b2", "b3", "b4"] == []'
check "no TCP segment and no datagram ever reached the decoy" test "$(pod_packets decoy)" = 0
check "desired and programmed state agree in the end" await 10 ctl verify
harness_end
