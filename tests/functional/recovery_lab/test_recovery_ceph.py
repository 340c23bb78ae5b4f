"""A site's Ceph is made once, copied, and stands up again with what it held."""

import signal
import time
from collections.abc import Iterator

import lab_site
import pytest
from lab_site import Place

from isthmus.lab import processes, waiting
from isthmus.lab.components import ceph, ceph_cluster
from isthmus.lab.components.ceph_cluster import Cluster

pytestmark = [pytest.mark.functional, pytest.mark.long, pytest.mark.timeout(900)]

# Twenty seconds on idle cores; ten times that beside a busy test run.
READY = 240.0


@pytest.fixture
def place() -> Iterator[Place]:
    with lab_site.place() as found:
        yield found


def test_a_copied_cluster_keeps_its_volumes_and_a_killed_one_stands_up_again(place: Place) -> None:
    first = Cluster(folder=place.folder / "first", address=place.address, namespace=place.namespace)
    ceph_cluster.make(first, place.spawn, deadline=READY)
    first.as_client("rbd", "create", "--size", "64M", "volumes/kept")
    end(place, signal.SIGTERM)

    second = Cluster(
        folder=place.folder / "second", address=place.address, namespace=place.namespace
    )
    ceph.copy(first.folder, second.folder)
    began = time.monotonic()
    second.start(place.spawn, deadline=READY)
    print(f"a copied cluster serves after {time.monotonic() - began:.1f} s")
    assert second.as_client("rbd", "ls", "volumes").stdout.split() == ["kept"]
    resident = {processes.command_line(pid)[0]: rss for pid, rss in memory(place)}
    print(resident)
    assert resident["ceph-osd"] < 300 << 20
    for path in (second.conf, *second.etc.iterdir()):
        assert path.stat().st_mode & 0o077 == 0, f"others can read {path.name}"

    end(place, signal.SIGKILL)
    second.start(place.spawn, deadline=READY)
    assert second.as_client("rbd", "ls", "volumes").stdout.split() == ["kept"]


def memory(place: Place) -> list[tuple[int, int]]:
    return [
        (p.pid, p.rss_bytes) for found in processes.running(place.folder).values() for p in found
    ]


def end(place: Place, number: signal.Signals) -> None:
    found = [p for group in processes.running(place.folder).values() for p in group]
    processes.send(found, number)
    waiting.until(
        lambda: "it runs" if place.pids() else None,
        deadline=60.0,
        what="Ceph does not end",
        where="test",
    )
