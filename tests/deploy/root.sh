# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash disable=SC2154 # names of those who source this: top, build, work
# The Debian package, made from the build tree ($build), and a root that holds nothing but what it depends on. To source
# with $top, $build and a directory $work; root_skip is called with a reason where the machine can't.
# shellcheck source=scripts/lib/apt-sources.sh
. "$top/scripts/lib/apt-sources.sh"

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
    [[ -s $work/debian.sources ]] || root_skip "no apt source of this machine serves $codename"
    names=$(sed -E 's/ \([^)]*\)//g; s/, /,/g' <<<"$1")
    if grep -q "backports" "$work/debian.sources" && [[ $(dpkg-query -W -f '${Version}' libbpf1) == *bpo* ]]; then
        names=${names/libbpf1/libbpf1\/$codename-backports}
    fi
    mmdebstrap --quiet --format=tar --variant=essential --include="$names" "$codename" "$2.new" "$work/debian.sources" >"$work/mmdebstrap.log" 2>&1 ||
        { cat "$work/mmdebstrap.log" && root_skip "no clean root could be made from this machine's apt sources"; }
    mv "$2.new" "$2"
}

within() { # COMMAND...: in the root, with a network of its own
    # shellcheck disable=SC2016 # for the inner shell
    unshare --net --mount --fork bash -c 'mount -t proc proc "$0/proc" && mount -t sysfs sys "$0/sys" && exec chroot "$0" "$@"' "$work/root" "$@"
}

# root_make: sets $deb and $depends; $work/root has the dependencies, and the package as /svclb.deb.
root_make() {
    local tool cache
    for tool in mmdebstrap dpkg-shlibdeps file unshare; do
        command -v "$tool" >/dev/null || root_skip "$tool is not here"
    done
    (cd "$work" && cpack -G DEB -B "$work/out" --config "$build/CPackConfig.cmake") >"$work/cpack.log" 2>&1 || { cat "$work/cpack.log" && return 1; }
    deb=$(echo "$work"/out/*.deb)
    depends=$(dpkg-deb -f "$deb" Depends)
    cache=$build/deploy-root-$(sha256sum <<<"$depends" | cut -c 1-16).tar
    [[ -f $cache ]] || clean_root "$depends" "$cache"
    mkdir "$work/root"
    tar -C "$work/root" -xf "$cache"
    cp "$deb" "$work/root/svclb.deb"
}
