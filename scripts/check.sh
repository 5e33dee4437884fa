#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Style as a test: clang-format on every C and C++ file that git tracks, clang-tidy on every source of userspace, shellcheck on
# every script. Needs a configured build tree (build/, or $BUILD) for the compile commands. Fast enough to run by hand:
# name files to check only those.
set -euo pipefail

cd "$(dirname "$0")/.."
build=${BUILD:-build}
passed=0 failed=0 skipped=0

verdict() { # NAME STATUS
    if (($2 == 0)); then
        passed=$((passed + 1)) && echo "ok: $1"
    else
        failed=$((failed + 1)) && echo "FAILED: $1"
    fi
}

# The rules are written for release 14: others break lines differently and warn of other things.
release_of() { "$1" --version 2>/dev/null | sed -nE 's/.*version ([0-9]+).*/\1/p' | head -n 1; }
pick() { # TOOL: prints its name at release 14, or nothing
    local name
    for name in "$1-14" "$1"; do
        [[ $(release_of "$name") == 14 ]] && echo "$name" && return
    done
}
skip() { skipped=$((skipped + 1)) && echo "skipped: $1"; }

if (($#)); then
    files=("$@")
else
    mapfile -t files < <(git ls-files)
fi
c_files=() sources=() scripts=()
for file in "${files[@]}"; do
    [[ -f $file ]] || continue
    case $file in
    *.cpp | *.hpp | *.c | *.h) c_files+=("$file") ;;
    *.sh | .ci/run) scripts+=("$file") ;;
    esac
    # What runs as root on a node; Catch2's macros alone would double the time.
    [[ $file != userspace/*.cpp ]] || sources+=("$file")
done

format=$(pick clang-format)
if ((${#c_files[@]} == 0)); then
    :
elif [[ -n $format ]]; then
    status=0
    "$format" --dry-run -Werror "${c_files[@]}" || status=1
    verdict "clang-format of ${#c_files[@]} files" $status
else
    skip "clang-format: release 14 is not here"
fi

tidy=$(pick clang-tidy)
if ((${#sources[@]} == 0)); then
    :
elif [[ -z $tidy ]]; then
    skip "clang-tidy: release 14 is not here"
elif [[ ! -f $build/compile_commands.json ]]; then
    echo "no $build/compile_commands.json: configure first (cmake -S . -B $build -G Ninja), or set BUILD" >&2
    exit 2
else
    # Only what the build tree compiles: the fuzzers are built by clang in a tree of their own.
    compiled=()
    for file in "${sources[@]}"; do
        ! grep -q "\"file\": \".*/$file\"" "$build/compile_commands.json" || compiled+=("$file")
    done
    status=0
    # GCC's own warning flags mean nothing to clang.
    ((${#compiled[@]} == 0)) || printf '%s\0' "${compiled[@]}" |
        xargs -0 -n 1 -P "$(nproc)" "$tidy" -p "$build" --quiet --extra-arg=-Wno-unknown-warning-option 2>&1 |
        { grep -vE '^([0-9]+ warnings? (generated|and)|Suppressed [0-9]+|Use -header-filter)' || true; } || status=1
    verdict "clang-tidy of ${#compiled[@]} sources" $status
fi

if ((${#scripts[@]})) && command -v shellcheck >/dev/null; then
    status=0
    shellcheck -x "${scripts[@]}" || status=1
    verdict "shellcheck of ${#scripts[@]} scripts" $status
elif ((${#scripts[@]})); then
    skip "shellcheck is not here"
fi

echo "check: $passed passed, $failed failed, $skipped skipped"
((failed == 0))
