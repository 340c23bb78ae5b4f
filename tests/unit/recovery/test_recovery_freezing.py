"""The promises of a freeze round, over crashes, lost answers, slow storage and dead-men that fire."""

import dataclasses

import pytest
from freezing_world import DEADLINE, START, World
from hypothesis import given, settings
from hypothesis import strategies as st
from recovery_values import a_group, groups

from isthmus.recovery.declarations import Group
from isthmus.recovery.freezing import machine
from isthmus.recovery.freezing.ledger import (
    EntryState,
    FreezeLedger,
    Instant,
    RoundPhase,
    Whereabouts,
    planned,
)
from isthmus.recovery.freezing.machine import Guest, Observations, Report


def a_ledger(group: Group, hosts: int = 2) -> FreezeLedger:
    whereabouts = {
        member.server_id: Whereabouts(host=f"host-{n % hosts}", domain=f"instance-{n}")
        for n, member in enumerate(group.members)
    }
    return planned(group, round_id="round", epoch=1, deadline_s=DEADLINE, whereabouts=whereabouts)


@given(st.integers(0, 2**32), groups())
@settings(max_examples=500)
def test_whatever_happens_nobody_stays_frozen_and_sound_rounds_are_sound(
    seed: int, group: Group
) -> None:
    world = World(seed, a_ledger(group))
    ledger = world.run(a_ledger(group))
    assert ledger.phase is RoundPhase.DONE
    assert not any(entry.held for entry in ledger.entries)
    if ledger.sound:
        assert world.frozen_in_snapshots
        assert not any(guest.fired for guest in world.guests.values() if guest.frozen)
        assert ledger.frozen_at is not None
        assert ledger.window_s is not None
        assert ledger.window_s >= max(ledger.windows_s.values())
        assert all(seconds >= 0 for seconds in ledger.stages_s.values())
        assert sum(ledger.stages_s.values()) == pytest.approx(ledger.window_s)
    for entry in ledger.entries:
        if entry.verified:
            assert not world.guests[entry.server_id].frozen
    world.time += DEADLINE
    world.pass_time()
    assert not any(guest.frozen for guest in world.guests.values())


@given(st.integers(0, 2**32), groups())
@settings(max_examples=50)
def test_without_trouble_every_round_is_sound(seed: int, group: Group) -> None:
    world = World(seed, a_ledger(group), trouble=False)
    ledger = world.run(a_ledger(group))
    # A long group of slow guests may run out of its time; it must say so then.
    assert ledger.sound or "no time left" in (ledger.void_reason or "")
    assert not ledger.unverified


def at(seconds: float, *, boot: str = "boot") -> Instant:
    wall = START.timestamp() + seconds
    return Instant(wall=START.fromtimestamp(wall, START.tzinfo), monotonic=seconds, boot=boot)


ALL = [each.server_id for each in a_group().members]


def told(report: Report, servers: list[str] = ALL) -> Observations:
    return Observations(reports=dict.fromkeys(servers, report))


ARMED = told(Report(armed=True, guest=Guest.THAWED))


def frozen_ledger() -> FreezeLedger:
    """All guests of the group are frozen after 0.3 s, and the snapshots were asked for."""
    ledger = machine.decide(a_ledger(a_group()), None, at(0)).ledger
    ledger = machine.decide(ledger, ARMED, at(0.1)).ledger
    for n, server in enumerate(ALL):
        seen = told(Report(armed=True, guest=Guest.FROZEN), [server])
        ledger = machine.decide(ledger, seen, at(0.2 + n * 0.05)).ledger
    assert ledger.phase is RoundPhase.SNAPSHOTTING
    return ledger


def test_the_ledger_is_on_disk_before_arming_and_again_before_the_first_freeze() -> None:
    first = machine.decide(a_ledger(a_group()), None, at(0))
    assert first.save_first
    assert all(isinstance(each, machine.Arm) for each in first.actions)
    second = machine.decide(first.ledger, ARMED, at(0.1))
    assert second.save_first
    frozen = [entry.name for each in second.actions for entry in each.entries]  # type: ignore[union-attr]
    assert frozen == ["client"]
    third = machine.decide(
        second.ledger, told(Report(armed=True, guest=Guest.FROZEN), ALL[:1]), at(0.2)
    )
    assert not third.save_first, "nothing is written while guests are frozen"


def test_a_guest_that_was_frozen_before_the_round_voids_it() -> None:
    ledger = machine.decide(a_ledger(a_group()), None, at(0)).ledger
    decision = machine.decide(ledger, told(Report(armed=True, guest=Guest.FROZEN)), at(0.1))
    assert "before the round" in (decision.ledger.void_reason or "")
    assert all(isinstance(each, machine.Disarm) for each in decision.actions)


def test_a_dead_man_that_fired_voids_the_round_although_all_snapshots_are_there() -> None:
    ledger = machine.decide(frozen_ledger(), Observations(snapshots=True), at(1)).ledger
    seen = told(Report(armed=True, guest=Guest.THAWED, fired=True), [ALL[2]])
    ledger = machine.decide(ledger, seen, at(1.1)).ledger
    assert ledger.void_reason == "the dead-man of database fired"
    assert {each.name: each.state for each in ledger.entries}["database"] is EntryState.VOID


def test_snapshots_that_end_after_the_deadline_void_the_round() -> None:
    decision = machine.decide(frozen_ledger(), Observations(snapshots=True), at(DEADLINE))
    assert "deadline passed" in (decision.ledger.void_reason or "")


def test_a_guest_that_died_in_the_window_voids_the_round_and_is_not_waited_for() -> None:
    ledger = machine.decide(frozen_ledger(), Observations(snapshots=True), at(1)).ledger
    seen = told(Report(armed=True, guest=Guest.GONE), [ALL[2]])
    decision = machine.decide(ledger, seen, at(1.1))
    assert "not frozen any more" in (decision.ledger.void_reason or "")
    assert {each.name: each.held for each in decision.ledger.entries}["database"] is False


@pytest.mark.parametrize("was_frozen", [False, None])
def test_a_guest_that_nobody_can_say_was_frozen_until_the_thaw_voids_the_round(
    was_frozen: bool | None,
) -> None:
    ledger = machine.decide(frozen_ledger(), Observations(snapshots=True), at(1)).ledger
    seen = told(Report(armed=True, guest=Guest.THAWED, was_frozen=was_frozen), [ALL[2]])
    assert "not frozen any more" in (machine.decide(ledger, seen, at(1.1)).ledger.void_reason or "")


def test_a_guest_that_says_only_at_the_second_try_that_it_is_thawed_leaves_the_round_sound() -> (
    None
):
    ledger = machine.decide(frozen_ledger(), Observations(snapshots=True), at(1)).ledger
    for was_frozen, guest in ((True, Guest.UNKNOWN), (False, Guest.THAWED)):
        seen = told(Report(armed=True, guest=guest, was_frozen=was_frozen), [ALL[2]])
        ledger = machine.decide(ledger, seen, at(1.1)).ledger
    assert ledger.void_reason is None


def test_thaw_goes_from_the_database_to_the_client() -> None:
    decision = machine.decide(frozen_ledger(), Observations(snapshots=True), at(1))
    order = []
    for n in range(3):
        (thaw,) = decision.actions
        assert isinstance(thaw, machine.Thaw)
        order += [entry.name for entry in thaw.entries]
        seen = told(
            Report(armed=True, guest=Guest.THAWED, was_frozen=True),
            [entry.server_id for entry in thaw.entries],
        )
        decision = machine.decide(decision.ledger, seen, at(1.1 + n / 10))
    assert order == ["database", "middle", "client"]
    seen = Observations(disarmed=frozenset(decision.ledger.hosts))
    ledger = machine.decide(decision.ledger, seen, at(1.5)).ledger
    assert ledger.sound
    assert ledger.window_s == 1.3 - 0.1
    assert list(ledger.stages_s) == ["freezing", "snapshots", "thawing"]
    assert ledger.stages_s["thawing"] == pytest.approx(0.3)
    assert FreezeLedger.from_document(ledger.to_document()) == ledger


def test_a_silent_host_does_not_hold_back_the_others_and_is_left_to_its_dead_man_in_the_end() -> (
    None
):
    decision = machine.decide(frozen_ledger(), Observations(snapshots=True), at(1))
    silent = Observations(silent={"host-0": "no answer within 2 s"})
    decision = machine.decide(decision.ledger, silent, at(3))
    names = {entry.name for each in decision.actions for entry in each.entries}  # type: ignore[union-attr]
    assert names == {"database", "middle"}
    seen = dataclasses.replace(
        told(Report(armed=True, guest=Guest.THAWED, was_frozen=True), [ALL[1]]),
        silent=silent.silent,
    )
    decision = machine.decide(decision.ledger, seen, at(5))
    decision = machine.decide(decision.ledger, silent, at(DEADLINE + machine.GRACE_S - 0.1))
    assert all(isinstance(each, machine.Thaw) for each in decision.actions)
    decision = machine.decide(decision.ledger, silent, at(DEADLINE + machine.GRACE_S + 0.1))
    assert {entry.name for entry in decision.ledger.unverified} == {"client", "database"}
    assert not decision.ledger.sound


def test_a_controller_that_comes_back_thaws_first_and_never_takes_snapshots() -> None:
    ledger = machine.resumed(frozen_ledger())
    decision = machine.decide(ledger, None, at(2, boot="another boot"))
    assert [entry.name for each in decision.actions for entry in each.entries] == ["database"]  # type: ignore[union-attr]
    assert "restarted" in (decision.ledger.void_reason or "")


def test_a_controller_that_comes_back_late_still_asks_every_guest_once() -> None:
    ledger = machine.resumed(frozen_ledger())
    decision = machine.decide(ledger, None, at(3600))
    asked = []
    while not decision.done:
        asked += [
            entry.name
            for each in decision.actions
            if isinstance(each, machine.Thaw)
            for entry in each.entries
        ]
        seen = Observations(
            reports={
                entry.server_id: Report(armed=False, guest=Guest.THAWED, was_frozen=False)
                for each in decision.actions
                if isinstance(each, machine.Thaw)
                for entry in each.entries
            },
            silent={
                each.host: "?" for each in decision.actions if isinstance(each, machine.Disarm)
            },
        )
        decision = machine.decide(decision.ledger, seen, at(3601))
    assert asked == ["database", "middle", "client"]
    assert not decision.ledger.unverified
