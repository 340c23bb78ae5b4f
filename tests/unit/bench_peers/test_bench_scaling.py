"""What the program reads from the engine's log, and how it waits."""

import pytest
from bench import following
from bench.following import follow, portions

LOG = """2026-02-22T03:00:00.500Z INFO keeping network wide (VNI 4001)
2026-02-22T03:00:02.000Z INFO network wide: 50 actions in 1.25 s
2026-02-22T03:00:03.000Z INFO network wider: 7 actions in 0.25 s
2026-02-22T03:00:04.000Z WARNING network wide: 49 actions in 1.75 s; not done: CreatePort: clash
"""


def test_portions_are_those_of_one_network():
    found = portions(LOG, "wide")
    assert [(each.actions, each.seconds) for each in found] == [(50, 1.25), (49, 1.75)]
    assert found[1].ended - found[0].ended == pytest.approx(2.0)


def test_a_wait_ends_when_nothing_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following.time, "sleep", lambda _: None)
    missing = iter(["one", "two", None])
    assert follow(lambda: next(missing), budget=60.0, what="it")


def test_a_wait_says_what_was_missing_when_its_time_is_over(capsys: pytest.CaptureFixture[str]):
    assert not follow(lambda: "3 of 4", budget=0.0, what="it is late")
    assert "it is late: after 0 s: 3 of 4" in capsys.readouterr().err
