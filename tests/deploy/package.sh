#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# The Debian package, made from the build tree ($SVCLB_BUILD), in a root that holds nothing but what it depends on:
# installs, passes --check, keeps a changed configuration over an upgrade, and leaves when it is told to.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${SVCLB_BUILD:-$top/build}
# shellcheck source=tests/deploy/check.sh
. "$top/tests/deploy/check.sh"

((EUID == 0)) || skip "a root of its own needs root"
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
# shellcheck source=tests/deploy/root.sh
. "$top/tests/deploy/root.sh"
root_skip() { skip "$1"; }

root_make
echo "    $(basename "$deb"), $(stat -c %s "$deb") bytes, depends on $depends"
check "its configuration is a conffile" test "$(dpkg-deb --info "$deb" conffiles)" = /etc/svclb/config.yaml
check "it depends on the libraries that it was linked to" grep -q "libbpf1 (>= .*libnl-3-200" <<<"$depends"

check "it installs into a clean root" within dpkg -i /svclb.deb

mkdir "$work/root/etc/svclb/manifests"
cp "$top/tests/data/kubectl-list.yaml" "$work/root/etc/svclb/manifests/"
sed -i -e 's/^kubeconfig:.*//' -e 's/^# manifests:/manifests:/' "$work/root/etc/svclb/config.yaml"
status=0
within svclb-agent --check --config /etc/svclb/config.yaml >"$work/check" 2>&1 || status=$?
sed 's/^/    /' "$work/check"
check "svclb-agent --check finds it usable there" test $status = 0
check "and has read the manifests" grep -qE "[1-9][0-9]* Services" "$work/check"
check "svclb-ctl runs there" within svclb-ctl --version

within dpkg -i /svclb.deb >/dev/null 2>&1
check "an upgrade keeps a changed configuration" grep -q "^manifests: /etc/svclb/manifests" "$work/root/etc/svclb/config.yaml"
if command -v systemd-analyze >/dev/null; then
    sed "s#^ExecStart=#&$work/root#" "$work/root/usr/lib/systemd/system/svclb-agent.service" >"$work/svclb-agent.service"
    check "systemd accepts the unit" systemd-analyze verify --man=no "$work/svclb-agent.service"
    exposure=$(systemd-analyze security --offline=yes --root="$work/root" --threshold=30 svclb-agent.service 2>&1 | tail -n 1)
    echo "    ${exposure#* }"
    check "and rates its exposure at 3.0 of 10 or less" systemd-analyze security --offline=yes --root="$work/root" --threshold=30 --no-pager svclb-agent.service
fi
check "it can be removed" within dpkg -r svclb
check "the configuration stays" test -e "$work/root/etc/svclb/config.yaml"
check "it can be purged" within dpkg -P svclb
check "nothing of it is left" test -z "$(find "$work/root/usr" "$work/root/etc" -name '*svclb*' ! -path '*/etc/svclb*')"
check_end
