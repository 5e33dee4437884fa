#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# The plain manifests and the chart: kubectl would apply them, Kubernetes understands every field, both say the same in
# each mode, the agent accepts their configuration ($SVCLB_BUILD), and the role grants what the sources ask for.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${SVCLB_BUILD:-$top/build}
# shellcheck source=tests/deploy/check.sh
. "$top/tests/deploy/check.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
objects() { python3 "$top/tests/deploy/objects.py" "$@"; }
plain=$top/deploy/kubernetes

check "the role grants what the sources ask for" objects rbac "$plain/run/rbac.yaml" "$top/userspace"

python3 - "$plain/run/configmap.yaml" >"$work/config.yaml" <<'EOF'
import sys, yaml
print(yaml.safe_load(open(sys.argv[1]))["data"]["config.yaml"], end="")
EOF
mkdir "$work/no-services"
if ((EUID == 0)); then
    check "the agent accepts the configuration, and the drain mode's other source" \
        unshare --net "$build/userspace/agent/svclb-agent" --check --config "$work/config.yaml" --node-name node-1 \
        --manifests "$work/no-services" --service-cidr=off
fi

# What a Kubernetes client of its own release makes of the typed objects: a field that it does not know is lost.
kubectl_minor=$( (kubectl version --client -o json 2>/dev/null || true) | sed -nE 's/.*"minor": *"([0-9]+).*/\1/p')
if ((${kubectl_minor:-0} >= 30)); then
    for mode in run drain cleanup; do
        kubectl kustomize "$plain/$mode" >"$work/$mode.yaml"
        awk -v RS='---\n' '/kind: DaemonSet/' "$work/$mode.yaml" >"$work/daemonset.yaml"
        # It prints only what it has changed.
        sed 's/image: .*/image: other/' "$work/daemonset.yaml" |
            kubectl set image --local -f - svclb-agent=svclb:0.1.0 -o yaml >"$work/typed.yaml"
        check "Kubernetes understands each field of the DaemonSet, mode $mode" objects within "$work/daemonset.yaml" "$work/typed.yaml"
    done
else
    skipped="kubectl (1.30 or later)"
fi

if [[ -n $kubectl_minor ]] && ((EUID == 0)); then
    mkdir "$work/api"
    applied() { # FILE...: each of its objects would be made
        unshare --net bash "$top/tests/deploy/apply.sh" "$work/api" "$@" >"$work/applied" || { cat "$work/applied" && return 1; }
        (($(grep -c ' created (dry run)$' "$work/applied") == $(cat "$@" | grep -c '^kind:')))
    }
    check "kubectl would apply them as they are" applied "$plain"/run/{serviceaccount,rbac,configmap,daemonset}.yaml
    [[ ! -e $work/cleanup.yaml ]] || check "and in each mode" applied "$work"/{run,drain,cleanup}.yaml
else
    skipped="${skipped:-kubectl, or root}"
fi

if command -v helm >/dev/null && [[ -e $work/run.yaml ]]; then
    chart=$top/deploy/helm/svclb
    render() { helm template svclb "$chart" --namespace kube-system --kube-version 1.36.0 "$@"; }
    check "helm finds no fault in the chart" helm lint --strict "$chart"
    for mode in run drain cleanup; do
        render --set mode=$mode >"$work/chart.yaml"
        check "the chart says what the manifests say, mode $mode" objects same "$work/$mode.yaml" "$work/chart.yaml"
    done
    refused() { ! render "$@" >/dev/null 2>&1; }
    check "a mode that there is not is refused" refused --set mode=walk
    check "a value that there is not is refused" refused --set imagge.tag=1
    check "the name of the node is none of the chart's" refused --set config.nodeName=node-1
    check "nor are sockets of pods, without what they take" refused --set config.podSockets=on
    render --set apiServer.host=192.0.2.1 --set apiServer.port=6443 >"$work/chart.yaml"
    check "the API server's address gets into the ConfigMap" grep -q 'apiServerHost: "192.0.2.1"' "$work/chart.yaml"
    check "and its port as a string" grep -q 'apiServerPort: "6443"' "$work/chart.yaml"
    render --set podSockets=true >"$work/chart.yaml"
    check "sockets of pods take the option, the capability and the namespaces" \
        eval "grep -q 'podSockets: \"on\"' '$work/chart.yaml' && grep -q -- '- SYS_ADMIN' '$work/chart.yaml' && grep -q 'mountPath: /run/netns' '$work/chart.yaml'"
    helm template svclb "$chart" --kube-version 1.29.0 >"$work/chart.yaml"
    check "an older Kubernetes gets the AppArmor profile as an annotation" \
        grep -q "container.apparmor.security.beta.kubernetes.io/svclb-agent: unconfined" "$work/chart.yaml"
    check "and not as a field" eval "! grep -q appArmorProfile '$work/chart.yaml'"
else
    skipped=${skipped:-helm}
fi
check_end
[[ -z ${skipped:-} ]] || skip "a part of it: $skipped is not here"
