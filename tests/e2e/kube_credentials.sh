#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Every way to prove who the agent is, and what happens when the proof, or the server's, runs out: token files that
# rotate, client certificates, exec plug-ins, a CA that is replaced, and the service account of a Pod.
set -euo pipefail
. "$(dirname "$0")/../harness/kube.sh"

harness_begin kube_credentials
kube_cluster 2
start_agent
beacon_begin
traffic_begin
agent_said() { grep -qE "$1" "$run/agent1.log"; }
as_user() { kube_asked "map(select(.status == 200)) | length > 0 and all(.user == \"$1\")"; }

say "a token that expires"
before=$(writes_now)
kube requests true >/dev/null
kube tokens '["second"]' >/dev/null
kube drop >/dev/null
check "it is refused" await 20 kube_asked 'any(.status == 401)'
check "that is said" await 5 agent_said '401'
sleep 1
check "the node goes on" holds "$(load_in client "$web4" --connections 100)" '.failed == 0 and (.backends | length) == 2'
printf second >"$run/new-token" && mv "$run/new-token" "$api/token"
check "the good one is taken from the file" await 60 kube_watched
check "nothing was written" only_beacon_since "$before"
check "the token itself is in no log" eval "! grep -q second '$run/agent1.log'"

say "a CA that is replaced"
cp "$api/ca.crt" "$run/trusted.crt"
kubeconfig "tokenFile: $api/token"
sed -i "s|certificate-authority: .*|certificate-authority: $run/trusted.crt|" "$run/kubeconfig"
stop_agent KILL
start_agent
before=$(writes_now)
kube rotate '{"ca": true}' >/dev/null
kube requests true >/dev/null
kube drop >/dev/null
check "a server that the old CA does not know is refused" await 20 agent_said '[Cc]ertificate'
sleep 1
check "and told nothing" test "$(kube requests | jq length)" = 0
cp "$api/ca.crt" "$run/.trusted.crt" && mv "$run/.trusted.crt" "$run/trusted.crt"
check "with the new CA in the file it is back" await 60 kube_watched
check "nothing was written" only_beacon_since "$before"

# restart WITH: the agent anew, with nothing to write.
restart() {
    stop_agent KILL
    kube requests true >/dev/null
    start_agent
    check "nothing was written" test "$(writes_now)" = 0
    check "changes are followed" only_beacon_since 0
}
say "a client certificate from files"
kubeconfig "{client-certificate: $api/client.crt, client-key: $api/client.key}"
restart
check "it is who the certificate says" as_user scripted-client
say "a client certificate inline, over IPv6, HTTP/1.1, and a server by another name"
api_host="[$api6]"
kubeconfig "{client-certificate-data: $(base64 -w0 "$api/client.crt"), client-key-data: $(base64 -w0 "$api/client.key")}" \
    "tls-server-name: kubernetes.default.svc"
kube set '{"protocols": ["http/1.1"]}' >/dev/null
restart
check "it is who the certificate says" as_user scripted-client
api_host=
kube set '{"protocols": ["h2", "http/1.1"]}' >/dev/null
say "an exec plug-in"
cat >"$run/plugin" <<PLUGIN
#!/bin/sh
echo run >>"$run/plugin.runs"
printf '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "%s"}}' "\$(cat "$run/plugin.token")"
PLUGIN
chmod +x "$run/plugin"
printf second >"$run/plugin.token"
kubeconfig "exec: {apiVersion: client.authentication.k8s.io/v1, command: $run/plugin, interactiveMode: Never}"
restart
check "its token is used" as_user token
check "it ran once" test "$(wc -l <"$run/plugin.runs")" = 1
printf third >"$run/plugin.token"
kube tokens '["third"]' >/dev/null
kube drop >/dev/null
check "it is asked again when its token is refused" await 60 kube_watched

say "in a Pod: the service account's directory, found by itself"
account=$run/account
mkdir -p "$account/..1"
ln -s ..1 "$account/..data"
for file in token ca.crt namespace; do ln -s "..data/$file" "$account/$file"; done
cp "$api/ca.crt" "$account/..1/ca.crt"
printf kube-system >"$account/..1/namespace"
printf third >"$account/..1/token"
# shellcheck disable=SC2016,SC2034 # $0 and $@ are the inner shell's; start_agent reads these
agent_within=(unshare --mount env "KUBERNETES_SERVICE_HOST=$api4" KUBERNETES_SERVICE_PORT=6443 sh -c '
    mount -t tmpfs tmpfs /run && mkdir -p /run/secrets/kubernetes.io && ln -s "$0" /run/secrets/kubernetes.io/serviceaccount &&
    exec "$@"' "$account")
# shellcheck disable=SC2034
agent_source=()
restart
check "its token is used" as_user token
mkdir "$account/..2"
cp "$account/..1/"* "$account/..2/"
printf fourth >"$account/..2/token"
ln -s ..2 "$account/..new" && mv -T "$account/..new" "$account/..data"
kube tokens '["fourth"]' >/dev/null
kube rotate '{"ca": true}' >/dev/null
cp "$api/ca.crt" "$account/..2/ca.crt"
before=$(writes_now)
kube drop >/dev/null
check "a rotated token and CA are taken from there" await 60 kube_watched
check "nothing was written" only_beacon_since "$before"

traffic_end
kube_end
