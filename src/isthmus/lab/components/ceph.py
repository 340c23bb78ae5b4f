"""Ceph of one site, on one node: monitor, manager and one OSD on a sparse file, all in user space.

Making a cluster takes some twenty seconds, most of them waiting for its monitor. It is made once per machine and site; a lab
gets a copy. The copy keeps identity and keys, and two sites never share them.
"""

import hashlib
import inspect
import shutil
from pathlib import Path

from isthmus.lab import errors, processes
from isthmus.lab.components import ceph_cluster, ceph_config
from isthmus.lab.components.base import LONG_START_DEADLINE, Component, Context
from isthmus.lab.components.ceph_cluster import Cluster
from isthmus.lab.running import run

NAME = "ceph"

# Below the lab's templates, which are pruned of all that is not named in `templates.OTHERS`.
FOLDER = "ceph"

_COPY_SECONDS = 120.0


class Ceph(Component):
    def needs(self, context: Context) -> list[str]:
        return []

    def start(self, context: Context) -> None:
        own = cluster(context)
        if not (own.folder / "fsid").exists():
            made = context.home.templates / FOLDER / _key(own.address)
            if not made.is_dir():
                _make(context, made)
            own.folder.parent.mkdir(parents=True, exist_ok=True)
            copy(made, own.folder)
        own.start(context.spawn, deadline=LONG_START_DEADLINE)

    def test(self, context: Context) -> str:
        own = cluster(context)
        if missing := own.unhealthy() or own.usable():
            raise errors.NotReady(what="Ceph does not serve", where=context.unit, cause=missing)
        return f"is healthy; {ceph_config.CLIENT} writes into pool {ceph_config.POOL} and reads"


def cluster(context: Context) -> Cluster:
    """The cluster of the context's site."""
    site = context.site
    return Cluster(
        folder=context.of(site, NAME).directory / "cluster",
        address=site.front,
        namespace=site.namespace,
    )


def _key(address: str) -> str:
    """Names a template: the address is in the monitor's map, the rest in what the daemons have written."""
    version = run(["ceph-osd", "--version"]).stdout
    sources = [inspect.getsource(module) for module in (ceph_cluster, ceph_config)]
    return hashlib.sha256("\0".join([address, version, *sources]).encode()).hexdigest()[:16]


def _make(context: Context, target: Path) -> None:
    """Make a cluster, end it in order, and put it away as a template."""
    work = context.directory / "making"
    shutil.rmtree(work, ignore_errors=True)
    fresh = Cluster(folder=work, address=context.site.front, namespace=context.site.namespace)
    try:
        ceph_cluster.make(fresh, context.spawn, deadline=LONG_START_DEADLINE)
        Component.stop(Ceph(), context)
        partial = target.with_name(f"{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        copy(work, partial)
        partial.rename(target)
    finally:
        processes.kill(context.home.lab, units=[context.unit])
        shutil.rmtree(work, ignore_errors=True)


def copy(source: Path, target: Path) -> None:
    """Copy a cluster that does not run; the sparse file stays sparse."""
    partial = target.with_name(f"{target.name}.copy")
    shutil.rmtree(partial, ignore_errors=True)
    run(["cp", "-a", "--sparse=always", str(source), str(partial)], timeout=_COPY_SECONDS)
    for left in partial.glob("*.asok"):
        left.unlink()
    partial.rename(target)
