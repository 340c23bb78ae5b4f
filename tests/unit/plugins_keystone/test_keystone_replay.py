"""When the queue is replayed and what failures do."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oslo_db import exception as db_exception

from isthmus.plugins.keystone import replay
from isthmus.plugins.keystone.entries import Entry, Kind
from isthmus.plugins.keystone.journal import Journal
from isthmus.plugins.keystone.replay import Outcome, Step, next_step

CUT = db_exception.DBConnectionError(pymysql.err.OperationalError(2003, "refused"))
outcomes = st.lists(st.sampled_from(Outcome))


def steps(sequence: list[Outcome], limit: float) -> list[Step]:
    step, passed = Step(), []
    for outcome in sequence:
        step = next_step(step, outcome, limit=limit)
        passed.append(step)
    return passed


@given(outcomes, st.floats(0.5, 60))
def test_no_pause_is_longer_than_the_limit_or_the_idle_pause(
    sequence: list[Outcome], limit: float
) -> None:
    assert all(0 <= s.pause <= max(limit, replay.IDLE_SECONDS) for s in steps(sequence, limit))


@given(outcomes, st.floats(0.5, 60))
def test_a_new_entry_never_shortens_the_pause_after_a_failure(
    sequence: list[Outcome], limit: float
) -> None:
    for outcome, step in zip(sequence, steps(sequence, limit), strict=True):
        if outcome in (Outcome.UNREACHABLE, Outcome.REFUSED):
            assert not step.wakeable
            assert not step.reachable


@given(outcomes)
def test_success_ends_the_back_off(sequence: list[Outcome]) -> None:
    last = steps([*sequence, Outcome.PROGRESS], 4.0)[-1]
    assert last == Step()


def test_the_pause_doubles_up_to_the_limit() -> None:
    pauses = [step.pause for step in steps([Outcome.UNREACHABLE] * 7, 4.0)]
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


class Sink:
    """A writer that can be cut off and that refuses some entries."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.error: Exception | None = None
        self.refused: set[int] = set()
        self.delivering = threading.Event()
        self.held = threading.Event()
        self.held.set()

    def deliver(self, batch: Sequence[Entry]) -> None:
        self.delivering.set()
        self.held.wait(60)
        if self.error is not None:
            raise self.error
        if self.refused & {entry.sequence for entry in batch}:
            raise db_exception.DBDataError("too long")
        self.got += [entry.sequence for entry in batch]


def replayer(journal: Journal, sink: Sink) -> replay.Replayer:
    """For tests that make the attempts themselves; those that start its thread stop it."""
    return replay.Replayer(journal, deliver=sink.deliver, position=lambda: 0, backoff_limit=1.0)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "queue.sqlite")


@pytest.fixture
def sink() -> Sink:
    return Sink()


def append(journal: Journal, count: int = 1) -> int:
    for _ in range(count):
        last = journal.append(Kind.FAILED_AUTH, now=time.time(), user_id="a")
    return last


def test_an_unreachable_writer_leaves_the_queue_as_it_is(journal: Journal, sink: Sink) -> None:
    append(journal, 3)
    sink.error = CUT
    assert replayer(journal, sink).attempt() is Outcome.UNREACHABLE
    assert len(journal.pending()) == 3


def test_an_entry_that_the_database_refuses_is_set_aside_and_the_rest_goes_on(
    journal: Journal, sink: Sink
) -> None:
    append(journal, 4)
    sink.refused = {2}
    one = replayer(journal, sink)
    while one.attempt() is not Outcome.IDLE:
        pass
    assert sink.got == [1, 3, 4]
    assert journal.backlog().aside == 1


def test_an_unexpected_error_loses_nothing(journal: Journal, sink: Sink) -> None:
    append(journal)
    sink.error = RuntimeError("no such table")
    assert replayer(journal, sink).attempt() is Outcome.REFUSED
    sink.error = None
    assert replayer(journal, sink).attempt() is Outcome.PROGRESS


def test_one_process_replays_at_a_time(journal: Journal, sink: Sink) -> None:
    append(journal)
    sink.held.clear()
    first = threading.Thread(target=replayer(journal, sink).attempt)
    first.start()
    try:
        # It delivers, so it holds the lock.
        assert sink.delivering.wait(30)
        outcome = replayer(journal, Sink()).attempt()
    finally:
        sink.held.set()
        first.join()
    assert outcome is Outcome.ELSEWHERE
    assert sink.got == [1]


def test_the_thread_replays_at_once_and_waiters_learn_of_it(journal: Journal, sink: Sink) -> None:
    one = replayer(journal, sink)
    one.start()
    for _ in range(3):
        sequence = append(journal)
        one.wake()
        assert one.wait(sequence, 5.0)
    one.stop()
    assert sink.got == [1, 2, 3]


def test_nobody_waits_for_a_writer_that_is_known_to_be_away(journal: Journal, sink: Sink) -> None:
    sink.error = CUT
    one = replayer(journal, sink)
    sequence = append(journal)
    one.wake()
    began = time.monotonic()
    assert not one.wait(sequence, 30.0)
    assert not one.wait(sequence, 30.0)
    assert time.monotonic() - began < 10.0
    one.stop()


def test_a_stopped_replayer_attempts_nothing_more(journal: Journal, sink: Sink) -> None:
    one = replayer(journal, sink)
    one.start()
    one.stop()
    append(journal)
    one.wake()
    assert "isthmus-replay" not in {thread.name for thread in threading.enumerate()}
    assert sink.got == []
