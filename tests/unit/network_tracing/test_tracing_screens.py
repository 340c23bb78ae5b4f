"""What a person sees, letter by letter."""

from __future__ import annotations

import json
from typing import Any

import test_tracing_matrix as measured
import tracing_facts as ground

from isthmus.cli import network_trace_screens as screens
from isthmus.network.tracing import documents, matrix, verdicts
from isthmus.network.tracing.facts import Facts


def traced(facts: Facts) -> dict[str, Any]:
    """As it comes over the wire."""
    return dict(json.loads(json.dumps(documents.trace(facts, verdicts.trace(facts)))))


def verified(**changes: Any) -> dict[str, Any]:
    good = dict.fromkeys(measured.EVERY, measured.GOOD)
    found = matrix.pairs(measured.PROBES, {**good, **changes.pop("measured", {})}, {}, {})
    report = documents.report("backbone", 1450, found, changes.pop("problems", []), [])
    return {**json.loads(json.dumps(report)), "left": [], "seconds": 12.0, **changes}


def test_a_good_trace_begins_with_the_verdict_and_shows_every_hop() -> None:
    text = screens.trace(traced(ground.healthy()))
    assert text.splitlines()[0] == "OK web (paris) reaches db (lyon) with ICMP"
    assert (
        "backbone, VNI 4001, MTU 1450, ICMP: from web 10.7.0.10 (paris/compute1) "
        "to db 10.7.0.130 (lyon/compute1)" in text
    )
    assert "paris/compute1  FDB          ok  fa:16:3e:02:00:0a to 10.99.2.31 with VNI 4001" in text
    assert "10.99.1.31 to 10.99.2.31: reached, 0.6 ms, 1500 bytes pass" in text
    assert "10.99.2.31 to 10.99.1.31: reached, 0.6 ms, 1500 bytes pass" in text


def test_a_fault_comes_with_its_cause_and_remedy_below_the_verdict() -> None:
    lines = screens.trace(traced(ground.with_remote(ground.healthy(), "paris", gone=True))).split(
        "\n"
    )
    assert lines[0] == (
        "ERROR web (paris) does not reach db (lyon): db (lyon) has no remote port in paris"
    )
    assert lines[2] == "cause  the engine there has not made it, or somebody deleted it"
    assert lines[3] == "try    isthmus network sync backbone"


def test_colours_only_add() -> None:
    found = traced(ground.with_remote(ground.healthy(), "paris", gone=True))
    coloured = screens.trace(found, colour=True)
    for sequence in ("\033[31m", "\033[0m"):
        coloured = coloured.replace(sequence, "")
    assert coloured == screens.trace(found)


def test_a_verification_shows_the_matrix_of_sites() -> None:
    assert screens.verification(verified()) == (
        "OK backbone: 6 of 6 pairs of 3 probes reach each other with packets of 1450 bytes (12 s)\n"
        "\n"
        "milliseconds, min / median / max\n"
        "FROM / TO  lyon             paris\n"
        "lyon       -                0.5 / 0.7 / 1.5\n"
        "paris      0.5 / 0.7 / 1.5  0.5 / 0.7 / 1.5\n"
    )


def test_pairs_that_fail_are_listed() -> None:
    failed = {("paris-compute1", "lyon-compute1"): {"sent": 5, "received": 0}}
    text = screens.verification(verified(measured=failed))
    assert text.startswith("ERROR backbone: 5 of 6 pairs")
    assert "paris/compute1  lyon/compute1  unreached  0/5" in text
    assert "(1 of 2 fail)" in text


def test_what_could_not_be_probed_or_removed_is_said() -> None:
    text = screens.verification(verified(problems=["lyon/compute2: away"], left=["paris: p1"]))
    assert "ERROR lyon/compute2: away" in text
    assert "WARN not removed yet: paris: p1" in text


def test_rows_for_programs_have_one_cell_for_each_column() -> None:
    for row in screens.trace_rows(traced(ground.healthy())):
        assert len(row) == len(screens.TRACE_COLUMNS)
    for row in screens.pair_rows(verified()):
        assert len(row) == len(screens.PAIR_COLUMNS)
