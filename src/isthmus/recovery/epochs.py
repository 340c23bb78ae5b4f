"""Epoch markers: which site owns a group, written where both sites can read it.

It exists so that a site that comes back after a failover learns that its members have moved before it
runs any of them. An epoch is claimed by creating an object that must be new, so that two sites cannot
both own the same epoch. Within one site the lease in the database orders the engines
(`isthmus.operations`); this is the word between sites.

An epoch ends only by a higher one. Swift checks the condition of a write and then writes, so that two
claims in the same instant could both be accepted: whoever claims reads back after `SETTLE_S`, and the
one whose words are there is the owner.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

from isthmus import errors
from isthmus.recovery import documents
from isthmus.recovery.checkpoints import PREFIX, epoch_key
from isthmus.recovery.documents import Moment
from isthmus.recovery.remote_store import ConflictError, Store
from isthmus.recovery.signatures import KeyRing, Refusal, RefusedError, SigningKey

SETTLE_S = 1.0


class ClaimError(errors.BusyError):
    """Somebody else claimed the epoch. `marker`: what is there."""

    def __init__(self, marker: Marker, where: str) -> None:
        super().__init__(
            f"epoch {marker.epoch} of the group belongs to site {marker.site}",
            where=where,
            cause=f"operation {marker.operation_id} claimed it at {documents.written(marker.at)}",
            unchanged="nothing was claimed, and nothing was started",
        )
        self.marker = marker


@dataclasses.dataclass(frozen=True, kw_only=True)
class Marker:
    """`site` owns the group from `at` on. `nonce` tells two claims of one site apart."""

    group_id: str
    epoch: int
    site: str
    operation_id: str
    at: Moment
    nonce: str


class Epochs:
    """The markers of all groups in one store; raises StoreError like the store."""

    def __init__(
        self,
        store: Store,
        *,
        key: SigningKey,
        ring: KeyRing,
        settle: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store, self._key, self._ring, self._settle = store, key, ring, settle

    def latest(self, group_id: str) -> Marker | None:
        """The marker with the highest epoch; None if there is none. Raises RefusedError for one that
        is not signed by a site that is trusted.

        Objects are asked for by name, as a listing may be late. `epoch.json` says where to begin;
        it is written last and may be behind, never ahead.
        """
        marker = self._read(epoch_key(group_id), group_id)
        while True:
            following = self._read(self._key_of(group_id, _epoch(marker) + 1), group_id)
            if following is None:
                return marker
            marker = following

    def owner_before(self, marker: Marker) -> str | None:
        """The site that owned the group before; None if none had claimed it. Raises RefusedError."""
        found = self._read(self._key_of(marker.group_id, marker.epoch - 1), marker.group_id)
        return found.site if found else None

    def claim(self, marker: Marker) -> Marker:
        """`marker.site` owns the group from `marker.epoch` on. Raises ClaimError if another claim is there.

        Claims follow each other without gaps: `marker.epoch` must be the latest and one. A claim
        that is repeated with the same words is the same claim.
        """
        latest = self.latest(marker.group_id)
        if latest == marker:
            return marker
        if marker.epoch != _epoch(latest) + 1:
            if latest is None or marker.epoch > latest.epoch:
                raise ValueError(f"epoch {marker.epoch} does not follow {_epoch(latest)}")
            raise ClaimError(latest, self._where(marker.group_id))
        key = self._key_of(marker.group_id, marker.epoch)
        try:
            self._store.create(key, self._written(marker))
        except ConflictError:
            pass
        else:
            self._settle(SETTLE_S)
        found = self._read(key, marker.group_id)
        if found != marker:
            raise ClaimError(found or marker, self._where(marker.group_id))
        self._store.write(epoch_key(marker.group_id), self._written(marker))
        return marker

    def _read(self, key: str, group_id: str) -> Marker | None:
        content = self._store.read(key)
        if content is None:
            return None
        marker = self._believed(content, key)
        if marker.group_id != group_id:
            cause = "it is the marker of another group"
            raise RefusedError(Refusal.MISPLACED, where=key, cause=cause)
        return marker

    def _believed(self, content: bytes, key: str) -> Marker:
        try:
            envelope: dict[str, Any] = json.loads(content)
            signed = documents.canonical(envelope["marker"])
            signature = documents.canonical(envelope["signature"])
        except (ValueError, KeyError, TypeError, RecursionError):
            cause = "it is no epoch marker"
            raise RefusedError(Refusal.SHAPE, where=key, cause=cause) from None
        self._ring.verify(signed, signature, where=key)
        try:
            return documents.read(Marker, envelope["marker"])
        except documents.ShapeError as error:
            raise RefusedError(Refusal.SHAPE, where=key, cause=str(error)) from None

    def _written(self, marker: Marker) -> bytes:
        """One object, because one object is what can be created at once."""
        document = documents.write(marker)
        signature = json.loads(self._key.sign(documents.canonical(document)))
        return documents.canonical({"marker": document, "signature": signature})

    def _where(self, group_id: str) -> str:
        return f"group {group_id}, {self._store.where}"

    @staticmethod
    def _key_of(group_id: str, epoch: int) -> str:
        return f"{PREFIX}{group_id}/epochs/{epoch:08d}.json"


def _epoch(marker: Marker | None) -> int:
    return 0 if marker is None else marker.epoch


def may_run(site: str, epoch: int, latest: Marker | None) -> str | None:
    """Why a site that last owned `epoch` of a group must not run its members; None if it may.

    Without any marker nothing ever moved. A higher epoch of the same site is its own, made by an
    engine whose database knew more.
    """
    if latest is None or latest.site == site:
        return None
    if latest.epoch >= epoch:
        since = documents.written(latest.at)
        return (
            f"the group belongs to site {latest.site} since {since} (epoch {latest.epoch},"
            f" operation {latest.operation_id}); this site's epoch is {epoch}"
        )
    return None
