# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
# Installs what the demo (deps_install demo) or the whole test suite (deps_install test) needs, with apt: Debian 12,
# Debian 13, Ubuntu 24.04. Takes a few milliseconds when all of it is there. Starts no service and needs none.

# shellcheck source=scripts/lib/apt-sources.sh
. "$(dirname "${BASH_SOURCE[0]}")/apt-sources.sh"

# The demo configures the whole tree, so that the tests build on in the same one; hence their libraries.
# Package, or package>=version where an older one is of no use, or alternatives a|b of which the first is installed.
deps_demo=(
    g++ clang cmake ninja-build pkg-config ccache
    'libbpf-dev>=1:1.3' libnl-route-3-dev libcli11-dev libexpected-dev libfmt-dev libspdlog-dev libyaml-cpp-dev libsimdjson-dev
    nlohmann-json3-dev libcurl4-openssl-dev libmicrohttpd-dev prometheus-cpp-dev
    'catch2>=3' libtins-dev libbenchmark-dev
    iproute2 util-linux procps curl jq dnsmasq-base bind9-dnsutils
)
deps_test=(
    llvm clang-format clang-tidy shellcheck git
    python3 python3-h2 python3-yaml openssl iperf3 tcpdump ethtool nftables musl-tools
    qemu-system-x86 'busybox-static|busybox' cpio xz-utils zstd
    dpkg-dev file mmdebstrap
)

# deps_missing SET: the entries that are not satisfied, one a line.
deps_missing() {
    local wanted=("${deps_demo[@]}") entry name version
    if [[ $1 == test ]]; then
        wanted+=("${deps_test[@]}")
        # clang's sanitizer and fuzzer run time has clang's version in its name.
        if command -v clang >/dev/null; then
            version=$(clang -dumpversion)
            wanted+=("libclang-rt-${version%%.*}-dev")
        fi
    fi
    # Not every release has a package of it; a test that goes without says so.
    if [[ $1 == test ]] && ! command -v kubectl >/dev/null && apt-cache show kubernetes-client >/dev/null 2>&1; then
        wanted+=(kubernetes-client)
    fi
    local -A installed=()
    while read -r name version; do
        installed[$name]=$version
    done < <(dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n' | sed -n 's/^installed //p')
    for entry in "${wanted[@]}"; do
        name=${entry%%>=*}
        if [[ $entry == *'>='* ]]; then
            [[ -n ${installed[$name]:-} ]] && dpkg --compare-versions "${installed[$name]}" ge "${entry#*>=}" && continue
        elif [[ -n ${installed[${name%|*}]:-} || -n ${installed[${name#*|}]:-} ]]; then
            continue
        fi
        echo "$name"
    done
}

# Debian 12 has libbpf 1.1 and Catch2 2; newer ones are in its backports.
deps_backports() {
    local suite source uri components key file=/etc/apt/sources.list.d/svclb-backports.sources
    for suite in bookworm-backports oldstable-backports stable-backports; do
        source=$(apt_source_of "$suite") && return 0
    done
    for suite in bookworm oldstable stable; do
        source=$(apt_source_of "$suite") && break
    done
    if [[ -z $source ]]; then
        echo "error: no apt source of this machine serves bookworm, so its backports can't be added" >&2
        return 1
    fi
    IFS=$'\t' read -r uri _ components key <<<"$source"
    echo "== adding $file: bookworm-backports from the mirror that serves $suite"
    apt_stanza bookworm-backports "$uri" "${components%% *}" "$key" >"$file"
}

# deps_apt PACKAGE...: a package may have "/suite" behind its name.
deps_apt() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 \
        -o Dpkg::Use-Pty=0 "$@"
}

# deps_install demo|test
deps_install() {
    local missing packages=() name release
    mapfile -t missing < <(deps_missing "$1")
    ((${#missing[@]})) || return 0
    echo "== ${#missing[@]} dependencies are missing: ${missing[*]}"
    if ! command -v apt-get >/dev/null; then
        echo "error: no apt-get here; install them by hand and start again" >&2
        return 1
    fi
    if ((EUID != 0)); then
        echo "error: installing them needs root: start again with sudo" >&2
        return 1
    fi
    # shellcheck source=/dev/null
    release=$(. /etc/os-release && echo "$ID-${VERSION_ID:-}")
    [[ $release != debian-12 ]] || deps_backports
    apt-get update -q -o DPkg::Lock::Timeout=300
    for name in "${missing[@]}"; do
        case $release:$name in
        debian-12:libbpf-dev) packages+=(libbpf-dev/bookworm-backports libbpf1/bookworm-backports) ;;
        debian-12:catch2) packages+=(catch2/bookworm-backports) ;;
        *) packages+=("${name%|*}") ;;
        esac
    done
    deps_apt "${packages[@]}" || {
        echo "error: apt could not install them (on Ubuntu: is the component universe on?)" >&2
        return 1
    }
    mapfile -t missing < <(deps_missing "$1")
    # clang has just told its version, so its run time may be asked for only now.
    if ((${#missing[@]})); then
        deps_apt "${missing[@]%|*}"
        mapfile -t missing < <(deps_missing "$1")
    fi
    if ((${#missing[@]})); then
        echo "error: still missing, or too old here: ${missing[*]}" >&2
        return 1
    fi
}
