"""Turns of steps: never too many at once, those planned first before the others, and nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.operations.turns import DEFAULT, Turns

# Threads that only wait for each other: seconds are for a machine that is busy with other things.
DEADLINE = 20.0


class Enough(Exception):
    """A step was told to wait no longer."""


def never() -> None:
    """Wait on."""


class Steps:
    """Steps of one action, each in a thread; they go in when it is their turn and out when they are let."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.inside: list[int] = []
        self.most = 0
        self._changed = threading.Condition()
        self._let = 0
        self._threads: list[threading.Thread] = []

    def add(self, place: int) -> None:
        thread = threading.Thread(target=self._run, args=(place,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, place: int) -> None:
        with self.turns.turn("restore", place, checked=never), self._changed:
            self.inside.append(place)
            self.most = max(self.most, len(self.inside) - self._let)
            self._changed.notify_all()
            mine = len(self.inside)
            assert self._changed.wait_for(lambda: self._let >= mine, DEADLINE)

    def entered(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.inside) >= count, DEADLINE)

    def let(self, count: int) -> None:
        """Let the first `count` that came in go out."""
        with self._changed:
            self._let = count
            self._changed.notify_all()

    def waiting(self, count: int) -> None:
        """Wait until so many wait for their turn."""
        with self.turns._changed:
            assert self.turns._changed.wait_for(
                lambda: len(self.turns._waiting["restore"]) == count, DEADLINE
            )

    def ended(self) -> None:
        for thread in self._threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


@given(st.permutations(range(1, 7)), st.integers(1, 3))
@settings(max_examples=12, deadline=None)
def test_those_planned_first_come_first_and_never_too_many(
    places: Sequence[int], slots: int
) -> None:
    steps = Steps(Turns({"restore": slots}))
    for first in range(slots):
        steps.add(-slots + first)
        steps.entered(first + 1)
    for place in places:
        steps.add(place)
    steps.waiting(len(places))
    for gone in range(1, len(places) + 1):
        steps.let(gone)
        steps.entered(slots + gone)
    steps.let(slots + len(places))
    steps.ended()
    assert steps.inside[slots:] == sorted(places)
    assert steps.most == slots


def test_an_action_that_nobody_limits_has_its_default() -> None:
    turns = Turns({"restore": 1})
    held = [turns.turn("boot", place, checked=never) for place in range(DEFAULT)]
    for each in held:
        each.__enter__()
    with pytest.raises(Enough), turns.turn("boot", 0, checked=_enough):
        raise AssertionError("one too many")
    for each in held:
        each.__exit__(None, None, None)


def _enough() -> None:
    raise Enough


def test_who_waits_no_longer_holds_nobody_back() -> None:
    turns = Turns({"restore": 1})
    with (
        turns.turn("restore", 5, checked=never),
        pytest.raises(Enough),
        turns.turn("restore", 1, checked=_enough),
    ):
        raise AssertionError("it is not its turn")
    with turns.turn("restore", 9, checked=never):
        pass


def test_a_step_that_fails_gives_its_turn_back() -> None:
    turns = Turns({"restore": 1})
    with pytest.raises(ValueError, match="no"), turns.turn("restore", 0, checked=never):
        raise ValueError("no")
    with turns.turn("restore", 0, checked=never):
        pass
