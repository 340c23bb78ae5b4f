"""The rbd snapshot driver against a real Ceph: at once, found again after a crash, and hashed truly."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "recovery"))

from loopback_cinder import Model, Refused, serving

from isthmus.lab.components import ceph_cluster, ceph_config, debian_modules
from isthmus.outcomes import Outcome
from isthmus.recovery import hashing
from isthmus.recovery.cinder import Cinder
from isthmus.recovery.snapshots import naming, rbd
from isthmus.recovery.snapshots.adoption import SnapshotError

pytestmark = [pytest.mark.functional, pytest.mark.long]

ADDRESS = "127.77.3.1"
"""On the loopback, where nobody else has it; Ceph's ports are fixed."""
UP_WITHIN = 180.0
"""A cluster is made in 20 s on an idle machine."""
VOLUMES = tuple(f"v{n}" for n in range(6))
SIZE = 64 << 20


class Ceph:
    """A cluster and a client of it that is not the driver's."""

    def __init__(self, cluster: ceph_cluster.Cluster) -> None:
        rados, self.rbd = importlib.import_module("rados"), importlib.import_module("rbd")
        self.keyring = str(
            cluster.etc / f"{ceph_config.CLUSTER}.client.{ceph_config.CLIENT}.keyring"
        )
        self.cluster = cluster
        self.rados = rados.Rados(
            conffile=str(cluster.etc / "ceph.conf"),
            rados_id=ceph_config.CLIENT,
            conf={"keyring": self.keyring},
        )
        self.rados.connect()
        self.io = self.rados.open_ioctx(ceph_config.POOL)

    @property
    def place(self) -> rbd.Cluster:
        return rbd.Cluster(
            conf=str(self.cluster.etc / "ceph.conf"),
            user=ceph_config.CLIENT,
            pool=ceph_config.POOL,
            keyring=self.keyring,
        )

    def image(self, volume: str) -> Any:
        return self.rbd.Image(self.io, f"volume-{volume}")

    def snapshots(self) -> dict[str, list[str]]:
        found = {}
        for volume in VOLUMES:
            with self.image(volume) as image:
                found[volume] = [each["name"] for each in image.list_snaps()]
        return found


class RbdModel(Model):
    """The model of Cinder with the RBD driver's part, as cinder.volume.drivers.rbd of release 29
    does it, on the real images."""

    ceph: Ceph

    def adopt(self, body: dict[str, Any], status: str = "creating", **more: Any) -> dict[str, Any]:
        made = body["snapshot"]
        with self.ceph.image(made["volume_id"]) as image:
            names = [each["name"] for each in image.list_snaps()]
            there = made["ref"]["source-name"] in names
            answer = self.create_snapshot(body, status="creating" if there else "error")
            if there:
                name = f"snapshot-{answer['snapshot']['id']}"
                image.rename_snap(made["ref"]["source-name"], name)
                image.protect_snap(name)
        return answer

    def delete_snapshot(self, snapshot_id: str, **more: Any) -> dict[str, Any]:
        if snapshot_id not in self.snapshots:
            raise Refused(404, "Snapshot could not be found")
        with self.ceph.image(self.snapshots[snapshot_id]["volume_id"]) as image:
            name = f"snapshot-{snapshot_id}"
            if name in [each["name"] for each in image.list_snaps()]:
                image.unprotect_snap(name)
                image.remove_snap(name)
        return super().delete_snapshot(snapshot_id)


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    folder = tmp_path_factory.mktemp("ceph")
    sys.path.insert(0, str(debian_modules.link(folder / "python")))
    children: list[subprocess.Popen[bytes]] = []

    def spawn(argv: list[str]) -> Any:
        with (folder / "log").open("ab") as log:
            words = ["nice", "-n", "19", *argv]
            children.append(subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True))

    cluster = ceph_cluster.Cluster(folder=folder / "cluster", address=ADDRESS, namespace=None)
    try:
        ceph_cluster.make(cluster, spawn, deadline=time.monotonic() + UP_WITHIN)
        found = Ceph(cluster)
        for volume in VOLUMES:
            found.rbd.RBD().create(found.io, f"volume-{volume}", SIZE)
            with found.image(volume) as image:
                image.write(f"{volume} at first".encode() * 1000, 5 << 20)
        yield found
        found.io.close()
        found.rados.shutdown()
    finally:
        for child in reversed(children):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait(20)


@pytest.fixture
def model(ceph: Ceph) -> RbdModel:
    model = RbdModel()
    model.ceph = ceph
    for volume in VOLUMES:
        model.volume(volume)
    return model


@pytest.fixture
def cinder(model: RbdModel) -> Iterator[Cinder]:
    with serving(model) as found:
        yield found


def a_driver(cinder: Cinder, ceph: Ceph, round_id: str) -> rbd.RbdSnapshots:
    return rbd.RbdSnapshots(cinder, ceph.place, VOLUMES, round_id=round_id, group_id="group")


def digest_of(content: bytes) -> str:
    """By hand, chunk after chunk, as the documentation of the format says."""
    root = hashlib.sha256(len(content).to_bytes(8, "big"))
    for start in range(0, len(content), 4 << 20):
        root.update(hashlib.sha256(content[start : start + (4 << 20)].rstrip(b"\0")).digest())
    return hashing.PREFIX + root.hexdigest()


def test_snapshots_hold_what_was_there_when_they_were_taken_and_are_adopted(
    ceph: Ceph, cinder: Cinder
) -> None:
    driver = a_driver(cinder, ceph, "sound")
    driver.prepare()
    driver.take(10.0)
    assert all(names == ["isthmus-sound"] for names in ceph.snapshots().values())
    before = {}
    for volume in VOLUMES:
        with ceph.image(volume) as image:
            before[volume] = digest_of(image.read(0, SIZE))
            image.write(b"later", 5 << 20)
    assert driver.digests() == before
    snapshots = driver.adopt()
    assert driver.adopt() == snapshots
    assert ceph.snapshots() == {v: [f"snapshot-{snapshots[v]}"] for v in VOLUMES}
    assert driver.digests() == before
    later = rbd.volume_digest(ceph.place, cinder.volume("v0"))
    assert later != before["v0"]
    driver.close()
    again = a_driver(cinder, ceph, "sound")
    assert again.digests() == before
    again.discard()
    again.discard()
    again.close()
    assert not any(ceph.snapshots().values())


def test_a_crash_between_snapshot_and_adoption_leaves_nothing_that_is_unknown(
    ceph: Ceph, cinder: Cinder
) -> None:
    lost = a_driver(cinder, ceph, "lost")
    lost.prepare()
    lost.take(10.0)
    lost.close()
    names = [name for found in ceph.snapshots().values() for name in found]
    assert {naming.round_of(name) for name in names} == {"lost"}
    half = a_driver(cinder, ceph, "lost")
    cinder.adopt_snapshot(
        "v0", "isthmus-lost", "isthmus-lost", naming.marks(round_id="lost", group_id="group")
    )
    half.discard()
    half.close()
    assert not any(ceph.snapshots().values())


def test_idle_clients_that_hold_the_locks_do_not_keep_snapshots_from_being_taken(
    ceph: Ceph, cinder: Cinder
) -> None:
    """A frozen guest's QEMU has its image open and its lock taken, and writes nothing."""
    with contextlib.ExitStack() as held:
        for volume in VOLUMES:
            image = held.enter_context(ceph.image(volume))
            image.write(b"owner", 0)
            assert image.is_exclusive_lock_owner()
        driver = a_driver(cinder, ceph, "locked")
        driver.prepare()
        driver.take(10.0)
        assert all(names == ["isthmus-locked"] for names in ceph.snapshots().values())
    driver.discard()
    driver.close()


def test_a_snapshot_that_cannot_be_taken_is_named(ceph: Ceph, cinder: Cinder) -> None:
    driver = a_driver(cinder, ceph, "twice")
    driver.prepare()
    with ceph.image("v3") as image:
        image.create_snap("isthmus-twice")
    with pytest.raises(SnapshotError, match="volume v3"):
        driver.take(10.0)
    driver.discard()
    driver.close()
    assert not any(ceph.snapshots().values())


def test_a_volume_without_an_image_ends_before_anybody_is_frozen(
    ceph: Ceph, cinder: Cinder, model: RbdModel
) -> None:
    model.volume("none")
    driver = rbd.RbdSnapshots(cinder, ceph.place, ["none"], round_id="r", group_id="group")
    with pytest.raises(SnapshotError, match="cannot open the image of volume none"):
        driver.prepare()
    driver.close()


def test_a_cluster_that_cannot_be_reached_is_said_before_anything_is_begun(
    ceph: Ceph, cinder: Cinder
) -> None:
    place = dataclasses.replace(ceph.place, conf="/no/such/ceph.conf")
    driver = rbd.RbdSnapshots(cinder, place, (), round_id="r", group_id="group")
    with pytest.raises(SnapshotError, match="cannot reach the Ceph cluster"):
        driver.findings()
    driver.close()


def test_slow_monitors_are_found_as_far_as_the_account_may_ask(ceph: Ceph, cinder: Cinder) -> None:
    """Last here: it changes what the account may and how often the monitors propose."""

    def levels() -> list[tuple[Outcome, str]]:
        driver = a_driver(cinder, ceph, "asked")
        try:
            return [(each.outcome, each.summary) for each in driver.findings()]
        finally:
            driver.close()

    def window() -> float:
        driver = a_driver(cinder, ceph, f"window-{time.monotonic_ns()}")
        driver.prepare()
        began = time.monotonic()
        driver.take(10.0)
        taken = time.monotonic() - began
        driver.discard()
        driver.close()
        return taken

    tool, client = ceph.cluster.tool, f"client.{ceph_config.CLIENT}"
    assert [outcome for outcome, _ in levels()] == [Outcome.INFO]
    rights = 'profile rbd, allow command "config get"'
    tool("ceph", "auth", "caps", client, "mon", rights, "osd", "profile rbd", "mgr", "profile rbd")
    tool("ceph", "config", "set", "mon", rbd.PROPOSALS, "1.0")
    assert levels() == [(Outcome.WARN, "snapshots hold the guests for up to 1 s")]
    slow = window()
    tool("ceph", "config", "set", "mon", rbd.PROPOSALS, "0.05")
    assert levels() == []
    print(f"six snapshots: {slow:.2f} s at 1 s, {window():.2f} s at 0.05 s")
