#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Pods that appear after the agent are attached within milliseconds, and pods that vanish leave nothing behind.
set -euo pipefail
. "$(dirname "$0")/../harness/netns.sh"

harness_begin late_links
web_cluster 2
start_agent

attached() { ctl get links -o json | jq -e --arg name "v-$1" 'any(.items[]; .name == $name and (.hooks | length) == 2)' >/dev/null; }
pins() { find "$(bpf_dir)/links" -type f 2>/dev/null | wc -l; }

check "the bridge is no pod link" eval '! attached "" && ! ctl get links -o json | jq -e "any(.items[]; .name == \"br0\")" >/dev/null'
pins_before=$(pins)
# When the kernel told of a link, and when the agent had attached to it: both write a time stamp.
TZ=UTC nsenter --net="/run/netns/$(node_ns)" stdbuf -oL ip -ts monitor link >"$run/links" &
await 5 test -e "$run/links"
measure() { # NAME
    local told attached
    told=$(sed -nE "s/^\\[([^]]*)\\].* v-$1@.*/\\1/p" "$run/links" | head -n 1)
    attached=$(sed -nE "s/^([^ ]*) info attached name=v-$1 .*/\\1/p" "$run/agent1.log" | head -n 1)
    echo "    $(($(($(date -d "$attached" +%s%N) - $(date -ud "$told" +%s%N))) / 1000)) us from the kernel's word to attached"
}
for i in 1 2 3 4 5; do
    style=bridge
    ((i < 4)) || style=ptp
    pod_add "late$i" 1 $style
    check "late$i is attached" await 5 attached "late$i"
    measure "late$i"
    for to in "$web4" "$web6"; do
        check "late$i reaches $to" holds "$(load_in "late$i" "$to" --connections 100)" '.failed == 0 and (.backends | length) == 2'
    done
done

say "and vanish"
for i in 1 2 3 4 5; do
    pod_delete "late$i"
done
check "their links are forgotten" await 5 eval "ctl get links -o json | jq -e 'all(.items[]; .name | startswith(\"v-late\") | not)'"
check "their pins are removed" await 5 eval "((\$(pins) == $pins_before))"
check "the rest works on" holds "$(load_in client "$web4" --connections 100)" '.failed == 0'
harness_end
