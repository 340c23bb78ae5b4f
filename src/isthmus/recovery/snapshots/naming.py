"""Names and marks of snapshots and backups, by which they are found again after a crash.

It exists so that a controller that died between a snapshot and its record can tell ours from others'
and from which round they are: the name carries the round, the metadata carries it through Cinder.
"""

from __future__ import annotations

PREFIX = "isthmus-"
ROUND = "isthmus_round"
GROUP = "isthmus_group"
CHECKPOINT = "isthmus_checkpoint"


def snapshot_name(round_id: str) -> str:
    """The name of all snapshots of a round: unique within each volume, which is all that RBD asks."""
    return f"{PREFIX}{round_id}"


def round_of(name: str) -> str | None:
    """The round that a snapshot's name carries; None for snapshots of others."""
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) and name != PREFIX else None


def backup_name(checkpoint_id: str) -> str:
    """The name of all backups of a checkpoint."""
    return f"{PREFIX}{checkpoint_id}"


def marks(*, round_id: str, group_id: str) -> dict[str, str]:
    """Metadata for what a round leaves in Cinder."""
    return {ROUND: round_id, GROUP: group_id}
