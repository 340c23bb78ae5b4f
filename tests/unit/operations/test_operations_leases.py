"""Leases: over random claims, renewals, clocks and sleepers only one may act, and never an old one."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from isthmus import errors
from isthmus.operations import holding, leases
from isthmus.operations.leases import Claim, FencedError, Lease
from isthmus.store import databases

SOMETHING = sa.text("UPDATE operations SET revision = revision")
ENGINES = ("paris-1", "paris-2", "paris-3")


class Leases(RuleBasedStateMachine):
    """Three engines, one row. An engine may sleep for as long as it likes between any two moves."""

    def __init__(self) -> None:
        super().__init__()
        self.row: Lease | None = None
        self.now = 0.0
        self.thinks: dict[str, Lease] = {}
        self.epochs: list[int] = []
        self.effects: list[int] = []

    @rule(engine=st.sampled_from(ENGINES), above=st.integers(0, 3))
    def claim(self, engine: str, above: int) -> None:
        wanted = leases.taken(
            self.row,
            Claim(subject="g", owner=engine, operation_id="o", now=self.now, lasts=10, above=above),
        )
        if wanted is None:
            assert self.row is not None
            assert self.now < self.row.expires_at, "a free lease is never refused"
            return
        assert wanted.epoch > max([*self.epochs, above])
        self.row = self.thinks[engine] = wanted
        self.epochs.append(wanted.epoch)

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.thinks)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        engine = data.draw(st.sampled_from(sorted(self.thinks)))
        longer = leases.renewed(self.row, self.thinks[engine], self.now, 10)
        if longer is not None:
            self.row = self.thinks[engine] = longer

    @precondition(lambda self: self.thinks)
    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        engine = data.draw(st.sampled_from(sorted(self.thinks)))
        if leases.stands(self.row, self.thinks[engine]):
            self.effects.append(self.thinks[engine].epoch)

    @precondition(lambda self: self.thinks)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        engine = data.draw(st.sampled_from(sorted(self.thinks)))
        if leases.stands(self.row, self.thinks[engine]):
            self.row = leases.released(self.thinks[engine])

    @invariant()
    def at_most_one_may_act(self) -> None:
        able = [each for each in self.thinks.values() if leases.stands(self.row, each)]
        assert len({each.epoch for each in able}) <= 1
        assert len(able) <= 1

    @invariant()
    def effects_never_come_from_an_older_epoch(self) -> None:
        assert self.effects == sorted(self.effects)
        assert self.epochs == sorted(set(self.epochs))


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=60, stateful_step_count=25)


def _take(database: databases.Database, owner: str, **options: float) -> holding.Held | None:
    above = int(options.pop("above", 0))
    return holding.take(database, "group/g", owner=owner, operation_id="o", above=above, **options)


def test_a_lease_is_had_by_one_until_it_is_given_back(database: databases.Database) -> None:
    first = _take(database, "a")
    assert first is not None
    assert _take(database, "b") is None
    first.release()
    second = _take(database, "b")
    assert second is not None
    assert second.epoch == first.epoch + 1
    with pytest.raises(FencedError):
        first.guard()
    assert second.guard() == second.epoch


def test_an_epoch_that_was_seen_elsewhere_is_exceeded(database: databases.Database) -> None:
    held = _take(database, "a", above=41)
    assert held is not None
    assert held.epoch == 42


def test_what_expired_is_taken_over_and_the_sleeper_writes_nothing(
    database: databases.Database,
) -> None:
    sleeper = _take(database, "a", lasts=0.0)
    assert sleeper is not None
    assert _take(database, "b") is not None
    with pytest.raises(FencedError):
        sleeper.database.write(lambda session: session.execute(SOMETHING))
    with pytest.raises(FencedError):
        sleeper.guard()


def test_a_lease_that_expired_and_that_nobody_took_is_renewed(
    database: databases.Database,
) -> None:
    held = _take(database, "a", lasts=0.0)
    assert held is not None
    held.guard()
    held.database.write(lambda session: session.execute(SOMETHING))


def test_a_lease_that_is_kept_outlasts_its_seconds(database: databases.Database) -> None:
    held = _take(database, "a", lasts=0.3)
    assert held is not None
    with held.kept():
        deadline = database.now() + 0.9
        while database.now() < deadline:
            assert _take(database, "b") is None
    assert _take(database, "b") is not None, "it is given back at the end"


def test_of_many_who_claim_at_once_one_wins(database: databases.Database) -> None:
    gate, won = threading.Barrier(6), []

    def claim(name: str) -> None:
        gate.wait()
        held = _take(database, name)
        if held is not None:
            won.append((name, held.epoch))

    threads = [threading.Thread(target=claim, args=(f"e{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_a_database_that_is_gone_is_no_lost_lease(tmp_path: object) -> None:
    gone = databases.connect(f"sqlite:///{tmp_path}/none/gone.db")
    with pytest.raises(errors.UnavailableError, match="recovery database"):
        holding.take(gone, "group/g", owner="a", operation_id="o")
