#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Holds docs/behaviour.md to the tests: what it names exists, it names every row's tests, and it leaves out no row."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = [f"1.{n}" for n in range(1, 34)]


def cases_of(path):
    """Names of the Catch2 cases of a file; a name may be broken over several literals."""
    text = path.read_text()
    literal = r'"(?:[^"\\]|\\.)*"'
    found = re.findall(rf"\bTEST_CASE(?:_METHOD\(\s*\w+,|\()\s*({literal}(?:\s*{literal})*)", text)
    return {"".join(part[1:-1] for part in re.findall(literal, names)) for names in found}


def main():
    document = (ROOT / "docs/behaviour.md").read_text()
    faults = []
    named = set()
    # `path` "case", "case"; `path` ...
    for path, cases in re.findall(r'`(tests/[\w./-]+)`((?:[,\s]*"[^"]+")*)', document):
        file = ROOT / path
        if not file.is_file():
            faults.append(f"{path}: no such file")
            continue
        there = cases_of(file) if file.suffix == ".cpp" else set()
        for case in re.findall(r'"([^"]+)"', cases):
            named.add(case)
            if case not in there:
                faults.append(f'{path}: no test case "{case}"')
    for row in ROWS:
        if not re.search(rf"^\| {re.escape(row)} \|.*`tests/", document, re.MULTILINE):
            faults.append(f"docs/behaviour.md: row {row} is missing, or names no test")
    for file in sorted((ROOT / "tests").rglob("*_test.cpp")):
        for case in sorted(cases_of(file)):
            if re.match(r"rows? 1\.\d", case) and case not in named:
                faults.append(f'{file.relative_to(ROOT)}: docs/behaviour.md does not name "{case}"')
    for fault in faults:
        print(fault)
    print(f"{len(ROWS)} rows, {len(named)} test cases, {len(faults)} faults")
    return 1 if faults or not named else 0


sys.exit(main())
