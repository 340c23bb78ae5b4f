"""Which backup an incremental one may stand on, and the proof that it does.

It exists because Cinder chooses the parent by itself and cannot be told: the newest available backup
of the volume that is older than the snapshot. That choice has a hole (when all available backups are
newer than the snapshot, the first in the list wins, whatever it is: cinder.backup.api, create), and a
chain with a missing part is accepted by an import and fails in the restore. So we work out what
Cinder would choose, ask for an increment only if that is a backup of ours whose whole chain is there,
and prove by the exported record what was chosen. In all other cases the backup is full.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from isthmus import errors

AVAILABLE = "available"
UNDER_WAY = frozenset({"creating", "restoring", "deleting"})


class ParentError(errors.IsthmusError):
    """A backup does not stand on what it should; it must not be used."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Existing:
    """A backup of the volume as Cinder tells of it. `data_at`: to what time its data belong."""

    id: str
    status: str
    data_at: datetime.datetime | None
    size_gib: int
    container: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """The backup that is to be made. `snapshot_at`: when Cinder thinks the snapshot was made."""

    volume_id: str
    size_gib: int
    snapshot_at: datetime.datetime
    full_every: int
    container: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """`parent` None: a full backup, and why. `chain`: what the parent stands on, itself last."""

    parent: str | None
    chain: tuple[str, ...]
    reason: str


def choose(
    wanted: Wanted, existing: Sequence[Existing], chains: Mapping[str, tuple[str, ...]]
) -> Choice:
    """An increment if it is safe, else a full backup. `chains`: of our own backups, full one first.

    Invariant: when a parent is chosen, Cinder chooses the same one in whatever order it lists the
    backups; its chain is whole, available, of the volume's size and in one container.
    Raises ParentError while another backup of the volume is under way, because then nobody can say
    what Cinder will find.
    """
    busy = [each.id for each in existing if each.status in UNDER_WAY]
    if busy:
        raise ParentError(
            "another backup of the volume is under way",
            where=f"volume {wanted.volume_id}",
            cause=f"backup {busy[0]}",
            unchanged="no backup was begun",
        )
    why_full = _why_full(wanted, existing, chains)
    if why_full is not None:
        return Choice(parent=None, chain=(), reason=why_full)
    parent = _eligible(wanted, existing)[0]
    return Choice(
        parent=parent.id,
        chain=chains[parent.id],
        reason=f"increment number {len(chains[parent.id])} of its chain",
    )


def in_step(choices: Mapping[str, Choice]) -> dict[str, Choice]:
    """The choices of all volumes of a checkpoint: increments for all, or full backups for all.

    Were they out of step, a checkpoint that is kept for one volume's chain would need an older one
    for another's, and that again, so that retention could never let go of anything.
    """
    full = {volume: each for volume, each in choices.items() if each.parent is None}
    if not full:
        return dict(choices)
    volume, first = next(iter(full.items()))
    reason = f"volume {volume} needs a full one: {first.reason}"
    return {
        name: each if name in full else Choice(parent=None, chain=(), reason=reason)
        for name, each in choices.items()
    }


def _eligible(wanted: Wanted, existing: Sequence[Existing]) -> list[Existing]:
    """What Cinder may take for the parent, its choice first."""
    old = (
        each
        for each in existing
        if each.status == AVAILABLE and each.data_at and each.data_at < wanted.snapshot_at
    )
    return sorted(old, key=lambda each: each.data_at, reverse=True)  # type: ignore[arg-type,return-value]


def _why_full(
    wanted: Wanted, existing: Sequence[Existing], chains: Mapping[str, tuple[str, ...]]
) -> str | None:
    eligible = _eligible(wanted, existing)
    if wanted.full_every <= 1:
        return "the policy wants every backup to be full"
    if not eligible:
        return "there is no older backup to stand on"
    parent = eligible[0]
    if len(eligible) > 1 and eligible[1].data_at == parent.data_at:
        return f"Cinder could choose {parent.id} or {eligible[1].id}, which are equally old"
    chain = chains.get(parent.id)
    if not chain:
        return f"Cinder would choose {parent.id}, which is none of ours"
    if len(chain) >= wanted.full_every:
        return f"the chain has {len(chain)} parts, and the policy wants a full one after that"
    return broken(chain, {each.id: each for each in existing}, wanted)


def broken(chain: Sequence[str], existing: Mapping[str, Existing], wanted: Wanted) -> str | None:
    """Why nothing may be built on a chain; None if it is whole."""
    for backup_id in chain:
        found = existing.get(backup_id)
        if found is None:
            return f"backup {backup_id} of the chain is missing"
        if found.status != AVAILABLE:
            return f"backup {backup_id} of the chain is {found.status}"
        if found.size_gib != wanted.size_gib:
            return f"the volume had {found.size_gib} GiB in backup {backup_id}"
        if wanted.container and found.container != wanted.container:
            return f"backup {backup_id} is in container {found.container}"
    return None


def prove(choice: Choice, record: Mapping[str, Any], wanted: Wanted) -> tuple[str, ...]:
    """The chain of the new backup, from its exported record. Raises ParentError if Cinder did
    something else than was asked for."""
    backup_id, parent = str(record.get("id")), record.get("parent_id") or None
    where = f"backup {backup_id} of volume {wanted.volume_id}"
    if record.get("volume_id") != wanted.volume_id:
        cause = f"it is of volume {record.get('volume_id')}"
        raise ParentError("a backup is not of the volume it was made for", where=where, cause=cause)
    if parent != choice.parent:
        raise ParentError(
            "a backup stands on another parent than was proved",
            where=where,
            cause=f"Cinder chose {parent or 'none'}, {choice.parent or 'none'} was expected",
            unchanged="it is not used for a checkpoint",
        )
    return (*choice.chain, backup_id)
