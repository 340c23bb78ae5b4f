"""A controller with an empty database learns all from the store, and believes nothing that is wrong."""

import dataclasses
import datetime
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from recovery_values import T0, a_group, a_manifest, an_id, backups_of, definitions_of

from isthmus.outcomes import Outcome
from isthmus.recovery import manifest as manifests
from isthmus.recovery.epochs import Marker, may_run
from isthmus.recovery.findings import Code
from isthmus.recovery.manifest import Manifest
from isthmus.recovery.rebuild import Stored, rebuild, records
from isthmus.recovery.signatures import KeyRing, SigningKey

KEY = SigningKey.generate()
RING = KeyRing(KEY.public)


def chained(group_name: str, count: int, full_every: int = 3) -> list[Manifest]:
    """Checkpoints 1 to `count` of a group of its own, with chains of at most `full_every` parts."""
    group = a_group(id=an_id(group_name), name=group_name)
    group = dataclasses.replace(
        group,
        members=tuple(
            dataclasses.replace(each, server_id=an_id(group_name, each.name))
            for each in group.members
        ),
    )
    found: list[Manifest] = []
    chains: dict[str, tuple[str, ...]] = {}
    for seq in range(1, count + 1):
        backups = []
        for each in backups_of(definitions_of(group), seq):
            volume_id = f"{group_name}-{each.volume_id}"
            backup_id = an_id(volume_id, seq)
            old = chains.get(volume_id, ())
            chains[volume_id] = (*(old if len(old) < full_every else ()), backup_id)
            backups.append(dataclasses.replace(each, backup_id=backup_id, chain=chains[volume_id]))
        found.append(a_manifest(group, seq, backups=tuple(backups)))
    return found


def stored(manifest: Manifest) -> Stored:
    signed = manifests.sign(manifest, KEY)
    return Stored(place=manifest.place, manifest=signed.manifest, signature=signed.signature)


def codes(findings: tuple[object, ...]) -> set[Code]:
    return {each.code for each in findings}  # type: ignore[attr-defined]


@given(st.integers(1, 5), st.integers(0, 4), st.randoms())
@settings(max_examples=20)
def test_everything_comes_back_whatever_the_order_of_the_listing(
    first: int, second: int, chance: random.Random
) -> None:
    wanted = [*chained("one", first), *chained("two", second)]
    listed = [stored(each) for each in wanted]
    chance.shuffle(listed)
    found = rebuild(listed, site="lyon", ring=RING)
    assert found.findings == ()
    assert [each.to_document() for each in found.checkpoints] == [
        each.checkpoint.to_document()
        for each in sorted(wanted, key=lambda one: (one.group.id, one.checkpoint.seq))
    ]
    assert {each.id for each in found.groups} == {each.group.id for each in wanted}
    assert {each.name for each in found.policies} == {"gold"}
    for checkpoint in found.checkpoints:
        count = sum(len(each.chain) for each in checkpoint.backups)
        assert len(records(found, checkpoint)) == count


@given(st.sets(st.integers(0, 6), min_size=1, max_size=3), st.integers(1, 4))
@settings(max_examples=40)
def test_what_stands_on_a_lost_manifest_is_not_offered(lost: set[int], full_every: int) -> None:
    wanted = chained("one", 7, full_every)
    listed = [stored(each) for n, each in enumerate(wanted) if n not in lost]
    found = rebuild(listed, site="lyon", ring=RING)
    there = {
        backup.backup_id
        for n, each in enumerate(wanted)
        if n not in lost
        for backup in each.checkpoint.backups
    }
    whole = {
        each.checkpoint.seq
        for n, each in enumerate(wanted)
        if n not in lost and all(set(b.chain) <= there for b in each.checkpoint.backups)
    }
    assert {each.seq for each in found.checkpoints} == whole
    broken = [each for each in found.findings if each.code is Code.CHAIN_BROKEN]
    assert len(broken) == 7 - len(lost) - len(whole)


def test_a_tampered_manifest_takes_what_stands_on_it_with_it_and_nothing_else() -> None:
    wanted = chained("one", 4, full_every=2)
    listed = [stored(each) for each in wanted]
    content = listed[0].manifest
    assert content is not None
    listed[0] = dataclasses.replace(listed[0], manifest=content.replace(b"paris", b"pariz", 1))
    found = rebuild(listed, site="lyon", ring=RING)
    assert {each.seq for each in found.checkpoints} == {3, 4}
    assert codes(found.findings) == {Code.MANIFEST_REFUSED, Code.CHAIN_BROKEN}


def test_an_unfinished_checkpoint_is_a_warning_and_no_checkpoint() -> None:
    (only,) = chained("one", 1)
    found = rebuild([dataclasses.replace(stored(only), signature=None)], site="lyon", ring=RING)
    assert found.checkpoints == ()
    assert [each.outcome for each in found.findings] == [Outcome.WARN]


def test_two_sites_that_both_went_on_are_seen() -> None:
    one, two, three = chained("one", 3, full_every=1)
    moved = dataclasses.replace(two.checkpoint, epoch=5)
    twin = dataclasses.replace(
        two.checkpoint,
        id=an_id("twin"),
        backups=tuple(
            dataclasses.replace(
                each, backup_id=an_id("t", each.backup_id), chain=(an_id("t", each.backup_id),)
            )
            for each in two.checkpoint.backups
        ),
    )
    listed = [
        stored(one),
        stored(dataclasses.replace(two, checkpoint=moved)),
        stored(dataclasses.replace(two, checkpoint=twin)),
        stored(three),
    ]
    found = rebuild(listed, site="lyon", ring=RING)
    assert codes(found.findings) == {Code.SAME_SEQUENCE, Code.EPOCH_BACKWARDS}
    assert len(found.checkpoints) == 4


def a_marker(group_id: str, epoch: int, site: str) -> Marker:
    return Marker(
        group_id=group_id,
        epoch=epoch,
        site=site,
        operation_id="op",
        at=T0 + datetime.timedelta(1),
        nonce="",
    )


def test_a_group_that_moved_after_its_last_checkpoint_is_pointed_out() -> None:
    (only,) = chained("one", 1)
    markers = {only.group.id: a_marker(only.group.id, 2, "lyon")}
    found = rebuild([stored(only)], site="lyon", ring=RING, markers=markers)
    assert codes(found.findings) == {Code.EPOCH_AHEAD}


def test_a_site_that_came_back_must_not_run_what_has_moved() -> None:
    assert may_run("paris", 1, None) is None
    assert may_run("paris", 1, a_marker("g", 1, "paris")) is None
    assert "belongs to site lyon" in (may_run("paris", 1, a_marker("g", 2, "lyon")) or "")
    assert "belongs to site lyon" in (may_run("paris", 2, a_marker("g", 2, "lyon")) or "")
    assert may_run("paris", 3, a_marker("g", 2, "lyon")) is None


def test_of_two_groups_of_one_name_the_one_that_was_protected_last_keeps_it() -> None:
    old, new = chained("old", 1)[0], chained("new", 1)[0]
    old = dataclasses.replace(old, group=dataclasses.replace(old.group, name="vnf"))
    new = dataclasses.replace(
        new,
        group=dataclasses.replace(new.group, name="vnf"),
        written_at=old.written_at + datetime.timedelta(seconds=1),
    )
    found = rebuild([stored(new), stored(old)], site="lyon", ring=RING)
    assert {each.id: each.name for each in found.groups} == {
        new.group.id: "vnf",
        old.group.id: f"vnf-{old.group.id[:8]}",
    }
    assert [(each.code, each.outcome) for each in found.findings] == [
        (Code.GROUP_DIFFERS, Outcome.WARN)
    ]
