"""Checkpoints: one point in time to which a group can return, and what it consists of.

It exists so that the engine's database, the manifests and the faces mean the same thing by a
checkpoint. It takes none: `freezing` holds the guests, `snapshots` and `backups` move the data.

`phase` says where a checkpoint is on its way, `outcome` how it went; a checkpoint may be *available*
and *degraded* at once.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import re
from collections.abc import Mapping
from typing import Any

from isthmus import errors
from isthmus.recovery import documents
from isthmus.recovery.consistency import Consistency
from isthmus.recovery.declarations import SnapshotDriver
from isthmus.recovery.documents import Moment


class Phase(enum.StrEnum):
    """Where a checkpoint is on its way."""

    CREATING = "creating"
    AVAILABLE = "available"
    VOID = "void"  # the round did not hold; its data must not be used
    ERROR = "error"  # the round held, but data or records did not reach the store
    DELETING = "deleting"


class Outcome(enum.StrEnum):
    """How it went."""

    PENDING = "pending"
    COMPLETE = "complete"
    # Usable, but less consistent than asked for, or a hook after the thaw failed.
    DEGRADED = "degraded"
    VOIDED = "voided"
    FAILED = "failed"


_NEXT: Mapping[Phase, frozenset[Phase]] = {
    Phase.CREATING: frozenset({Phase.AVAILABLE, Phase.VOID, Phase.ERROR}),
    Phase.AVAILABLE: frozenset({Phase.DELETING}),
    Phase.VOID: frozenset({Phase.DELETING}),
    Phase.ERROR: frozenset({Phase.DELETING}),
    Phase.DELETING: frozenset(),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackupRecord:
    """A backup as `cinder backup-export` describes it, to import it in another site. It is to be
    exported before the disaster: Cinder of the lost site cannot be asked any more."""

    service: str
    url: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class VolumeBackup:
    """The backup of one volume of one member.

    `chain`: IDs of all backups that a restore needs, the full one first, this one last; `parent_id`
    is the last but one. `digest`: tree hash of the frozen data (see `hashing`), None where nobody
    can read the snapshot. `size_gib` of the volume, `stored_bytes` of what this backup added to the
    store. `data_at`: to what Cinder thinks the data belong (its `data_timestamp`).
    """

    volume_id: str
    server_id: str
    device: str
    size_gib: int
    volume_type: str | None
    backup_id: str
    chain: tuple[str, ...]
    record: BackupRecord
    data_at: Moment
    snapshot_id: str | None = None
    stored_bytes: int = 0
    object_count: int = 0
    digest: str | None = None
    container: str | None = None
    boot_index: int | None = None

    @property
    def parent_id(self) -> str | None:
        """The backup that this one is incremental to, None for a full one."""
        return self.chain[-2] if len(self.chain) > 1 else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One point in time of one group.

    `seq` counts the checkpoints of the group from 1 and never goes back; `epoch` is that of the
    lease under which it was taken. `frozen_at`: when the last guest was seen frozen, to which the
    data belong. `window_s`: from the first freeze that was asked for to the last thaw that was
    verified; `windows_s` the same for each server by its ID. `parents`: the backups (by volume) that
    the increments stand on.

    Invariants: an *available* checkpoint has a consistency level and a backup of each volume; a
    *void* one never becomes available.
    """

    id: str
    seq: int
    group_id: str
    site: str
    epoch: int
    round_id: str
    created_at: Moment
    driver: SnapshotDriver
    phase: Phase = Phase.CREATING
    outcome: Outcome = Outcome.PENDING
    reason: str | None = None
    consistency: Consistency | None = None
    frozen_at: Moment | None = None
    thawed_at: Moment | None = None
    finished_at: Moment | None = None
    window_s: float | None = None
    windows_s: Mapping[str, float] = dataclasses.field(default_factory=dict)
    backups: tuple[VolumeBackup, ...] = ()

    @property
    def parents(self) -> dict[str, str]:
        """Backup IDs by volume, of volumes whose backup is incremental."""
        return {each.volume_id: each.parent_id for each in self.backups if each.parent_id}

    @property
    def hashes(self) -> dict[str, str]:
        """Digests by volume, where there is one."""
        return {each.volume_id: each.digest for each in self.backups if each.digest}

    @property
    def stored_bytes(self) -> int:
        return sum(each.stored_bytes for each in self.backups)

    def age_s(self, now: datetime.datetime) -> float | None:
        """Seconds of data that would be lost by returning to it; None if it was never frozen."""
        at = self.frozen_at
        return None if at is None else max(0.0, (now - at).total_seconds())

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Checkpoint:
        """From JSON. Raises InputError when it has not the promised shape."""
        try:
            return documents.read(cls, document)
        except documents.ShapeError as error:
            raise errors.InputError(
                "a checkpoint cannot be read", cause=str(error), unchanged="it is left as it is"
            ) from error

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return dict(documents.write(self))


def moved(
    checkpoint: Checkpoint, phase: Phase, outcome: Outcome, reason: str | None = None
) -> Checkpoint:
    """The checkpoint in its next phase. Raises ValueError for a way that does not exist."""
    if phase not in _NEXT[checkpoint.phase]:
        raise ValueError(f"a checkpoint does not go from {checkpoint.phase} to {phase}")
    if phase is Phase.AVAILABLE and (checkpoint.consistency is None or not checkpoint.backups):
        raise ValueError(
            "a checkpoint without data or without a consistency level is not available"
        )
    return dataclasses.replace(checkpoint, phase=phase, outcome=outcome, reason=reason)


def available(checkpoint: Checkpoint, asked: Consistency, trouble: str | None = None) -> Checkpoint:
    """The checkpoint as available; degraded when it is less consistent than asked for, or with a
    `trouble` that does not touch its data."""
    got = checkpoint.consistency
    if got is not None and not got.reaches(asked):
        words = f"{asked} was asked for and {got} was reached"
        return moved(checkpoint, Phase.AVAILABLE, Outcome.DEGRADED, words)
    if trouble:
        return moved(checkpoint, Phase.AVAILABLE, Outcome.DEGRADED, trouble)
    return moved(checkpoint, Phase.AVAILABLE, Outcome.COMPLETE)


PREFIX = "groups/"
_KEY = re.compile(
    r"groups/(?P<group>[0-9a-f-]{36})/checkpoints/(?P<seq>[0-9]{8})-(?P<id>[0-9a-f-]{36})/"
    r"manifest\.json"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a checkpoint lies in the remote store. Names sort as sequence numbers do."""

    group_id: str
    seq: int
    checkpoint_id: str

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Place:
        return cls(group_id=checkpoint.group_id, seq=checkpoint.seq, checkpoint_id=checkpoint.id)

    @classmethod
    def parse(cls, key: str) -> Place | None:
        """The place of a manifest's key; None for keys of something else."""
        found = _KEY.fullmatch(key)
        if found is None:
            return None
        return cls(group_id=found["group"], seq=int(found["seq"]), checkpoint_id=found["id"])

    @property
    def prefix(self) -> str:
        """All that belongs to the checkpoint begins with this."""
        return f"{PREFIX}{self.group_id}/checkpoints/{self.seq:08d}-{self.checkpoint_id}/"

    @property
    def manifest(self) -> str:
        return f"{self.prefix}manifest.json"

    @property
    def signature(self) -> str:
        return f"{self.manifest}.sig"


def epoch_key(group_id: str) -> str:
    """Where the epoch marker of a group lies."""
    return f"{PREFIX}{group_id}/epoch.json"
