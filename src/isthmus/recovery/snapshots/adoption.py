"""Cinder's records of a round's snapshots: found, waited for, removed.

It exists because both drivers end with snapshots that Cinder knows, and because every step must be
repeatable: it looks before it creates, by the round's mark.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from isthmus import errors
from isthmus.recovery import waiting
from isthmus.recovery.cinder import Cinder, Snapshot
from isthmus.recovery.snapshots import naming
from isthmus.sites import fanout

WITHIN_S = 120.0
"""Adoption takes 0.3 s alone and 0.9 s for five; a cinder-volume that starts up needs a minute."""
EVERY_S = 0.2


class SnapshotError(errors.IsthmusError):
    """Some snapshots of a round are not as they should be."""


def of_round(cinder: Cinder, volume_id: str, round_id: str) -> list[Snapshot]:
    """Cinder's snapshots of one volume that belong to the round."""
    found = cinder.snapshots(volume_id)
    return [each for each in found if each.metadata.get(naming.ROUND) == round_id]


def available(cinder: Cinder, snapshot_id: str, within_s: float = WITHIN_S) -> Snapshot:
    """The snapshot when it is available. Raises SnapshotError when it is in error or gone."""

    def look() -> Snapshot | None:
        found = cinder.snapshot(snapshot_id)
        if found is None or "error" in found.status:
            raise SnapshotError(
                "a snapshot did not become available",
                where=f"snapshot {snapshot_id}, site {cinder.region}",
                cause="it is gone" if found is None else f"its status is {found.status}",
            )
        return found if found.status == "available" else None

    where = f"snapshot {snapshot_id}, site {cinder.region}"
    return waiting.until(
        look, within_s=within_s, every_s=EVERY_S, what="it to be available", where=where
    )


def remove(cinder: Cinder, volume_id: str, round_id: str, within_s: float = WITHIN_S) -> None:
    """Delete what Cinder has of the round for one volume, and wait until it is gone."""
    found = of_round(cinder, volume_id, round_id)
    for each in found:
        cinder.delete_snapshot(each.id)
    waiting.until(
        lambda: True if not of_round(cinder, volume_id, round_id) else None,
        within_s=within_s,
        every_s=EVERY_S,
        what="its snapshots to be deleted",
        where=f"volume {volume_id}, site {cinder.region}",
    )


def for_all(
    volumes: Sequence[str],
    do: Callable[[str], str],
    *,
    timeout_s: float,
    what: str,
    where: str,
    at_once: int = fanout.AT_ONCE,
) -> Mapping[str, str]:
    """Do something for all volumes at once. Raises SnapshotError that names every failure."""
    results = fanout.ask_all(
        {volume: lambda volume=volume: do(volume) for volume in volumes},  # type: ignore[misc]
        timeout=timeout_s,
        at_once=at_once,
    )
    failed = {volume: result.error for volume, result in results.items() if not result.ok}
    if failed:
        causes = "; ".join(f"volume {volume}: {cause}" for volume, cause in failed.items())
        raise SnapshotError(what, where=where, cause=causes)
    return {volume: str(result.value) for volume, result in results.items()}


def check_quota(cinder: Cinder, sizes_gib: Sequence[int]) -> None:
    """Raise SnapshotError when the project has no room for a snapshot and a backup of each volume.

    Before the freeze, because both count against the quota *after* the window.
    """
    number, size = len(sizes_gib), sum(sizes_gib)
    wanted = {
        "snapshots": number,
        "gigabytes": size,
        "backups": number,
        "backup_gigabytes": size,
    }
    quotas = cinder.quotas(*wanted)
    short = [name for name, more in wanted.items() if not quotas[name].room_for(more)]
    if short:
        words = ", ".join(
            f"{name}: {quotas[name].used} of {quotas[name].limit} used, {wanted[name]} more needed"
            for name in short
        )
        raise SnapshotError(
            "the quota of the project has no room for snapshots and their backups",
            where=f"site {cinder.region}",
            cause=words,
            unchanged="no guest was frozen",
            next_command=f"openstack quota set --{short[0].replace('_', '-')} N PROJECT",
        )
