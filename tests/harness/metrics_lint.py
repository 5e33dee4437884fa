#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Reads Prometheus' text format strictly: each metric has HELP and TYPE before its samples, all of its samples together,
no sample twice, counters end in _total and don't fall below zero, histograms have cumulative buckets up to +Inf that
agree with _count, and the agent's own names have its prefixes."""
import re
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf'({NAME})(?:\{{((?:{NAME}="(?:[^"\\]|\\.)*",?)*)\}})? (\S+)$')
LABEL = re.compile(rf'({NAME})="((?:[^"\\]|\\.)*)"')
PREFIXES = ("svclb_", "kubeproxy_", "process_", "rest_client_")


def family_of(name, types):
    for suffix in ("_bucket", "_sum", "_count"):
        if name.endswith(suffix) and types.get(name[: -len(suffix)]) == "histogram":
            return name[: -len(suffix)]
    return name


def read(lines):
    types, helps, order, samples = {}, set(), [], {}
    for line in lines:
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helps, f"{name}: HELP twice"
            helps.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name in helps, f"{name}: no HELP before TYPE"
            assert kind in ("counter", "gauge", "histogram"), line
            types[name] = kind
            order.append(name)
        else:
            match = SAMPLE.match(line)
            assert match, f"no sample: {line}"
            name, labels, value = match[1], tuple(LABEL.findall(match[2] or "")), float(match[3])
            family = family_of(name, types)
            assert order and order[-1] == family, f"{name}: apart from its TYPE"
            assert (name, labels) not in samples, f"{line}: twice"
            samples[name, labels] = value
    return types, samples


def check_histogram(name, samples):
    series = {}
    for (sample, labels), value in samples.items():
        if sample == name + "_bucket":
            rest = tuple(label for label in labels if label[0] != "le")
            series.setdefault(rest, []).append((float(dict(labels)["le"]), value))
    assert series, f"{name}: no buckets"
    for labels, buckets in series.items():
        assert buckets == sorted(buckets), f"{name}{labels}: buckets are not in order"
        counts = [count for _, count in buckets]
        assert counts == sorted(counts), f"{name}{labels}: buckets are not cumulative"
        assert buckets[-1][0] == float("inf"), f"{name}{labels}: no +Inf"
        assert counts[-1] == samples[name + "_count", labels], f"{name}{labels}: _count differs from +Inf"
        assert (name + "_sum", labels) in samples, f"{name}{labels}: no _sum"


def main(path):
    with open(path, encoding="utf-8") as file:
        types, samples = read(file.read().splitlines())
    assert len(types) > 20, "hardly anything"
    for name, kind in types.items():
        assert name.startswith(PREFIXES), f"{name}: foreign prefix"
        if kind == "counter":
            assert name.endswith("_total"), f"{name}: a counter is a _total"
            assert all(value >= 0 for (sample, _), value in samples.items() if sample == name), f"{name}: below zero"
        if kind == "histogram":
            check_histogram(name, samples)
        else:
            assert any(sample == name for sample, _ in samples), f"{name}: no sample"
    print(f"{len(types)} metrics, {len(samples)} samples")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except AssertionError as error:
        sys.exit(str(error))
