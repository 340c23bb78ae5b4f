"""Backups of six volumes into another site: ours, in parallel with parents that we choose, beside one after the other by a script.

Ours is the step of `isthmus operation protect` that backs up (`isthmus.recovery.backups.running`), with the sizes that it asks the
store for and the proof of each chain. The peer is `openstack volume backup create --snapshot`, `--incremental` the second time,
one volume after the other, each waited for, through Cinder's API (a command would cost a second of CPU more each). Both back up
snapshots of the original volumes, so that they read the same; the snapshots are made before and not measured.

The volumes are the program's own and no guest's, so that what changes in them is known: as the VNF's, three are made from the
guest image and three are empty; then all get data that cannot be compressed. Between full and incremental backup 1 % of each
volume is written in blocks that lie anywhere. Nothing of one turn is left in the next: Cinder chooses the parents of the peer's
increments by itself, and would choose ours.
"""

import contextlib
import importlib
import random
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bench import labs, launching, pairs, protecting
from bench.launching import Options
from bench.pairs import Pair
from bench.protecting import CIDR, NAME, Place
from bench.results import Result, Table
from isthmus.errors import IsthmusError
from isthmus.lab import vnf
from isthmus.lab.guest_image import building
from isthmus.recovery.backups import running
from isthmus.recovery.checkpoints import VolumeBackup
from isthmus.recovery.metadata.definitions import VolumeDefinition
from isthmus.recovery.snapshots.rbd import RbdSnapshots

TAKES = "half an hour; --quick 8 minutes"
RUNS, QUICK = 5, 1
VOLUMES = 6
CHANGED = 0.01
"""Of a volume, between the full and the incremental backup."""
BLOCK = 128 << 10
"""Bytes that are written in one place: what Cinder compares in the lab (`backup_swift_block_size`)."""
FILLED = 64 << 20
"""Bytes of each volume that cannot be compressed, from the place on that a guest image does not reach."""

_FROM = 512 << 20
_SIZE = vnf.VOLUME_GIB << 30
_GROUP_ID = "0a6d2f86-5f0e-4a1f-8c3b-7c9c6f1f5e55"
_AVAILABLE_S = 180
_BACKED_UP_S = 600.0
_TAKEN_S = 30.0
_GONE_S = 120
_LOOK_S = running.EVERY_S


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Seconds of a full and of an incremental backup of all volumes, and the bytes that each added to the store (None: unknown)."""

    full_s: float
    increment_s: float
    full_bytes: int | None = None
    increment_bytes: int | None = None


def places(chance: random.Random, size: int, share: float) -> list[int]:
    """Where to write so that `share` of `size` bytes changes: starts of different blocks, ascending."""
    blocks = size // BLOCK
    return sorted(BLOCK * n for n in chance.sample(range(blocks), round(blocks * share)))


def speed(seconds: float) -> float:
    """MiB of volumes (not of what is stored of them) in a second."""
    return VOLUMES * _SIZE / seconds / (1 << 20)


def measure(options: Options) -> Result:
    """Turns of ours and of the peer; whose is first changes from run to run."""
    count = QUICK if options.quick else RUNS
    result = Result(
        name="backup",
        about=f"Seconds to back up {VOLUMES} volumes of {vnf.VOLUME_GIB} GiB on Ceph into the Swift of the other site, in full and "
        f"after {CHANGED:.0%} of each was written. Ours: as a checkpoint does it, {running.AT_ONCE} at once, parents chosen and "
        "proved by us. Peer: `openstack volume backup create` one after the other, by Cinder's API. Speeds count the volumes' "
        "size.",
    )
    turns: dict[str, list[Turn | None]] = {"ours": [], "peer": []}
    chance = random.Random(20261123)  # noqa: S311 - no secret is made of it
    with protecting.prepared("backup") as lab, _volumes(lab) as stand:
        stand.fill(chance)
        for number in range(count):
            for name in sorted(turns, reverse=bool(number % 2)):
                what = f"run {number + 1}, {name}"
                side = stand.ours if name == "ours" else stand.peers
                taken = protecting.tried(result, what, lambda side=side: stand.turn(side(), chance))  # type: ignore[misc]
                turns[name].append(taken)
                protecting.say(f"backup, {what}: {taken}")
    tell(result, turns["ours"], turns["peer"])
    return result


def tell(result: Result, ours: Sequence[Turn | None], theirs: Sequence[Turn | None]) -> None:
    """Figures and table of the turns, run by run; None: that turn failed."""
    rows = []
    for kind in ("full", "increment"):
        found = [
            Pair(ours=_seconds(mine, kind), theirs=_seconds(other, kind))
            for mine, other in zip(ours, theirs, strict=True)
        ]
        pairs.record(result, kind, found, "s")
        rows.append([*pairs.row(f"{kind}, s", found)])
        speeds = [
            Pair(ours=each.ours and speed(each.ours), theirs=each.theirs and speed(each.theirs))
            for each in found
        ]
        for name, values in (("ours", pairs.ours(speeds)), ("peer", pairs.theirs(speeds))):
            if values:
                result.figure(f"{kind}.{name}_speed", sorted(values)[len(values) // 2], "MiB/s")
        stored = [getattr(each, f"{kind}_bytes") for each in ours if each is not None]
        known = [each / (1 << 20) for each in stored if each is not None]
        if known:
            result.figure(f"{kind}.stored", sorted(known)[len(known) // 2], "MiB")
    columns = ("backup", *pairs.COLUMNS)
    result.tables.append(Table(title="Backup of six volumes", columns=columns, rows=rows))


def _seconds(turn: Turn | None, kind: str) -> float | None:
    return None if turn is None else float(getattr(turn, f"{kind}_s"))


class Side(Protocol):
    """One way to back up."""

    def backed_up(self, snapshots: Mapping[str, str]) -> int | None:
        """Back up snapshots (by volume), in full the first time; the bytes that were stored, None if unknown."""
        ...


class Stand:
    """The volumes, and what is done with them in a turn."""

    def __init__(self, site: vnf.Site, place: Place, volumes: Sequence[str]) -> None:
        self.site, self.place, self.volumes = site, place, tuple(volumes)
        self.project = str(site.demo.current_project_id)

    def ours(self) -> Side:
        """Ours, which knows the chains of its own turn alone."""
        return _Ours(self)

    def peers(self) -> Side:
        """The script."""
        return _Script(self)

    def fill(self, chance: random.Random) -> None:
        """Write what cannot be compressed."""
        starts = range(_FROM, _FROM + FILLED, BLOCK)
        self._write({volume: list(starts) for volume in self.volumes}, chance)

    def turn(self, side: Side, chance: random.Random) -> Turn:
        """A full backup, changes, an incremental one; nothing is left. Raises IsthmusError or what the stock library does."""
        try:
            with self._snapshots() as first:
                full, full_bytes = protecting.timed(lambda: side.backed_up(first))
            self._write({v: places(chance, _SIZE, CHANGED) for v in self.volumes}, chance)
            with self._snapshots() as second:
                increment, bytes_ = protecting.timed(lambda: side.backed_up(second))
        finally:
            with labs.undisturbed():
                protecting.quietly("backups stay", self._forget)
        return Turn(
            full_s=full, increment_s=increment, full_bytes=full_bytes, increment_bytes=bytes_
        )

    @contextlib.contextmanager
    def _snapshots(self) -> Iterator[Mapping[str, str]]:
        """Cinder's snapshots by volume, made by the product's driver as in a checkpoint."""
        driver = RbdSnapshots(
            self.place.cinder(self.project),
            self.place.cluster,
            self.volumes,
            round_id=str(uuid.uuid4()),
            group_id=_GROUP_ID,
        )

        def taken() -> Mapping[str, str]:
            with contextlib.closing(driver):
                driver.prepare()
                driver.take(_TAKEN_S)
                return driver.adopt()

        def removed() -> None:
            with contextlib.closing(driver):
                driver.discard()

        try:
            yield self.place.within(taken)
        finally:
            with labs.undisturbed():
                protecting.quietly("snapshots stay", lambda: self.place.within(removed))

    def _write(self, where: Mapping[str, Sequence[int]], chance: random.Random) -> None:
        """Blocks that cannot be compressed, past Cinder; nobody else has the volumes open."""
        cluster = self.place.cluster

        def written() -> None:
            rados, rbd = importlib.import_module("rados"), importlib.import_module("rbd")
            options = {"keyring": cluster.keyring}
            with (
                rados.Rados(conffile=cluster.conf, rados_id=cluster.user, conf=options) as ceph,
                ceph.open_ioctx(cluster.pool) as io,
            ):
                for volume, starts in where.items():
                    with rbd.Image(io, f"volume-{volume}") as image:
                        for start in starts:
                            image.write(chance.randbytes(BLOCK), start)
                        image.flush()

        self.place.within(written)

    def _forget(self) -> None:
        """Delete all backups of the volumes, increments first: what others stand on cannot go before."""
        for incremental in (True, False):
            found = [
                each
                for volume in self.volumes
                for each in self.site.demo.block_storage.backups(details=True, volume_id=volume)
                if bool(each.is_incremental) is incremental
            ]
            for each in found:
                self.site.demo.block_storage.delete_backup(each.id)
            for each in found:
                self.site.demo.block_storage.wait_for_delete(each, interval=1, wait=_GONE_S)


class _Ours:
    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._made: tuple[VolumeBackup, ...] = ()

    def backed_up(self, snapshots: Mapping[str, str]) -> int | None:
        stand = self._stand
        chains = {each.volume_id: {each.backup_id: each.chain} for each in self._made}
        order = running.Order(
            checkpoint_id=str(uuid.uuid4()), group_id=_GROUP_ID, full_every=8, within_s=_BACKED_UP_S
        )
        sources = [
            running.Source(
                volume=VolumeDefinition(
                    id=volume, name=volume, device="/dev/vdb", size_gib=vnf.VOLUME_GIB
                ),
                server_id=NAME,
                snapshot_id=snapshots[volume],
                chains=chains.get(volume, {}),
            )
            for volume in stand.volumes
        ]
        self._made = stand.place.within(
            lambda: running.run(
                stand.place.cinder(stand.project),
                order,
                sources,
                stored=stand.place.sizes(stand.project),
            )
        )
        _check(
            all(len(each.chain) == (2 if chains else 1) for each in self._made),
            "ours",
            bool(chains),
        )
        return sum(each.stored_bytes for each in self._made)


class _Script:
    def __init__(self, stand: Stand) -> None:
        self._stand, self._incremental = stand, False

    def backed_up(self, snapshots: Mapping[str, str]) -> int | None:
        storage = self._stand.site.demo.block_storage
        made = []
        for volume, snapshot in snapshots.items():
            asked = storage.create_backup(
                name=NAME,
                volume_id=volume,
                snapshot_id=snapshot,
                is_incremental=self._incremental,
                force=True,
            )
            made.append(_available(storage, asked))
        _check(
            all(bool(each.is_incremental) is self._incremental for each in made),
            "the peer's",
            self._incremental,
        )
        self._incremental = True
        return None


def _available(storage: Any, asked: Any) -> Any:
    """The backup when it is available. Raises IsthmusError when it fails."""
    deadline = time.monotonic() + _BACKED_UP_S
    while True:
        found = storage.get_backup(asked.id)
        if found.status == "available":
            return found
        if "error" in found.status or time.monotonic() > deadline:
            cause = f"{found.status}: {found.fail_reason}"
            raise IsthmusError("a backup failed", where=f"backup {found.id}", cause=cause)
        time.sleep(_LOOK_S)


def _check(good: bool, whose: str, incremental: bool) -> None:
    if not good:
        kind = "incremental" if incremental else "full"
        raise IsthmusError(f"not all of {whose} backups are {kind}", where="paris")


@contextlib.contextmanager
def _volumes(lab: labs.Lab) -> Iterator[Stand]:
    """Six volumes in Paris that nobody uses; gone afterwards."""
    site = vnf.Site(lab.home, lab.paris)
    image = building.cached(lab.home.templates)
    try:
        site.prepare(NAME, str(CIDR), image)
        root = site.demo.image.find_image(vnf.image_name(image), ignore_missing=False)
        made = [
            site.demo.block_storage.create_volume(
                name=f"{NAME}-{number}",
                size=vnf.VOLUME_GIB,
                **({"image_id": root.id} if number % 2 == 0 else {}),
            )
            for number in range(VOLUMES)
        ]
        for each in made:
            site.demo.block_storage.wait_for_status(
                each, "available", failures=["error"], interval=1, wait=_AVAILABLE_S
            )
        yield Stand(site, Place(lab, "paris"), [str(each.id) for each in made])
    finally:
        with labs.undisturbed():
            protecting.quietly("volumes were not taken away", lambda: site.remove(NAME))
            protecting.quietly(
                "volumes are still being deleted", lambda: protecting.gone(site, NAME)
            )


if __name__ == "__main__":
    raise SystemExit(launching.one("backup", measure, takes=TAKES))
