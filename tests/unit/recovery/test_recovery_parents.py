"""No increment stands on anything but the whole chain that we proved, whatever Cinder has in its list."""

import datetime
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recovery_values import a_checkpoint, a_group, an_id, backups_of, definitions_of

from isthmus.recovery.backups import parents, retention
from isthmus.recovery.backups.parents import Choice, Existing, ParentError, Wanted
from isthmus.recovery.checkpoints import Checkpoint, Outcome, Phase

T0 = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
NEVER = datetime.datetime(1, 1, 1, 1, 1, 1, tzinfo=datetime.UTC)


def at(seconds: int) -> datetime.datetime:
    return T0 + datetime.timedelta(seconds=seconds)


def cinders_choice(wanted: Wanted, existing: list[Existing]) -> Existing | None:
    """As cinder.backup.api.API.create of release 29 chooses the parent of an incremental backup."""
    if not existing:
        return None
    latest = max(
        existing,
        key=lambda each: (
            each.data_at
            if each.status == "available" and each.data_at and each.data_at < wanted.snapshot_at
            else NEVER
        ),
    )
    return latest if latest.status == "available" else None


STATUS = st.sampled_from(["available", "available", "available", "error", "error_restoring"])


@st.composite
def histories(
    draw: st.DrawFn,
) -> tuple[Wanted, list[Existing], dict[str, tuple[str, ...]]]:
    """A volume's backups as anything may have left them, and the chains that we know of."""
    count = draw(st.integers(0, 7))
    existing = [
        Existing(
            id=f"b{n}",
            status=draw(STATUS),
            data_at=at(draw(st.integers(0, 12))),
            size_gib=draw(st.sampled_from([1, 1, 1, 2])),
            container=draw(st.sampled_from(["ours", "ours", "theirs"])),
        )
        for n in range(count)
    ]
    chains: dict[str, tuple[str, ...]] = {}
    for n in range(count):
        base = draw(st.sampled_from([(), *chains.values()]))
        if draw(st.booleans()):
            chains[f"b{n}"] = (*base, f"b{n}")
    gone = draw(st.sets(st.sampled_from([each.id for each in existing]))) if existing else set()
    wanted = Wanted(
        volume_id="v",
        size_gib=1,
        snapshot_at=at(draw(st.integers(0, 12))),
        full_every=draw(st.integers(1, 5)),
        container=draw(st.sampled_from([None, "ours"])),
    )
    return wanted, [each for each in existing if each.id not in gone], chains


@given(histories(), st.randoms())
def test_whenever_an_increment_is_chosen_cinder_makes_the_same_choice_from_a_whole_chain(
    history: tuple[Wanted, list[Existing], dict[str, tuple[str, ...]]], chance: random.Random
) -> None:
    wanted, existing, chains = history
    choice = parents.choose(wanted, existing, chains)
    assert choice.reason
    if choice.parent is None:
        return
    listed = list(existing)
    chance.shuffle(listed)
    theirs = cinders_choice(wanted, listed)
    assert theirs is not None
    assert theirs.id == choice.parent
    assert theirs.data_at is not None
    assert theirs.data_at < wanted.snapshot_at
    by_id = {each.id: each for each in existing}
    assert choice.chain[-1] == choice.parent
    assert len(choice.chain) < wanted.full_every
    for part in choice.chain:
        assert by_id[part].status == "available"
        assert by_id[part].size_gib == wanted.size_gib
        assert wanted.container in (None, by_id[part].container)


def some_wanted(**changes: object) -> Wanted:
    values = {"volume_id": "v", "size_gib": 1, "snapshot_at": at(10), "full_every": 8}
    return Wanted(**{**values, **changes})  # type: ignore[arg-type]


OLD = Existing(id="b0", status="available", data_at=at(1), size_gib=1)


def test_a_sound_chain_is_continued_until_the_policy_wants_a_full_backup() -> None:
    assert parents.choose(some_wanted(), [OLD], {"b0": ("b0",)}).parent == "b0"
    full = parents.choose(some_wanted(full_every=1), [OLD], {"b0": ("b0",)})
    assert full.parent is None
    assert "policy" in full.reason


def test_a_newer_backup_of_somebody_else_makes_a_full_one() -> None:
    theirs = Existing(id="x", status="available", data_at=at(5), size_gib=1)
    choice = parents.choose(some_wanted(), [OLD, theirs], {"b0": ("b0",)})
    assert choice.parent is None
    assert "none of ours" in choice.reason


def test_cinders_hole_is_not_fallen_into() -> None:
    """All backups are newer than the snapshot: Cinder takes the first in the list."""
    newer = Existing(id="b0", status="available", data_at=at(20), size_gib=1)
    assert cinders_choice(some_wanted(), [newer]) == newer
    assert parents.choose(some_wanted(), [newer], {"b0": ("b0",)}).parent is None


def test_a_backup_that_is_under_way_is_waited_for() -> None:
    busy = Existing(id="x", status="creating", data_at=None, size_gib=1)
    with pytest.raises(ParentError, match="under way"):
        parents.choose(some_wanted(), [OLD, busy], {"b0": ("b0",)})


def test_what_cinder_really_chose_is_held_against_what_was_proved() -> None:
    choice = Choice(parent="b0", chain=("b0",), reason="")
    good = {"id": "b1", "parent_id": "b0", "volume_id": "v"}
    assert parents.prove(choice, good, some_wanted()) == ("b0", "b1")
    for wrong in ({"parent_id": "x"}, {"parent_id": None}, {"volume_id": "w"}):
        with pytest.raises(ParentError):
            parents.prove(choice, {**good, **wrong}, some_wanted())
    full = Choice(parent=None, chain=(), reason="")
    assert parents.prove(full, {**good, "parent_id": None}, some_wanted()) == ("b1",)


PHASES = st.sampled_from([Phase.AVAILABLE] * 5 + [Phase.VOID, Phase.ERROR, Phase.CREATING])


@st.composite
def checkpoint_histories(draw: st.DrawFn) -> list[Checkpoint]:
    """Checkpoints with chains per volume as `choose` would have let them grow."""
    group = a_group()
    volumes = backups_of(definitions_of(group), 0)
    chains: dict[str, tuple[str, ...]] = {}
    found = []
    for seq in range(1, draw(st.integers(1, 14)) + 1):
        phase = draw(PHASES)
        backups = []
        for each in volumes if phase is Phase.AVAILABLE else ():
            backup_id = an_id(each.volume_id, seq)
            base = chains.get(each.volume_id, ()) if draw(st.integers(0, 3)) else ()
            chains[each.volume_id] = (*base, backup_id)
            changed = {**each.__dict__, "backup_id": backup_id, "chain": chains[each.volume_id]}
            backups.append(type(each)(**changed))
        found.append(
            a_checkpoint(group, seq, phase=phase, outcome=Outcome.PENDING, backups=tuple(backups))
        )
    return found


@given(checkpoint_histories(), st.integers(1, 6), st.randoms())
@settings(max_examples=60)
def test_retention_never_breaks_a_chain_and_keeps_what_the_policy_says(
    found: list[Checkpoint], keep: int, chance: random.Random
) -> None:
    listed = list(found)
    chance.shuffle(listed)
    verdict = retention.judge(listed, keep)
    assert {each.id for each in (*verdict.delete, *verdict.keep, *verdict.held)} == {
        each.id for each in found
    }
    good = [each for each in found if each.phase is Phase.AVAILABLE]
    kept = {each.id for each in verdict.keep}
    assert {each.id for each in good[-keep:]} <= kept
    remaining = {b.backup_id for each in (*verdict.keep, *verdict.held) for b in each.backups}
    for each in (*verdict.keep, *verdict.held):
        for backup in each.backups:
            assert set(backup.chain) <= remaining
    assert all(each.phase is not Phase.CREATING for each in verdict.delete)
    there = {b.backup_id for each in found for b in each.backups}
    standing = {b.parent_id: b.backup_id for each in found for b in each.backups if b.parent_id}
    for backup_id in verdict.backups:
        there.remove(backup_id)
        child = standing.get(backup_id)
        assert child is None or child not in there, "an increment lost its parent"


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=40)
def test_what_is_held_is_bounded_because_all_volumes_are_in_step(
    disturbed: list[bool], keep: int, full_every: int
) -> None:
    group = a_group()
    volumes = backups_of(definitions_of(group), 0)
    chains: dict[str, tuple[str, ...]] = {}
    found: list[Checkpoint] = []
    for seq, one_is_full in enumerate(disturbed, start=1):
        choices = {}
        for n, each in enumerate(volumes):
            old = chains.get(each.volume_id, ())
            fresh = not old or len(old) >= full_every or (one_is_full and n == seq % len(volumes))
            parent = None if fresh else old[-1]
            choices[each.volume_id] = Choice(parent=parent, chain=() if fresh else old, reason="")
        chosen = parents.in_step(choices)
        assert len({each.parent is None for each in chosen.values()}) == 1
        backups = []
        for each in volumes:
            backup_id = an_id(each.volume_id, seq)
            chains[each.volume_id] = (*chosen[each.volume_id].chain, backup_id)
            changed = {**each.__dict__, "backup_id": backup_id, "chain": chains[each.volume_id]}
            backups.append(type(each)(**changed))
        found.append(a_checkpoint(group, seq, backups=tuple(backups)))
        verdict = retention.judge(found, keep)
        gone = {each.id for each in verdict.delete}
        found = [each for each in found if each.id not in gone]
        assert len(found) <= keep + full_every - 1


def test_nothing_is_held_for_longer_than_its_chain() -> None:
    group = a_group()
    fulls = [a_checkpoint(group, seq) for seq in range(1, 6)]
    verdict = retention.judge(fulls, keep=2)
    assert [each.seq for each in verdict.delete] == [3, 2, 1]
    assert verdict.held == ()
    pinned = retention.judge(fulls, keep=2, pinned=frozenset({fulls[0].id}))
    assert [each.seq for each in pinned.delete] == [3, 2]
