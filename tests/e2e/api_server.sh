#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# The scripted API server itself, asked by curl over HTTP/2 and HTTP/1.1: a script that misbehaves would make the tests
# that stand on it worth nothing.
set -euo pipefail
. "$(dirname "$0")/../harness/kube.sh"

harness_begin api_server
check "its sources compile" /usr/bin/python3 -m py_compile "$harness_top"/tests/harness/api_*.py
cluster_up
kube_start
pod_add b1
pod_add b2
web_objects b1 b2

# ask OPTION... PATH: with the token; the answer's body, then a line "HTTP-VERSION STATUS".
ask() {
    local path=${*: -1}
    node_exec curl -sS "$http" --max-time 30 --cacert "$api/ca.crt" -H "authorization: Bearer $(cat "$api/token")" \
        -w '\n%{http_version} %{http_code}\n' "${@:1:$#-1}" "https://$api4:6443$path"
}
services=/api/v1/services
slices=/apis/discovery.k8s.io/v1/endpointslices
says() { grep -qE "$1" <<<"$2" || { echo "  $2" && return 1; }; } # EXPRESSION ANSWER
version_of() { kube stats | jq .resourceVersion; }
slice_names() { grep -oE '"name":"(web|kubernetes)-ipv[46]"' <<<"$1" | sort | tr -d '\n'; }

for http in --http2 --http1.1; do
    say "$http"
    answer=$(ask "$services?labelSelector=%21component&fieldSelector=spec.clusterIP%21%3DNone")
    check "selectors are honoured" says '"items":\[\{[^[]*"name":"web"' "$answer"
    check "the protocol is the one asked for" says "^${http//[!0-9.]/} 200$" "$answer"
    check "an unknown field selector is refused" says ' 400$' "$(ask "$services?fieldSelector=spec.x=1")"
    check "a wrong token is refused" says ' 401$' "$(ask -H 'authorization: Bearer wrong' $services)"

    first=$(ask "$slices?limit=3")
    next=$(sed -nE 's/.*"continue": "([^"]+)".*/\1/p' <<<"$first")
    second=$(ask "$slices?limit=3&continue=$next")
    check "pages hold each object once" test "$(slice_names "$first$second")" = \
        '"name":"kubernetes-ipv4""name":"kubernetes-ipv6""name":"web-ipv4""name":"web-ipv6"'
    check "a page is given once only" says ' 410$' "$(ask "$slices?limit=3&continue=$next")"

    streamed=$(ask "$slices?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1&timeoutSeconds=1")
    check "an initial list is streamed" test "$(grep -c '"type":"ADDED"' <<<"$streamed")" = 4
    check "and ends with its bookmark" says '"type":"BOOKMARK".*"k8s.io/initial-events-end":"true"' "$streamed"

    version=$(version_of)
    endpoints web "$web_ports" b1:notready b2
    check "a watch goes on from a resourceVersion" says '"type":"MODIFIED".*"ready":false' \
        "$(ask "$slices?watch=1&resourceVersion=$version&timeoutSeconds=1")"
    endpoints web "$web_ports" b1 b2
    kube compact >/dev/null
    check "what is compacted is 410 in the stream" says '"type":"ERROR".*"code": 410' \
        "$(ask "$slices?watch=1&resourceVersion=$version")"
    kube set '{"gone": "status"}' >/dev/null
    check "or by status" says ' 410$' "$(ask "$slices?watch=1&resourceVersion=$version")"
    kube set '{"gone": "event"}' >/dev/null

    kube fault '{"on": "list", "status": 429, "retry_after": 7}' >/dev/null
    check "429 has its Retry-After" says 'retry-after: 7' "$(ask -i $services)"
    check "a fault happens once" says ' 200$' "$(ask $services)"
    kube fault '{"on": "list", "cut": 100}' >/dev/null
    answer=$(ask $services 2>&1) || true
    check "an answer is cut in mid-object" says 'curl: \(5[56]\)' "$answer"
    kube fault '{"on": "list", "garbage": [2, "#+#"]}' >/dev/null
    check "garbage is mixed in" says '^\{"#\+#kind' "$(ask $services)"
    kube fault '{"on": "list", "hang": true}' >/dev/null
    answer=$(ask --max-time 1 $services 2>&1) || true
    check "a request hangs" says 'curl: \(28\)' "$answer"
    kube accept false >/dev/null
    answer=$(ask $services 2>&1) || true
    check "connections are refused" says 'curl: \(7\)' "$answer"
    kube accept true >/dev/null
    cp "$api/ca.crt" "$run/old-ca.crt"
    kube rotate '{"ca": true}' >/dev/null
    answer=$(ask --cacert "$run/old-ca.crt" $services 2>&1) || true
    check "after a rotation the old CA is not enough" says 'curl: \(60\)' "$answer"
    check "the new one is" says ' 200$' "$(ask $services)"
done
kube_end
