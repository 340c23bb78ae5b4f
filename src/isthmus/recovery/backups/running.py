"""Backups of a checkpoint's snapshots, made in parallel and each proved.

It exists so that a checkpoint's data leave the site in one step that can be repeated: a backup that
was begun before a crash is found by its mark and waited for, not made twice. The decisions are in
`parents`; Cinder's chunked drivers read one volume at a time and use one core for it, so that
parallelism is several volumes at once.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from isthmus import errors
from isthmus.recovery import waiting
from isthmus.recovery.backups import parents
from isthmus.recovery.checkpoints import VolumeBackup
from isthmus.recovery.cinder import Backup, Cinder, decoded
from isthmus.recovery.metadata.definitions import VolumeDefinition
from isthmus.recovery.snapshots import naming
from isthmus.sites import fanout

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Backups under way at once; each takes a core of cinder-backup's host for compression."""

EVERY_S = 0.5

T = TypeVar("T")


class BackupError(errors.IsthmusError):
    """Not all volumes of a checkpoint were backed up."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What all backups of one checkpoint have in common. `within_s`: for each, from its start."""

    checkpoint_id: str
    group_id: str
    full_every: int
    container: str | None = None
    within_s: float = 6 * 3600.0
    at_once: int = AT_ONCE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """One volume's part. `chains`: of our earlier backups of the volume, by backup."""

    volume: VolumeDefinition
    server_id: str
    snapshot_id: str
    chains: Mapping[str, tuple[str, ...]]
    digest: str | None = None


def run(
    cinder: Cinder,
    order: Order,
    sources: Sequence[Source],
    *,
    stored: Callable[[str, str], int] | None = None,
) -> tuple[VolumeBackup, ...]:
    """Back up all sources, in their order. All are incremental, or all are full (`parents.in_step`).

    Raises BackupError that names every failure; what was made stays and is found by the next run.

    `stored`: the bytes below a container and a prefix in the store.
    """
    looks = _all_of(
        {each.volume.id: _looker(cinder, order, each) for each in sources}, cinder, order
    )
    choices = parents.in_step({volume: look.choice for volume, look in looks.items()})
    made = _all_of(
        {
            each.volume.id: _maker(
                cinder,
                order,
                each,
                dataclasses.replace(looks[each.volume.id], choice=choices[each.volume.id]),
                stored,
            )
            for each in sources
        },
        cinder,
        order,
    )
    return tuple(made.values())


def _all_of(questions: Mapping[str, Callable[[], T]], cinder: Cinder, order: Order) -> dict[str, T]:
    results = fanout.ask_all(questions, timeout=order.within_s, grace=30.0, at_once=order.at_once)
    failed = {volume: result.error for volume, result in results.items() if not result.ok}
    if failed:
        raise BackupError(
            "not all volumes were backed up",
            where=f"checkpoint {order.checkpoint_id}, site {cinder.region}",
            cause="; ".join(f"volume {volume}: {cause}" for volume, cause in failed.items()),
            unchanged="the snapshots and the backups that were made are there",
        )
    return {volume: result.value for volume, result in results.items() if result.value is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Look:
    """What is there for one volume, and what is to be made. `begun`: by an earlier run."""

    wanted: parents.Wanted
    choice: parents.Choice
    begun: str | None


def _looker(cinder: Cinder, order: Order, source: Source) -> Callable[[], _Look]:
    return lambda: _looked(cinder, order, source)


def _looked(cinder: Cinder, order: Order, source: Source) -> _Look:
    existing = cinder.backups(source.volume.id)
    mine = [
        each for each in existing if each.metadata.get(naming.CHECKPOINT) == order.checkpoint_id
    ]
    for wrong in (each for each in mine if "error" in each.status):
        cinder.delete_backup(wrong.id)
    wanted = _wanted(cinder, order, source)
    others = [_existing(each) for each in existing if each not in mine]
    return _Look(
        wanted=wanted,
        choice=parents.choose(wanted, others, source.chains),
        begun=next((each.id for each in mine if "error" not in each.status), None),
    )


def _maker(
    cinder: Cinder,
    order: Order,
    source: Source,
    look: _Look,
    stored: Callable[[str, str], int] | None,
) -> Callable[[], VolumeBackup]:
    return lambda: _made(cinder, order, source, look, stored)


def _made(
    cinder: Cinder,
    order: Order,
    source: Source,
    look: _Look,
    stored: Callable[[str, str], int] | None,
) -> VolumeBackup:
    backup_id = look.begun or _begin(cinder, order, source, look.choice)
    backup = _finished(cinder, backup_id, order)
    record = cinder.export(backup_id)
    told = decoded(record)
    chain = _proved(cinder, look.choice, told, look.wanted)
    prefix = str(told.get("service_metadata") or "")
    return VolumeBackup(
        volume_id=source.volume.id,
        server_id=source.server_id,
        device=source.volume.device,
        size_gib=backup.size_gib,
        volume_type=source.volume.volume_type,
        boot_index=source.volume.boot_index,
        snapshot_id=source.snapshot_id,
        backup_id=backup_id,
        chain=chain,
        record=record,
        data_at=backup.data_at or look.wanted.snapshot_at,
        stored_bytes=stored(backup.container or "", prefix) if stored and prefix else 0,
        object_count=backup.object_count,
        digest=source.digest,
        container=backup.container,
    )


def _wanted(cinder: Cinder, order: Order, source: Source) -> parents.Wanted:
    snapshot = cinder.snapshot(source.snapshot_id)
    if snapshot is None:
        raise BackupError("the snapshot to back up is gone", where=f"snapshot {source.snapshot_id}")
    return parents.Wanted(
        volume_id=source.volume.id,
        size_gib=source.volume.size_gib,
        snapshot_at=snapshot.created_at,
        full_every=order.full_every,
        container=order.container,
    )


def _existing(backup: Backup) -> parents.Existing:
    return parents.Existing(
        id=backup.id,
        status=backup.status,
        data_at=backup.data_at,
        size_gib=backup.size_gib,
        container=backup.container,
    )


def _begin(cinder: Cinder, order: Order, source: Source, choice: parents.Choice) -> str:
    kind = "incremental" if choice.parent else "full"
    log.info("volume %s: %s backup (%s)", source.volume.id, kind, choice.reason)
    return cinder.create_backup(
        volume_id=source.volume.id,
        snapshot_id=source.snapshot_id,
        name=naming.backup_name(order.checkpoint_id),
        incremental=choice.parent is not None,
        container=order.container,
        metadata={naming.CHECKPOINT: order.checkpoint_id, naming.GROUP: order.group_id},
    )


def _finished(cinder: Cinder, backup_id: str, order: Order) -> Backup:
    def look() -> Backup | None:
        found = cinder.backup(backup_id)
        if found is None or "error" in found.status:
            reason = found.fail_reason if found else None
            raise BackupError(
                "a backup failed",
                where=f"backup {backup_id}, site {cinder.region}",
                cause=reason or "Cinder gives no reason; see the log of cinder-backup",
            )
        return found if found.status == "available" else None

    where = f"backup {backup_id}, site {cinder.region}"
    return waiting.until(
        look, within_s=order.within_s, every_s=EVERY_S, what="it to be available", where=where
    )


def _proved(
    cinder: Cinder, choice: parents.Choice, told: Mapping[str, object], wanted: parents.Wanted
) -> tuple[str, ...]:
    """The proved chain. A backup that stands on something else is deleted, so that nothing can be
    built on it and the next run makes another."""
    try:
        return parents.prove(choice, told, wanted)
    except parents.ParentError:
        cinder.delete_backup(str(told["id"]))
        raise
