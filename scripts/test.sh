#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# Every test, from a fresh machine: installs dependencies, builds with g++ and with clang++, runs unit, packet, namespace
# and kernel tests, sanitizers, a short fuzz and the style checks. Ends with the counts over all of them.
#   sudo scripts/test.sh            everything
#   sudo scripts/test.sh STAGE...   some of it: gcc, clang, asan, check, kernels
set -euo pipefail

cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib/deps.sh
. scripts/lib/deps.sh

stages=("$@")
((${#stages[@]})) || stages=(gcc clang asan check kernels)
passed=0 failed=0 skipped=0
timings=()
logs=build/test-logs
mkdir -p "$logs"
rm -f "$logs"/*.log

# count PASSED FAILED SKIPPED
count() {
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

configure() { # DIR OPTION...
    local dir=$1
    shift
    [[ -f $dir/build.ninja ]] || cmake -S . -B "$dir" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo "$@" >"$logs/$(basename "$dir").cmake" ||
        { cat "$logs/$(basename "$dir").cmake" && return 1; }
}

build() { # NAME DIR [TARGET...]: a build that fails is one failed test, and its own tests cannot run
    local name=$1 dir=$2
    shift 2
    if ninja -C "$dir" "$@" 2>&1 | tee "$logs/$(basename "$dir").build.log"; then
        echo "ok: $name" && count 1 0 0
    else
        echo "FAILED: $name" && count 0 1 0 && return 1
    fi
}

# run_ctest NAME DIR OPTION...: adds CTest's counts; a skipped test is named with its reason by CTest's own output.
run_ctest() {
    local name=$1 dir=$2 log=$logs/$1.log status=0
    shift 2
    ctest --test-dir "$dir" --output-on-failure --no-tests=error "$@" 2>&1 | tee "$log" || status=$?
    local total bad left_out
    total=$(sed -nE 's/^[0-9]+% tests passed, [0-9]+ tests failed out of ([0-9]+)$/\1/p' "$log")
    bad=$(sed -nE 's/^[0-9]+% tests passed, ([0-9]+) tests failed out of [0-9]+$/\1/p' "$log")
    left_out=$(grep -cE '\*\*\*(Skipped|Not Run \(Disabled\))' "$log") || true
    if [[ -z $total ]]; then
        echo "FAILED: $name: ctest ran nothing" && count 0 1 0 && return
    fi
    if ((left_out)); then
        echo "skipped in $name, with its words:"
        skip_reasons "$dir" "$log"
    fi
    if ((status != 0 && bad == 0)); then
        bad=1 total=$((total + 1))
    fi
    count $((total - bad - left_out)) "$bad" "$left_out"
}

# CTest keeps what a skipped test said in its own log only.
skip_reasons() { # DIR LOG
    grep -E '\*\*\*(Skipped|Not Run)' "$2" | sed -E 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: /    /'
    grep -hE '^(skipped: |SKIPPED|  .*(SKIPPED|skip))' "$1/Testing/Temporary/LastTest.log" | sort -u | sed 's/^/      /' || true
}

stage_gcc() {
    configure build -DCMAKE_CXX_COMPILER=g++ -DCMAKE_C_COMPILER=gcc || { count 0 1 0 && return; }
    build "build with $(g++ --version | head -n 1)" build || return 0
    run_ctest gcc build -j3
}

# Every source once more by clang, warnings as errors; code is generated for the fuzzers only. clang's own warnings of
# userspace are clang-tidy's to report: once is enough.
stage_clang() {
    configure build-fuzz -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=None \
        -DCMAKE_CXX_FLAGS=-O1 -DSVCLB_FUZZ=ON || { count 0 1 0 && return; }
    if clang_accepts build-fuzz 2>&1 | tee "$logs/clang-accepts.log"; then
        echo "ok: $(clang++ --version | head -n 1) accepts every source" && count 1 0 0
    else
        echo "FAILED: clang++ does not accept every source" && count 0 1 0
    fi
    build "build the fuzzers" build-fuzz fuzzers || return 0
    run_ctest clang build-fuzz -L fuzz
}

clang_accepts() { # DIR
    jq -r '.[] | select(.file | endswith(".cpp")) | select(.file | startswith($tidied) | not) | .command' \
        --arg tidied "$PWD/userspace/" "$1/compile_commands.json" | sort -u |
        sed -E 's/ -o [^ ]+ -c / -fsyntax-only /' | tr '\n' '\0' | (cd "$1" && xargs -0 -n 1 -P "$(nproc)" bash -c)
}

# Userspace alone: the sanitizers can't see into the kernel, and slow the namespace tests down for nothing.
stage_asan() {
    configure build-asan -DCMAKE_CXX_COMPILER=g++ -DCMAKE_C_COMPILER=gcc -DCMAKE_BUILD_TYPE=None \
        "-DCMAKE_CXX_FLAGS=-O1 -g1" -DSVCLB_SANITIZE=ON || { count 0 1 0 && return; }
    build "build with ASan and UBSan" build-asan unit_tests || return 0
    run_ctest asan build-asan -R '^unit\.' -j3
}

stage_check() { counted check scripts/check.sh; }
stage_kernels() { counted kernels scripts/kernels.sh; }

# counted NAME COMMAND...: for a script that ends with "NAME: N passed, M failed, K skipped".
counted() {
    local name=$1 status=0 good bad left_out
    shift
    "$@" 2>&1 | tee "$logs/$name.log" || status=$?
    if read -r good bad left_out < <(sed -nE "s/^$name: ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped\$/\1 \2 \3/p" "$logs/$name.log"); then
        count "$good" "$bad" "$left_out"
    else
        echo "FAILED: $name ended with $status before it could count" && count 0 1 0
    fi
}

# What failed, once more at the end: of a long output often only the end is kept.
tell_failures() {
    local log
    for log in "$logs"/*.log; do
        if grep -q '^Test project ' "$log"; then
            failed_tests "$log"
        else
            grep -E -A 8 '(FAILED|error|undefined reference|fatal)' "$log" | tail -n 40 || true
        fi | cut -c 1-300 | sed "s|^|$(basename "$log" .log): |"
    done
}

# failed_tests LOG: of each test that CTest calls failed the result and the end of its output
failed_tests() {
    awk '
        function flush() {
            if (n) print line[0]
            for (i = n > 30 ? n - 30 : 1; i < n; ++i) print line[i]
            n = on = 0
        }
        /^ *(Start +[0-9]+:|[0-9]+\/[0-9]+ Test +#)/ { flush() }
        /^ *[0-9]+\/[0-9]+ Test +#.*\*\*\*/ && !/\*\*\*(Skipped|Not Run \(Disabled\))/ { on = 1 }
        on { line[n++] = $0 }
        END { flush() }' "$1"
}

begin=$SECONDS
deps_install test
timings+=("dependencies $((SECONDS - begin)) s")
for stage in "${stages[@]}"; do
    declare -F "stage_$stage" >/dev/null || { echo "no stage called $stage; there are gcc, clang, asan, check, kernels" >&2 && exit 2; }
    begin=$SECONDS
    printf '\n==== %s\n' "$stage"
    "stage_$stage"
    timings+=("$stage $((SECONDS - begin)) s")
    echo "---- $stage took $((SECONDS - begin)) s"
done
printf '\ntimes: '
printf '%s; ' "${timings[@]}"
((failed == 0)) || { printf '\n\n==== what failed\n' && tell_failures; }
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
((failed == 0))
