"""The report: figures from what was written down, three formats, nothing unescaped."""

from __future__ import annotations

import html.parser
import json

import pytest
from operations_bench import BERT, Bench, asker

from isthmus.operations import reporting, reporting_html
from isthmus.operations.kinds import Kind, Origin
from isthmus.operations.ledger import Part, State, StepRecord
from isthmus.operations.recipes import Note
from isthmus.operations.values import (
    Lock,
    Operation,
    Outcome,
    Person,
    Phase,
    Plan,
    Skip,
    Visit,
)

ANNA = Person(id="a", name="anna")
EVIL = "<script>alert(1)</script>"


def failover(**changes: object) -> Operation:
    visits = ((Phase.PLANNING, 1000.0), (Phase.AWAITING_APPROVAL, 1002.0), (Phase.RUNNING, 1032.0),
              (Phase.AWAITING_COMMIT, 1092.0), (Phase.FINISHED, 1100.0))  # fmt: skip
    fields = {
        "id": "o1", "kind": Kind.FAILOVER, "group_id": "g", "group": "vnf", "site": "lyon",
        "by": ANNA, "origin": Origin.PERSON, "requested_at": 1000.0, "disaster_at": 900.0,
        "phase": Phase.FINISHED, "outcome": Outcome.SUCCEEDED,
        "plan": Plan(made_at=1002.0, steps=(), data_at=870.0, lost_bytes=123456,
                     checkpoint_id="c7", facts={"Mapping": EVIL}),
        "lock": Lock(salt="", hash="", by=BERT, at=1032.0),
        "skips": (Skip(step="ping", reason=EVIL, by=BERT, at=1050.0),),
        "visits": tuple(Visit(phase=phase, at=at) for phase, at in visits),
    }  # fmt: skip
    return Operation(**{**fields, **changes})  # type: ignore[arg-type]


def step(name: str, began: float, ended: float | None, **changes: object) -> StepRecord:
    fields = {"part": Part.RUN, "name": name, "title": f"do {name}", "state": State.DONE,
              "attempts": 1, "began_at": began, "ended_at": ended}  # fmt: skip
    return StepRecord(**{**fields, **changes})  # type: ignore[arg-type]


STEPS = (
    step("restore-1", 1032.0, 1062.0),
    step("restore-2", 1032.0, 1072.0, error=EVIL, attempts=2),
    step(
        "boot",
        1072.0,
        1092.0,
        result={"server": "s-1", "tested": True, "records_bad": 0, "records_verified": 1234},
        notes=(
            Note(what="hook /x", where="db", seconds=1.25),
            Note(what=EVIL, where="db", seconds=2.0, error=EVIL),
        ),
    ),
)


def test_the_figures_are_those_of_the_disaster() -> None:
    found = reporting.figures(failover(), STEPS)
    assert found.rpo_s == 30.0, "from the data to the disaster"
    assert found.rto_s == 192.0, "from the disaster to the last step's end"
    assert (found.plan_s, found.decision_s, found.steps_s) == (2.0, 30.0, 60.0)
    assert found.sum_s == 90.0, "what was done at once saved the difference"
    assert found.lost_bytes == 123456


def test_what_cannot_be_known_is_absent() -> None:
    refused = failover(
        plan=None, visits=(Visit(phase=Phase.PLANNING, at=1000.0),), phase=Phase.PLANNING,
        outcome=None,
    )  # fmt: skip
    found = reporting.figures(refused, ())
    assert (found.rpo_s, found.rto_s, found.steps_s, found.total_s) == (None,) * 4
    assert "None" not in reporting.to_text(reporting.report(refused, (), ()))


def test_without_a_word_about_the_disaster_the_request_counts() -> None:
    found = reporting.figures(failover(disaster_at=None), STEPS)
    assert (found.rpo_s, found.rto_s) == (130.0, 92.0)


def test_the_text_says_what_was_reached_and_who_decided() -> None:
    text = reporting.to_text(reporting.report(failover(), STEPS, ()))
    for words in ("failover of group vnf in lyon: succeeded", "bert", "30.0 s", "3 min 12 s",
                  "123,456 bytes", "do restore-1", "skipped: ping", "hook /x (db): done in 1.2 s",
                  "(db): failed after 2.0 s: ", "records_bad 0, records_verified 1,234"):  # fmt: skip
        assert words in text, words
    assert "s-1" not in text
    assert "tested" not in text


def test_the_json_holds_everything_for_programs() -> None:
    found = json.loads(reporting.to_json(reporting.report(failover(), STEPS, ())))
    assert found["figures"]["rpo_s"] == 30.0
    assert found["requested_at"] == "1970-01-01T00:16:40.000000Z"
    assert found["results"]["boot"]["records_verified"] == 1234
    assert "hash" not in json.dumps(found)


def test_the_page_needs_nothing_and_runs_nothing() -> None:
    page = reporting_html.to_html(reporting.report(failover(), STEPS, ()))
    tags: list[str] = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            assert not {name for name, _ in attrs} & {"src", "href", "onload"}

    Reader().feed(page)
    assert "script" not in tags
    assert "link" not in tags
    assert tags.count("tr") >= 5
    assert "records_bad 0, records_verified 1,234" in page


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 01 s"), (7384, "2 h 03 min"), (None, "-")],
)
def test_durations_are_in_the_words_of_people(seconds: float | None, words: str) -> None:
    assert reporting.duration(seconds) == words


def test_what_a_rolled_back_operation_left_behind_is_told(bench: Bench) -> None:
    operation = bench.go(bench.approved(Kind.FAILOVER, "a"))
    bench.desk.roll_back(asker(BERT), operation.id)
    (bench.yard / "stuck").touch()
    operation = bench.go(operation)
    assert operation.phase is Phase.PAUSED
    name = operation.troubles[0].step
    bench.desk.skip(asker(BERT), operation.id, step=name, reason="the yard is sold")
    operation = bench.go(operation)
    found = reporting.report(
        operation, bench.desk.steps(operation.id), bench.desk.things(operation.id)
    )
    assert found.outcome is Outcome.ROLLED_BACK
    [left] = found.left
    assert left.startswith("brick isthmus-")
