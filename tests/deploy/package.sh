#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# The Debian package, made from the build tree ($SVCLB_BUILD), in a root that holds nothing but what it depends on:
# installs, passes --check, keeps a changed configuration over an upgrade, and leaves when it is told to.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${SVCLB_BUILD:-$top/build}
# shellcheck source=scripts/lib/apt-sources.sh
. "$top/scripts/lib/apt-sources.sh"
# shellcheck source=tests/deploy/check.sh
. "$top/tests/deploy/check.sh"

((EUID == 0)) || skip "a root of its own needs root"
for tool in mmdebstrap dpkg-shlibdeps file unshare; do
    command -v "$tool" >/dev/null || skip "$tool is not here"
done
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT

# clean_root DEPENDS FILE: a tar of a minimal system of this machine's release with these packages. The release itself
# is asked for first, its backports only for what it does not have in that version.
clean_root() {
    local codename uri components key names suite
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    for suite in "$codename" "$codename-updates" "$codename-security" "$codename-backports"; do
        IFS=$'\t' read -r uri _ components key < <(apt_source_of "$suite") || continue
        apt_stanza "$suite" "$uri" "$components" "$key" && echo
    done >"$work/debian.sources"
    [[ -s $work/debian.sources ]] || skip "no apt source of this machine serves $codename"
    names=$(sed -E 's/ \([^)]*\)//g; s/, /,/g' <<<"$1")
    if grep -q "backports" "$work/debian.sources" && [[ $(dpkg-query -W -f '${Version}' libbpf1) == *bpo* ]]; then
        names=${names/libbpf1/libbpf1\/$codename-backports}
    fi
    mmdebstrap --quiet --format=tar --variant=essential --include="$names" "$codename" "$2.new" "$work/debian.sources" >"$work/mmdebstrap.log" 2>&1 ||
        { cat "$work/mmdebstrap.log" && skip "no clean root could be made from this machine's apt sources"; }
    mv "$2.new" "$2"
}

within() { # COMMAND...: in the root, with a network of its own
    # shellcheck disable=SC2016 # for the inner shell
    unshare --net --mount --fork bash -c 'mount -t proc proc "$0/proc" && mount -t sysfs sys "$0/sys" && exec chroot "$0" "$@"' "$work/root" "$@"
}

(cd "$work" && cpack -G DEB -B "$work/out" --config "$build/CPackConfig.cmake") >"$work/cpack.log" 2>&1 || { cat "$work/cpack.log" && exit 1; }
deb=("$work"/out/*.deb)
depends=$(dpkg-deb -f "${deb[0]}" Depends)
echo "    $(basename "${deb[0]}"), $(stat -c %s "${deb[0]}") bytes, depends on $depends"
check "its configuration is a conffile" test "$(dpkg-deb --info "${deb[0]}" conffiles)" = /etc/svclb/config.yaml
check "it depends on the libraries that it was linked to" grep -q "libbpf1 (>= .*libnl-3-200" <<<"$depends"

cache=$build/deploy-root-$(sha256sum <<<"$depends" | cut -c 1-16).tar
[[ -f $cache ]] || clean_root "$depends" "$cache"
mkdir "$work/root"
tar -C "$work/root" -xf "$cache"
cp "${deb[0]}" "$work/root/svclb.deb"
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
