"""Snapshots by Cinder's own API: any backend, and seconds inside the window.

It exists for backends that no fast driver knows. One request per volume, all at once: a group
snapshot of Cinder is a loop on most backends and takes the sum instead of the longest (6 volumes on
Ceph: 3.6 s against 6.1 s). Nothing is promised by Cinder about a common moment; the verified freeze
makes it one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isthmus.recovery.cinder import Cinder
from isthmus.recovery.findings import Finding
from isthmus.recovery.snapshots import adoption, naming


class CinderSnapshots:
    """One round; see `snapshots.Driver`. `volumes`: IDs."""

    def __init__(
        self, cinder: Cinder, volumes: Sequence[str], *, round_id: str, group_id: str
    ) -> None:
        self._cinder, self._volumes = cinder, tuple(volumes)
        self._round, self._group = round_id, group_id
        self._where = f"site {cinder.region}, round {round_id}"

    def findings(self) -> Sequence[Finding]:
        """None: nothing is known of the backend."""
        return ()

    def prepare(self) -> None:
        sizes = [self._cinder.volume(volume).size_gib for volume in self._volumes]
        adoption.check_quota(self._cinder, sizes)

    def take(self, timeout_s: float) -> None:
        name = naming.snapshot_name(self._round)
        marks = naming.marks(round_id=self._round, group_id=self._group)

        def one(volume: str) -> str:
            made = self._cinder.create_snapshot(volume, name, marks)
            return adoption.available(self._cinder, made.id, timeout_s).id

        adoption.for_all(
            self._volumes,
            one,
            timeout_s=timeout_s,
            what="not all snapshots were taken",
            where=self._where,
        )

    def adopt(self) -> Mapping[str, str]:
        def one(volume: str) -> str:
            found = adoption.of_round(self._cinder, volume, self._round)
            if len(found) != 1:
                cause = f"{len(found)} snapshots of the round are there instead of one"
                raise adoption.SnapshotError("a snapshot cannot be used", cause=cause)
            return adoption.available(self._cinder, found[0].id).id

        return adoption.for_all(
            self._volumes,
            one,
            timeout_s=adoption.WITHIN_S,
            what="not all snapshots became available",
            where=self._where,
        )

    def digests(self) -> Mapping[str, str]:
        """None: nobody can read a snapshot through Cinder's API."""
        return {}

    def discard(self) -> None:
        def one(volume: str) -> str:
            adoption.remove(self._cinder, volume, self._round)
            return volume

        adoption.for_all(
            self._volumes,
            one,
            timeout_s=adoption.WITHIN_S,
            what="not all snapshots of the round were removed",
            where=self._where,
        )

    def close(self) -> None:
        """Nothing is held."""
