# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# shellcheck shell=bash
# For the tests of what deploys svclb, to source.
checks=0 failures=0

check() { # SENTENCE COMMAND...
    local sentence=$1 said
    shift
    checks=$((checks + 1))
    if said=$("$@" 2>&1); then
        echo "ok: $sentence"
    else
        failures=$((failures + 1))
        printf 'FAILED: %s\n%s\n' "$sentence" "$said"
    fi
}

skip() {
    echo "skipped: $1"
    exit 77
}

check_end() {
    echo "$checks checks, $failures failed"
    ((checks > 0 && failures == 0))
}
