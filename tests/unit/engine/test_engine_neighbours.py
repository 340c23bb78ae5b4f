"""Who is heard, and when a neighbour that is heard again makes everything be compared."""

from __future__ import annotations

from typing import Any

import pytest

from isthmus.engine import calling, neighbours
from isthmus.engine.neighbours import Neighbours


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Peers:
    names = ("lyon", "madrid")

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.started_at = {"lyon": 1.0, "madrid": 1.0}

    def get(self, name: str, path: str, timeout: float) -> Any:
        if name in self.silent:
            raise calling.CallError("connection refused", where=f"the engine of {name}")
        return {"site": name, "started_at": self.started_at[name], "networks": {}}


class Stand:
    """Two neighbours of paris, asked when the test says so."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.peers = clock, Peers()
        self.changed: list[str] = []
        self.all = Neighbours("paris", self.peers, self.changed.append)  # type: ignore[arg-type]

    def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.now += 1.0
            for thread in self.all.threads:
                thread.tick()

    @property
    def heard(self) -> frozenset[str]:
        return self.all.hearing().heard


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    clock = Clock()
    monkeypatch.setattr(neighbours, "time", clock)
    return Stand(clock)


def test_nobody_is_heard_before_they_answered(stand: Stand) -> None:
    assert stand.heard == {"paris"}
    assert stand.all.hearing().engines == {"paris", "lyon", "madrid"}
    stand.pass_seconds(1)
    assert stand.heard == {"paris", "lyon", "madrid"}


def test_one_answer_that_is_missing_is_no_silence(stand: Stand) -> None:
    stand.pass_seconds(1)
    stand.peers.silent = {"lyon"}
    stand.pass_seconds(4)
    assert "lyon" in stand.heard
    stand.pass_seconds(5)
    assert "lyon" not in stand.heard
    assert "connection refused" in str(stand.all.heard["lyon"].error)


def test_an_engine_that_falls_silent_or_is_heard_again_makes_everything_be_compared_once(
    stand: Stand,
) -> None:
    stand.pass_seconds(3)
    stand.changed.clear()
    stand.peers.silent = {"lyon"}
    stand.pass_seconds(20)
    assert stand.changed == ["lyon"], "that it is silent is to be told"
    stand.peers.silent = set()
    stand.pass_seconds(5)
    assert stand.changed == ["lyon", "lyon"]


def test_an_engine_that_was_restarted_between_two_answers_counts_as_returned(
    stand: Stand,
) -> None:
    stand.pass_seconds(3)
    stand.changed.clear()
    stand.peers.started_at["madrid"] = 2.0
    stand.pass_seconds(2)
    assert stand.changed == ["madrid"]
