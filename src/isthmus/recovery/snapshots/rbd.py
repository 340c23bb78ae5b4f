"""Snapshots by librbd: all volumes of a group at once, adopted into Cinder after the thaw.

It exists because what is done inside the freeze window is what the VNF feels. Handles are opened
before the freeze; inside it is one `create_snap` per volume, in parallel, which costs one proposal of
the Ceph monitors together (0.06 s with `mon paxos_propose_interval` 0.05, 1.0 s with Ceph's default;
6 volumes). Separate snapshots are one point in time only because every writer is verified frozen.

User snapshots are used, not those of RBD groups: Cinder cannot adopt the latter. The names of the
snapshots carry the round, so that a crash before the adoption leaves nothing that is unknown.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from isthmus import errors
from isthmus.outcomes import Outcome
from isthmus.recovery import hashing
from isthmus.recovery.cinder import Cinder, Volume
from isthmus.recovery.findings import Code, Finding
from isthmus.recovery.snapshots import adoption, naming

log = logging.getLogger(__name__)

CONNECT_S = 10
"""How long a cluster is waited for; its monitors answer in milliseconds or not at all."""

HASH_WITHIN_S = 3600.0
SLOW_PROPOSALS_S = 0.2
PROPOSALS = "paxos_propose_interval"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cluster:
    """How to reach the Ceph cluster of one Cinder backend."""

    conf: str
    user: str
    pool: str
    keyring: str | None = None


class RbdSnapshots:
    """One round; see `snapshots.Driver`. All volumes must be in one pool of one cluster."""

    def __init__(
        self,
        cinder: Cinder,
        cluster: Cluster,
        volumes: Sequence[str],
        *,
        round_id: str,
        group_id: str,
    ) -> None:
        self._cinder, self._cluster, self._volumes = cinder, cluster, tuple(volumes)
        self._round, self._group = round_id, group_id
        self._name = naming.snapshot_name(round_id)
        self._where = f"site {cinder.region}, round {round_id}"
        self._known: dict[str, Volume] = {}
        self._images: dict[str, Any] = {}
        self._rados: Any = None
        self._io: Any = None
        self._rbd: Any = None

    def findings(self) -> Sequence[Finding]:
        """How long the monitors let a snapshot wait, as far as the account may know it."""
        self._guarded("cannot reach the Ceph cluster", self._connect)
        interval = self._guarded("the Ceph cluster does not answer", self._interval)
        found = proposals(interval, self._cinder.region, self._cluster.user)
        return () if found is None else (found,)

    def _interval(self) -> float | None:
        """Seconds; None when the account may not ask."""
        question = {"prefix": "config get", "who": "mon", "key": PROPOSALS}
        code, answer, said = self._rados.mon_command(json.dumps(question), b"", timeout=CONNECT_S)
        if code != 0:
            log.debug("%s is not told: %s (%d)", PROPOSALS, said, code)
            return None
        return float(answer)

    def prepare(self) -> None:
        self._learn()
        adoption.check_quota(self._cinder, [each.size_gib for each in self._known.values()])
        self._open()

    def _learn(self) -> None:
        for volume in self._volumes:
            if volume not in self._known:
                self._known[volume] = self._cinder.volume(volume)

    def _open(self) -> None:
        """Connect, and open all images; handles that are open already stay."""
        self._learn()
        self._guarded("cannot reach the Ceph cluster", self._connect)
        for volume, known in self._known.items():
            if volume not in self._images:
                name = f"volume-{known.stored_as}"
                self._images[volume] = self._guarded(
                    f"cannot open the image of volume {volume}",
                    lambda name=name: self._rbd.Image(self._io, name),
                )

    def _connect(self) -> None:
        if self._io is not None:
            return
        rados, self._rbd = _library("rados"), _library("rbd")
        options = {"client_mount_timeout": str(CONNECT_S), "rados_mon_op_timeout": str(CONNECT_S)}
        if self._cluster.keyring:
            options["keyring"] = self._cluster.keyring
        self._rados = rados.Rados(
            conffile=self._cluster.conf, rados_id=self._cluster.user, conf=options
        )
        self._rados.connect(timeout=CONNECT_S)
        self._io = self._rados.open_ioctx(self._cluster.pool)

    def _guarded(self, what: str, do: Any) -> Any:
        """What `do` returns; exceptions of librados and librbd end here."""
        try:
            return do()
        except errors.IsthmusError:
            raise
        except Exception as error:
            raise adoption.SnapshotError(
                what, where=self._where, cause=" ".join(str(error).split())
            ) from error

    def take(self, timeout_s: float) -> None:
        def one(volume: str) -> str:
            self._guarded("no snapshot", lambda: self._images[volume].create_snap(self._name))
            return volume

        if set(self._images) != set(self._volumes):
            raise adoption.SnapshotError("the images are not open", where=self._where)
        adoption.for_all(
            self._volumes,
            one,
            timeout_s=timeout_s,
            what="not all snapshots were taken",
            where=self._where,
            at_once=max(1, len(self._volumes)),
        )

    def adopt(self) -> Mapping[str, str]:
        marks = naming.marks(round_id=self._round, group_id=self._group)

        def one(volume: str) -> str:
            found = adoption.of_round(self._cinder, volume, self._round)
            good = [each for each in found if "error" not in each.status]
            made = (
                good[0]
                if good
                else self._cinder.adopt_snapshot(volume, self._name, self._name, marks)
            )
            return adoption.available(self._cinder, made.id).id

        return adoption.for_all(
            self._volumes,
            one,
            timeout_s=adoption.WITHIN_S,
            what="not all snapshots were adopted by Cinder",
            where=self._where,
        )

    def digests(self) -> Mapping[str, str]:
        """Of the snapshots, adopted or not. Two at once: one hashes while the other reads."""
        self._open()
        return adoption.for_all(
            self._volumes,
            self._digest,
            timeout_s=HASH_WITHIN_S,
            what="not all snapshots could be read",
            where=self._where,
            at_once=2,
        )

    def _digest(self, volume: str) -> str:
        name = f"volume-{self._known[volume].stored_as}"
        found = adoption.of_round(self._cinder, volume, self._round)
        snapshot = f"snapshot-{found[0].id}" if found else self._name

        def read() -> str:
            with self._rbd.Image(self._io, name, snapshot=snapshot, read_only=True) as image:
                return digest(image)

        return str(self._guarded(f"cannot read the snapshot of volume {volume}", read))

    def discard(self) -> None:
        self._open()

        def one(volume: str) -> str:
            adoption.remove(self._cinder, volume, self._round)
            self._guarded("the snapshot stays", lambda: self._remove(self._images[volume]))
            return volume

        adoption.for_all(
            self._volumes,
            one,
            timeout_s=adoption.WITHIN_S,
            what="not all snapshots of the round were removed",
            where=self._where,
        )

    def _remove(self, image: Any) -> None:
        """What Cinder never knew of. An adopted one has Cinder's name, and is Cinder's."""
        if self._name in {each["name"] for each in image.list_snaps()}:
            if image.is_protected_snap(self._name):
                image.unprotect_snap(self._name)
            image.remove_snap(self._name)

    def close(self) -> None:
        for handle in (*self._images.values(), self._io):
            try:
                if handle is not None:
                    handle.close()
            except Exception:  # a cluster that is gone must not hide what happened before
                log.debug("closing a handle failed", exc_info=True)
        if self._rados is not None:
            self._rados.shutdown()
        self._images, self._io, self._rados = {}, None, None


def volume_digest(cluster: Cluster, volume: Volume) -> str:
    """The tree hash of a volume that nobody writes to; to hold a restored one against a checkpoint.

    Raises SnapshotError when it cannot be read.
    """
    where = f"image volume-{volume.stored_as} in pool {cluster.pool}"
    rados, rbd = _library("rados"), _library("rbd")
    options = {"keyring": cluster.keyring} if cluster.keyring else {}
    try:
        with (
            rados.Rados(conffile=cluster.conf, rados_id=cluster.user, conf=options) as connection,
            connection.open_ioctx(cluster.pool) as io,
            rbd.Image(io, f"volume-{volume.stored_as}", read_only=True) as image,
        ):
            return digest(image)
    except (rados.Error, rbd.Error) as error:
        raise adoption.SnapshotError(
            "a volume cannot be read", where=where, cause=" ".join(str(error).split())
        ) from error


def digest(image: Any) -> str:
    """The tree hash of an open image or snapshot; reads what is allocated and nothing else."""
    size = image.size()
    extents: list[tuple[int, int]] = []
    image.diff_iterate(
        0,
        size,
        None,
        lambda offset, length, exists: extents.append((offset, length)) if exists else None,
        True,
        True,
    )
    chunks = {}
    for number in hashing.touched(extents, size):
        start = number * hashing.CHUNK
        content = image.read(start, min(hashing.CHUNK, size - start))
        chunks[number] = hashing.chunk_digest(content)
    return hashing.tree(size, chunks)


def proposals(interval_s: float | None, site: str, user: str) -> Finding | None:
    """What is to be said about `mon paxos_propose_interval`, which bounds the window from below.

    It is an operator's setting for a whole cluster, with more maps as its price: it is reported and
    never changed here. `interval_s` None: `user` may not ask for it, as `profile rbd` may not.
    """
    if interval_s is None:
        return Finding(
            code=Code.UNREADABLE,
            outcome=Outcome.INFO,
            subject=f"ceph mon {PROPOSALS}",
            site=site,
            summary="it is not known how long snapshots hold the guests",
            cause=f"client.{user} may not ask the monitors, whose default is 1 s",
            remedy=f"ceph config get mon {PROPOSALS} shows it; with the right to the monitors"
            f" 'allow command \"config get\"' client.{user} may ask",
        )
    if interval_s <= SLOW_PROPOSALS_S:
        return None
    return Finding(
        code=Code.DIFFERS,
        outcome=Outcome.WARN,
        subject=f"ceph mon {PROPOSALS}",
        site=site,
        summary=f"snapshots hold the guests for up to {interval_s:g} s",
        cause=f"Ceph's monitors propose every {interval_s:g} s, and a snapshot waits for one proposal",
        remedy=f"ceph config set mon {PROPOSALS} 0.05 (all of the cluster makes more maps)",
    )


def _library(name: str) -> Any:
    """Ceph's own packages bring it; it is on no package index and only this driver needs it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise errors.HostError(
            f"the library {name} is not installed",
            where="the rbd snapshot driver",
            cause=str(error),
            unchanged="no guest was frozen",
            next_command="apt install python3-rbd python3-rados",
        ) from error
