"""What probes measured, as pairs and as a matrix of sites."""

from __future__ import annotations

import json
import time

import tracing_facts as ground
from hypothesis import given
from hypothesis import strategies as st

from isthmus.network.tracing import documents, matrix, probes, verdicts
from isthmus.network.tracing.matrix import Mark, Probe

PROBES = tuple(
    Probe(site=site, host=host, port_id=f"{site}-{host}", ip=f"10.7.0.{n}")
    for n, (site, host) in enumerate(
        [("paris", "compute1"), ("paris", "compute2"), ("lyon", "compute1")], start=1
    )
)
EVERY = [(a.port_id, b.port_id) for a in PROBES for b in PROBES if a is not b]
GOOD = {
    "sent": 5,
    "received": 5,
    "min_ms": 0.5,
    "avg_ms": 0.7,
    "max_ms": 1.5,
    "mtu": None,
    "error": None,
}


def test_everybody_reaches_everybody() -> None:
    passed = dict.fromkeys(EVERY, True)
    found = matrix.pairs(PROBES, dict.fromkeys(EVERY, GOOD), passed, dict.fromkeys(EVERY, False))
    report = documents.report("backbone", 1450, found, [], [])
    assert report["reached"] is True
    assert len(report["pairs"]) == 6
    assert [(c["source"], c["target"], c["pairs"], c["reached"]) for c in report["matrix"]] == [
        ("lyon", "paris", 2, 2),
        ("paris", "lyon", 2, 2),
        ("paris", "paris", 2, 2),
    ]
    assert report["matrix"][0]["median_ms"] == 0.7
    json.dumps(report)


def test_a_pair_is_marked_by_what_it_lacks() -> None:
    key = EVERY[0]
    lossy = {**GOOD, "received": 3}
    cases = [
        ({}, {}, Mark.UNREACHED),
        ({key: {**GOOD, "received": 0}}, {}, Mark.UNREACHED),
        ({key: GOOD}, {key: False}, Mark.NARROW),
        ({key: lossy}, {key: True}, Mark.LOSSY),
        ({key: GOOD}, {}, Mark.REACHED),
    ]
    for measured, whole, mark in cases:
        assert matrix.pairs(PROBES, measured, whole, {})[0].mark is mark


def test_a_host_without_a_probe_makes_the_whole_fail() -> None:
    found = matrix.pairs(PROBES, dict.fromkeys(EVERY, GOOD), dict.fromkeys(EVERY, True), {})
    assert documents.report("b", 1450, found, ["lyon/compute2: away"], [])["reached"] is False
    assert documents.report("b", 1450, (), [], [])["reached"] is False


@given(st.sets(st.sampled_from(EVERY), min_size=1))
def test_one_pair_that_fails_is_never_averaged_away(failed: set[tuple[str, str]]) -> None:
    measured = {key: GOOD for key in EVERY if key not in failed}
    found = matrix.pairs(PROBES, measured, dict.fromkeys(EVERY, True), {})
    report = documents.report("b", 1450, found, [], [])
    assert report["reached"] is False
    assert sum(c["pairs"] - c["reached"] for c in report["matrix"]) == len(failed)


def test_a_probe_is_over_when_its_description_says_so() -> None:
    now = time.time()
    assert probes.expired(f"probe; until={now - 10:.0f}", now)
    assert not probes.expired(f"probe; until={now + 10:.0f}", now)
    assert not probes.expired("made by hand", now)


def test_a_trace_is_a_document_that_json_knows() -> None:
    facts = ground.with_remote(ground.healthy(), "paris", gone=True)
    document = documents.trace(facts, verdicts.trace(facts))
    assert document["root"]["code"] == "remote-port-missing"
    assert document["outcome"] == "ERROR"
    assert {"place", "part", "text", "outcome", "fault"} == set(document["there"][0])
    json.dumps(document)
