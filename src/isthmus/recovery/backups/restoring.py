"""Volumes from backups in the site that takes over: imported, restored, and held against their hashes.

It exists so that a restore never relies on what the lost site would have to say: records come from
manifests, parents before increments, and a volume is handed on only when its content is the frozen
one. Cinder accepts an increment whose parent it does not know, and fails in the restore without a
reason; that is refused here beforehand.

Everything looks before it makes, by name and mark, so that it can be repeated after a crash.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from isthmus import errors
from isthmus.recovery import waiting
from isthmus.recovery.checkpoints import BackupRecord, VolumeBackup
from isthmus.recovery.cinder import Cinder, Volume, decoded

OPERATION = "isthmus_operation"
SOURCE = "isthmus_source_volume"
WITHIN_S = 6 * 3600.0
IMPORT_WITHIN_S = 120.0
EVERY_S = 0.5


class RestoreError(errors.IsthmusError):
    """Volumes could not be restored; the backups were not changed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """One volume to make: `name` and `volume_type` as the plan says (None: the default)."""

    backup: VolumeBackup
    name: str
    volume_type: str | None = None
    zone: str | None = None


def import_records(cinder: Cinder, records: Sequence[BackupRecord]) -> tuple[str, ...]:
    """Make the backups known here; `records` with parents first. IDs in that order.

    Raises RestoreError for a record whose parent is neither known here nor before it: Cinder would
    accept it, and fail later.
    """
    known: list[str] = []
    for record in records:
        told = decoded(record)
        parent = told.get("parent_id")
        if parent and parent not in known and cinder.backup(parent) is None:
            raise RestoreError(
                "a backup is not imported: its parent is missing",
                where=f"backup {told['id']}, site {cinder.region}",
                cause=f"it is incremental to {parent}, of which there is no record",
                unchanged="nothing was restored",
            )
        _import(cinder, record, str(told["id"]))
        known.append(str(told["id"]))
    return tuple(known)


def _import(cinder: Cinder, record: BackupRecord, backup_id: str) -> None:
    found = cinder.backup(backup_id)
    if found is not None and "error" in found.status:
        # An import that failed leaves a record without data; deleting it deletes nothing else.
        cinder.delete_backup(backup_id)
        found = None
    if found is None:
        cinder.import_record(record)

    def look() -> bool | None:
        now = cinder.backup(backup_id)
        if now is not None and "error" in now.status:
            raise RestoreError(
                "a backup could not be imported",
                where=f"backup {backup_id}, site {cinder.region}",
                cause=now.fail_reason or f"its status is {now.status}",
            )
        return True if now is not None and now.status in ("available", "restoring") else None

    where = f"backup {backup_id}, site {cinder.region}"
    waiting.until(look, within_s=IMPORT_WITHIN_S, every_s=EVERY_S, what="its import", where=where)


def working_name(operation_id: str, source: str) -> str:
    """The name of a volume until it is whole."""
    return f"isthmus-{operation_id}-{source}"


def find(cinder: Cinder, operation_id: str, source: str) -> str | None:
    """The volume that an operation has made, or begun to make, for a source volume; None: there is
    none.

    By two marks, because Cinder's restore replaces a volume's metadata by that of the source, ours
    included (cinder.backup.driver, BackupMetadataAPI.put), but never a name that was given. Until
    the metadata is written again the name says whose it is.
    """
    marks = {OPERATION: operation_id, SOURCE: source}
    return cinder.marked_volume(marks) or cinder.named_volume(working_name(operation_id, source))


def restore(
    cinder: Cinder,
    target: Target,
    *,
    operation_id: str,
    digest_of: Callable[[Volume], str] | None = None,
    within_s: float = WITHIN_S,
) -> str:
    """The new volume, which is not available before it is whole. Raises RestoreError.

    `digest_of` reads a volume's tree hash; a volume whose hash is not that of the checkpoint is an
    error, and stays for whoever wants to know why.
    """
    backup = target.backup
    marks = {OPERATION: operation_id, SOURCE: backup.volume_id}
    name = working_name(operation_id, backup.volume_id)
    _clear(cinder, name, within_s)
    volume_id = find(cinder, operation_id, backup.volume_id) or cinder.create_volume(
        name=name,
        size_gib=backup.size_gib,
        volume_type=target.volume_type,
        zone=target.zone,
        metadata=marks,
        backup_id=backup.backup_id,
    )
    where = f"volume {volume_id}, site {cinder.region}"
    _available(cinder, volume_id, within_s, where)
    if not marks.items() <= cinder.volume_metadata(volume_id).items():
        cinder.mark_volume(volume_id, marks)
    _finished(cinder, cinder.volume(volume_id), target)
    if backup.digest is not None and digest_of is not None:
        found = digest_of(cinder.volume(volume_id))
        if found != backup.digest:
            raise RestoreError(
                "a restored volume is not what was frozen",
                where=where,
                cause=f"its hash is {found}, that of the checkpoint {backup.digest}",
                unchanged="no server was started from it",
                next_command="use an older checkpoint: isthmus checkpoint list",
            )
    return volume_id


def _clear(cinder: Cinder, name: str, within_s: float) -> None:
    """Take away what an earlier try could not fill: nobody has seen it, and nothing mends it."""
    found = cinder.named_volume(name)
    if found is None or "error" not in cinder.volume(found).status:
        return
    cinder.delete_volume(found)
    waiting.until(
        lambda: None if cinder.named_volume(name) else True,
        within_s=within_s,
        every_s=EVERY_S,
        what="a volume of an earlier try to be gone",
        where=f"volume {found}, site {cinder.region}",
    )


def _finished(cinder: Cinder, volume: Volume, target: Target) -> None:
    """Give a whole volume what the source had. Nothing is written that is so already: whoever goes on
    after a crash must come to an end."""
    if target.backup.boot_index == 0 and not volume.bootable:
        # Cinder knows it by the metadata of an image, which not every root volume was made from.
        cinder.set_bootable(volume.id)
    if volume.name != target.name:
        cinder.rename_volume(volume.id, target.name)


def _available(cinder: Cinder, volume_id: str, within_s: float, where: str) -> None:
    def look() -> bool | None:
        found = cinder.volume(volume_id)
        if "error" in found.status:
            raise RestoreError(
                "a volume could not be restored", where=where, cause=f"its status is {found.status}"
            )
        return True if found.status == "available" else None

    waiting.until(look, within_s=within_s, every_s=EVERY_S, what="it to be available", where=where)
