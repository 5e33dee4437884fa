#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Boots Debian's own cloud kernels in qemu (software emulation, so any machine will do) and runs a test binary in each:
# what the verifier of one kernel accepts, another refuses. Kernels are kept in build/kernels for a week.
# A kernel that can't be had is a skip with its reason; one that does not boot or hangs is a failure.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: scripts/kernels.sh [--binary PATH] [--args 'ARG...'] [--timeout S] [--jobs N] [--refresh] [KERNEL...]
  KERNEL     5.10, 6.1, 6.12 or newest; default: all of them
  --binary   what to run; default: packet_tests of the build tree build/ (or $BUILD)
  --args     its arguments, split by the shell inside ("--durations yes": Catch2 tells each case as it ends)
  --timeout  seconds until a kernel counts as hung (600)
  --refresh  look for newer packages now
USAGE
}

top=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/lib/apt-sources.sh
. "$top/scripts/lib/apt-sources.sh"

binary=
arguments="--durations yes"
timeout_s=600
jobs=$(nproc)
refresh=no
kernels=()
while (($#)); do
    case $1 in
    --binary) binary=$2 && shift ;;
    --args) arguments=$2 && shift ;;
    --timeout) timeout_s=$2 && shift ;;
    --jobs) jobs=$2 && shift ;;
    --refresh) refresh=yes ;;
    --help | -h) usage && exit 0 ;;
    5.10 | 6.1 | 6.12 | newest) kernels+=("$1") ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
((${#kernels[@]})) || kernels=(5.10 6.1 6.12 newest)
if [[ -z $binary ]]; then
    binary=$(find "${BUILD:-$top/build}/tests" -name packet_tests -type f -executable -print -quit 2>/dev/null || true)
fi
[[ -x $binary ]] || { echo "kernels.sh: no packet_tests in ${BUILD:-$top/build}: build it or give --binary PATH" >&2 && exit 2; }

cache=$top/build/kernels
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
mkdir -p "$cache"

suites_of() {
    case $1 in
    5.10) echo bullseye bullseye-security ;;
    6.1) echo bookworm bookworm-security ;;
    6.12) echo bookworm-backports ;;
    newest) echo sid ;;
    esac
}

# fetch KERNEL: leaves vmlinuz and version in $cache/KERNEL, or the reason why not in $cache/KERNEL/skip.
fetch() {
    local dir=$cache/$1
    mkdir -p "$dir"
    rm -f "$dir/skip"
    if [[ $refresh == no && -n $(find "$dir/vmlinuz" -mtime -7 2>/dev/null) ]]; then
        return 0
    fi
    if fetch_from_mirror "$1" >"$dir/fetch.log" 2>&1; then
        touch "$dir/vmlinuz"
    elif [[ -f $dir/vmlinuz ]]; then
        echo "kernel $1: no newer one to be had ($(cat "$dir/skip")), using the one kept from before"
        rm -f "$dir/skip"
    fi
}

first_match() { # PATTERN
    awk -v pattern="$1" '!found && match($0, pattern) { print substr($0, RSTART, RLENGTH); found = 1 }'
}

fetch_from_mirror() {
    local dir=$cache/$1 codename uri components key suite package apt
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "$ID:$VERSION_CODENAME")
    if [[ $codename != debian:* ]] || ! IFS=$'\t' read -r uri _ components key < <(apt_source_of "${codename#*:}"); then
        echo "no apt source of this machine serves Debian" >"$dir/skip"
        return 1
    fi
    codename=${codename#*:}
    apt=$dir/apt
    mkdir -p "$apt/parts" "$apt/state/lists/partial" "$apt/cache/archives/partial"
    # A state of its own for each kernel: the machine's apt, and what it installs, must not change.
    local options=(-o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$apt/parts" -o "Dir::State=$apt/state"
        -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root
        -o APT::Architecture=amd64 -o APT::Update::Post-Invoke-Success::= -o Acquire::Languages=none
        -o Acquire::Check-Valid-Until=false) # of a mirror that lags behind; only emulated machines run what comes from it
    : >"$apt/status"
    for suite in $(suites_of "$1"); do
        local from=$uri signed_by=$key
        if [[ $suite == *-security ]]; then # served from a place of its own, which only the machine's sources tell
            IFS=$'\t' read -r from _ _ signed_by < <(apt_source_of "$codename-security") || continue
        fi
        apt_stanza "$suite" "$from" "${components%% *}" "$signed_by" >"$apt/parts/$suite.sources"
    done
    apt-get "${options[@]}" update || echo "(a part of the lists is missing)"
    # Read to its end by awk: a reader that leaves early kills apt-cache, and with it the pipeline.
    package=$(apt-cache "${options[@]}" show --no-all-versions linux-image-cloud-amd64 |
        first_match 'linux-image-[0-9][^ ,]*-cloud-amd64')
    [[ -n $package ]] || {
        echo "the mirror has no linux-image-cloud-amd64 in $(suites_of "$1")" >"$dir/skip"
        return 1
    }
    [[ $package == "$(cat "$dir/version" 2>/dev/null)" && -f $dir/vmlinuz ]] && return 0
    # Since 7.2 the image package only depends on the one that holds the image.
    local held_by
    held_by=$(apt-cache "${options[@]}" show --no-all-versions "$package" | first_match 'linux-binary-[^ ,]*')
    held_by=${held_by:-$package}
    rm -rf "$dir/deb" && mkdir -p "$dir/deb/root"
    (cd "$dir/deb" && apt-get "${options[@]}" download "$held_by") || {
        echo "$held_by could not be downloaded" >"$dir/skip"
        return 1
    }
    dpkg-deb -x "$dir"/deb/*.deb "$dir/deb/root"
    local image
    image=$(find "$dir/deb/root" -name 'vmlinuz*' -type f -print -quit)
    [[ -n $image ]] || {
        echo "$package holds no vmlinuz" >"$dir/skip"
        return 1
    }
    mv "$image" "$dir/vmlinuz"
    echo "$package" >"$dir/version"
    rm -rf "$dir/deb"
}

# An initramfs of busybox, the binary and its shared libraries: the same bytes for every kernel.
make_initramfs() {
    local root=$cache/root file
    rm -rf "$root" && mkdir -p "$root"/{bin,dev,proc,sys,tmp,test}
    cp "$(command -v busybox)" "$root/bin/busybox"
    cp "$binary" "$root/test/binary"
    while read -r file; do
        [[ -z $file ]] && continue
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done < <(ldd "$binary" 2>/dev/null | grep -o '/[^ ]*' || true)
    cat >"$root/init" <<INIT
#!/bin/busybox sh
# Kernel messages go to the first serial line, results to the second one.
b=/bin/busybox
\$b mount -t proc proc /proc
\$b mount -t sysfs sys /sys
\$b mount -t devtmpfs dev /dev
\$b mount -t tmpfs tmp /tmp
\$b mount -t bpf bpf /sys/fs/bpf
\$b ip link set lo up
exec >/dev/ttyS1 2>&1 </dev/null
\$b echo "svclb-booted \$(\$b cut -d ' ' -f 1 /proc/uptime) \$(\$b uname -r)"
\$b mkfifo /tmp/out
\$b cat /tmp/out &
cd /tmp
HOME=/tmp PATH=/bin /test/binary $arguments >/tmp/out 2>&1
status=\$?
wait
\$b echo "svclb-ended \$status \$(\$b cut -d ' ' -f 1 /proc/uptime)"
\$b poweroff -f
INIT
    chmod +x "$root/init"
    (cd "$root" && find . | cpio --quiet -o -H newc) >"$cache/initramfs"
}

# boot KERNEL: leaves console, result (what the binary printed) and wall_s in $cache/KERNEL.
boot() {
    local dir=$cache/$1 begin=$EPOCHREALTIME try cpu=max,la57=off,cx16=off
    # The emulator now and then breaks an interrupt return, and the kernel panics over it: up to three tries. Without
    # 5-level page tables and cmpxchg16b it does so least; but without the latter a kernel of 7.x gives BPF programs no
    # storage in sockets, which every real machine has. mitigations=off: they cost much under emulation, and the
    # verifier's own for root are off anyway.
    [[ $1 != newest ]] || cpu=max,la57=off
    for try in 1 2 3; do
        rm -f "$dir/result" "$dir/console"
        timeout --kill-after=5 "$timeout_s" qemu-system-x86_64 -accel tcg -cpu "$cpu" -m 1024 -smp 1 \
            -display none -no-reboot -nodefaults -kernel "$dir/vmlinuz" -initrd "$cache/initramfs" \
            -serial "file:$dir/console" -serial "file:$dir/result" \
            -append "console=ttyS0 panic=-1 quiet mitigations=off" </dev/null >"$dir/qemu.log" 2>&1 ||
            echo "qemu ended with $?" >>"$dir/qemu.log"
        crashed "$1" || break
        echo "kernel $1: crashed on try $try"
    done
    echo "$begin $EPOCHREALTIME" | awk '{ printf "%.1f\n", $2 - $1 }' >"$dir/wall_s"
}

crashed() { # KERNEL: by a panic, before the binary ended
    ! grep -q '^svclb-ended ' "$cache/$1/result" && grep -q 'Kernel panic' "$cache/$1/console"
}

# tell KERNEL: prints its lines and adds to the totals. Understands Catch2's summary; of any other binary only the status.
tell() {
    local dir=$cache/$1 status booted_s ended_s release summary total=0 good=1 bad=0 left_out=0
    if [[ -f $dir/skip ]]; then
        echo "kernel $1: skipped: $(cat "$dir/skip")"
        skipped=$((skipped + 1))
        return
    fi
    if crashed "$1"; then
        echo "kernel $1 ($(cat "$dir/version")): skipped: the emulator crashed it three times: $(grep -m 1 'Kernel panic' "$dir/console" | tr -d '\r')"
        skipped=$((skipped + 1))
        return
    fi
    tr -d '\r' <"$dir/result" >"$dir/result.txt" || true
    read -r _ booted_s release < <(grep '^svclb-booted ' "$dir/result.txt") || {
        echo "kernel $1 ($(cat "$dir/version")): FAILED: did not boot; end of its console:"
        tail -n 15 "$dir/console" "$dir/qemu.log" | sed 's/^/    /'
        failed=$((failed + 1))
        return
    }
    read -r _ status ended_s < <(grep '^svclb-ended ' "$dir/result.txt") || {
        echo "kernel $1 ($release): FAILED: the tests did not end ($(tail -n 1 "$dir/qemu.log")); last lines:"
        tail -n 15 "$dir/result.txt" "$dir/console" | sed 's/^/    /'
        failed=$((failed + 1))
        return
    }
    [[ $status == 0 ]] || good=0 bad=1
    summary=$(grep -E '^(All tests passed \(|test cases: )' "$dir/result.txt" | tail -n 1) || true
    case $summary in
    'All tests passed'*) good=$(sed -E 's/.* in ([0-9]+) test cases?\)/\1/' <<<"$summary") ;;
    'test cases:'*)
        total=$(sed -E 's/^test cases: +([0-9]+).*/\1/' <<<"$summary")
        left_out=$(sed -nE 's/.* ([0-9]+) skipped.*/\1/p' <<<"$summary")
        bad=$(sed -nE 's/.* ([0-9]+) failed.*/\1/p' <<<"$summary")
        left_out=${left_out:-0} bad=${bad:-0} good=$((total - ${left_out:-0} - ${bad:-0}))
        ;;
    esac
    if [[ $status != 0 && $bad == 0 && $left_out == 0 ]]; then
        bad=1
    fi
    if ((bad)); then
        { grep -B 12 -A 25 -F 'FAILED:' "$dir/result.txt" || tail -n 40 "$dir/result.txt"; } | head -n 200 | sed 's/^/    /'
    fi
    ((left_out == 0)) || skips "$dir/result.txt"
    echo "kernel $1 ($release): $good passed, $bad failed, $left_out skipped; up in $booted_s s, tests took $(awk -v a="$booted_s" -v b="$ended_s" 'BEGIN { printf "%.1f", b - a }') s, $(cat "$dir/wall_s") s in all"
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left_out))
}

# skips RESULT: each place that skips, with its words and how many cases it left out
skips() {
    awk '/: SKIPPED:$/ { place = $1; next }
        place != "" && NF && !/^explicitly with message/ { sub(/^ +/, ""); print place " " $0; place = "" }' "$1" |
        sort | uniq -c | sed 's/^/    skipped/'
}

passed=0 failed=0 skipped=0
for kernel in "${kernels[@]}"; do
    fetch "$kernel"
done
make_initramfs
for kernel in "${kernels[@]}"; do
    [[ -f $cache/$kernel/skip ]] && continue
    while (($(jobs -rp | wc -l) >= jobs)); do
        wait -n
    done
    echo "kernel $kernel: booting $(cat "$cache/$kernel/version")"
    boot "$kernel" &
done
wait
for kernel in "${kernels[@]}"; do
    tell "$kernel"
done
echo "kernels: $passed passed, $failed failed, $skipped skipped"
((failed == 0))
